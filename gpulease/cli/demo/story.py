"""The demo: speech from a sentence, the sentence back from the speech, what it cost, and nothing left."""

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gpulease.cli.demo.process import DemoFailed, DemoServer
from gpulease.cli.live import follow
from gpulease.cli.outcome import made_by
from gpulease.cli.server import needs
from gpulease.cli.terminal import duration, fail, usd
from gpulease.client import Client
from gpulease.contract.jobs import JobRequest, JobView, OutputFile, Result

SENTENCE = "A machine is leased when there is work to do, and let go again when there is none."
VOICE = "conversational_a"
"""Always the same voice, so that what is heard does not depend on chance."""
USD_PER_HOUR = 0.36
IDLE_S = 3
IDLE_OUT_S_MAX = 60.0
WORKER_S_MAX = 60.0
SETTINGS = {
    "GPULEASE_LOCAL_USD_PER_HOUR": str(USD_PER_HOUR),
    "GPULEASE_POLICY_IDLE_S": str(IDLE_S),
    # Somebody watches, and there is one job only: waiting for others, or looking again before buying, gains nothing.
    "GPULEASE_POLICY_AIM": "fast",
    "GPULEASE_POLICY_LAUNCH_DELAY_S_MIN": "0",
    "GPULEASE_POLICY_LAUNCH_DELAY_S_MAX": "0",
    "GPULEASE_RECONCILE_PERIOD_S": "1",
}
TEXT_WIDTH = 15


def demo(
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="Default: a temporary folder, removed at the end.")
    ] = None,
    keep: Annotated[bool, typer.Option(help="Keep the temporary folder.")] = False,
    output: Annotated[Path, typer.Option(file_okay=False, help="Where copies of the results go.")] = Path(
        "demo-output"
    ),
    sentence: Annotated[str, typer.Option(help="What is spoken, in English.")] = SENTENCE,
) -> None:
    """Shows the whole way of a job here, in about half a minute: no GPU, no network, no account.

    Starts a server, has a sentence spoken and written down again by a leased worker, tells what it cost,
    waits until the worker is let go, stops, and checks that nothing is left running.
    """
    with needs("server,worker,demo"):
        from gpulease.cli.demo.leftovers import leftovers
    began = time.monotonic()
    with _folder(data, keep=keep) as folder:
        story = Story(folder, output, sentence, Console(highlight=False, soft_wrap=True))
        try:
            story.tell()
        except DemoFailed as error:
            fail(f"the demo failed: {error}")
        if left := leftovers(folder):
            fail(f"the demo failed: these are left running: {', '.join(left)}")
        story.line("left running", "nothing")
        story.line("done", f"in {duration(time.monotonic() - began)}")


@contextmanager
def _folder(given: Path | None, *, keep: bool) -> Iterator[Path]:
    """Where the server keeps its data; a temporary one goes at the end unless it is to be kept."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="gpulease-demo-")).resolve()
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class Story:
    """One telling. Each stage prints what it saw, and raises `DemoFailed` if that was not what it should be."""

    data: Path
    output: Path
    sentence: str
    console: Console
    _known: set[str] = field(default_factory=set)

    def tell(self) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        with DemoServer(self.data, SETTINGS) as server, Client(server.url) as client:
            self.line("orchestrator", f"{server.url}, SQLite and files under {self.data}")
            self._check_engines(client)
            speech = self._speak(client)
            self._write_down(client, speech)
            self._await_idle_out(client)
            self._cost(client)
        self.line("orchestrator", "stopped")

    def line(self, name: str, text: str) -> None:
        self.console.print(f"{name:<{TEXT_WIDTH}}", style="bold cyan", end="")
        self.console.print(text, markup=False)

    def more(self, text: str) -> None:
        self.console.print(" " * TEXT_WIDTH + text, markup=False)

    def _check_engines(self, client: Client) -> None:
        can = {row["name"] for row in client.engines() if row["available"]}
        if missing := {"csm", "whisper"} - can:
            names = " and ".join(sorted(missing))
            raise DemoFailed(
                f"{names} cannot run here; pip install 'gpulease[demo]', or see `gpulease doctor`"
            )

    def _speak(self, client: Client) -> OutputFile:
        self.line("job 1: csm", f'speak "{self.sentence}"')
        result = self._run(client, JobRequest(engine="csm", input={"text": self.sentence, "voice": VOICE}))
        speech = next((one for one in result.files if one.content_type.startswith("audio/")), None)
        if speech is None or speech.url is None:
            raise DemoFailed("the speech came without an audio file")
        self.more(speech.url)
        saved = client.download(speech, self.output)
        self.more(f"copied to {saved}")
        return speech

    def _write_down(self, client: Client, speech: OutputFile) -> None:
        self.line("job 2: whisper", "write down what that URL says")
        result = self._run(client, JobRequest(engine="whisper", input={"audio_url": speech.url}))
        heard = (result.text or "").strip()
        self.more(f'"{heard}"')
        if result.files:
            others = ", ".join(file.name for file in result.files[1:])
            self.more(f"{result.files[0].url}" + (f" (and {others})" if others else ""))
        copy = self.output / "transcript.txt"
        copy.write_text(heard + "\n", encoding="utf-8")
        self.more(f"copied to {copy}")
        if words(heard) != words(self.sentence):
            raise DemoFailed(
                f"those are not the words of the sentence: {words(heard)} != {words(self.sentence)}"
            )
        self.more("the same words as were spoken")

    def _run(self, client: Client, request: JobRequest) -> Result:
        job = client.submit(request)
        self._show_worker(client, job)
        ended = follow(client, job.id, self.console)
        if ended.result is None:
            raise DemoFailed(f"{request.engine} {ended.status}: {ended.fault or ended.blocked}")
        self.more(f"{made_by(ended.result).lower()}, {usd(ended.cost_usd)}")
        return ended.result

    def _show_worker(self, client: Client, job: JobView) -> None:
        """Waits until the autoscaler has a worker for the job, and introduces it if it is new."""
        until = time.monotonic() + WORKER_S_MAX
        while not (workers := client.workers()):
            if time.monotonic() > until:
                raise DemoFailed(f"no worker came: {client.job(job.id).blocked}")
            time.sleep(0.1)
        for worker in workers:
            if worker["id"] not in self._known:
                self._known.add(worker["id"])
                self.line("worker", f"{worker['id']} leased by the autoscaler: {_terms(worker)}")

    def _await_idle_out(self, client: Client) -> None:
        began = time.monotonic()
        while client.workers():
            if time.monotonic() - began > IDLE_OUT_S_MAX:
                raise DemoFailed("the idle worker was not let go")
            time.sleep(0.2)
        self.line("worker", f"idle for {IDLE_S} s and let go")

    def _cost(self, client: Client) -> None:
        found = client.costs()
        leases = found["leases"]
        if not leases or found["usd_total"] <= 0:
            raise DemoFailed("the costs do not show what was leased")
        price = f"${USD_PER_HOUR} an hour, for {duration(found['usd_total'] / USD_PER_HOUR * 3600)} leased"
        self.line("cost", f"{usd(found['usd_total'])} at {price}")


def _terms(worker: dict[str, Any]) -> str:
    return f"provider {worker['provider']}, {worker['gpu_class']}, ${worker['usd_per_hour']:g} an hour"


def words(text: str) -> list[str]:
    """What is compared: letters and apostrophes, in lower case."""
    return re.findall(r"[a-z']+", text.lower())
