"""The orchestrator dies at every step of a launch and of a job, and starts again.

A step is a write to the store. For each n, one orchestrator runs until its n-th write, before or after which it
dies as from kill -9: nothing of it runs any more, no cleanup is done, and a reply that it owed is never sent.
Then a second one starts on the same database and the same cloud. However it went: the job ends once, succeeded,
and in the end nothing is leased.
"""

import asyncio
import contextlib
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from orchestrator.app import Address, Orchestrator, build, create_app
from orchestrator.clock import SteadyClock
from orchestrator.settings import Settings
from orchestrator.store.sqlite import open_sqlite
from provider_clients.base import LaunchSpec
from provider_clients.fake import FakeCloud
from scaling.snapshot import Capability, Offer

pytestmark = pytest.mark.slow

WRITES = frozenset(
    [
        "submit_jobs",
        "claim_job",
        "report_progress",
        "finish_attempt",
        "intend_worker",
        "move_worker",
        "register_worker",
    ]
)
STEPS = 12
JOB = {"engine": "csm", "input": {"text": "Hello."}}
KEY = {"Idempotency-Key": "the-job"}


class Killed(BaseException):
    """Not an Exception: no handler of ours may survive it."""


class Mortal:
    """A store whose owner dies at a write: nothing is written from then on."""

    def __init__(self, store, at: int, after: bool) -> None:
        self._store, self._left, self._after = store, at, after
        self.dead = asyncio.Event()

    def __getattr__(self, name):
        verb = getattr(self._store, name)

        async def call(*args, **kwargs):
            if self.dead.is_set():
                await asyncio.Event().wait()
            if name in WRITES:
                self._left -= 1
                if self._left == 0:
                    if self._after:
                        await verb(*args, **kwargs)
                    self.dead.set()
                    await asyncio.Event().wait()
            return await verb(*args, **kwargs)

        return call


class Body:
    """One life of an orchestrator: its parts, a client, and the tasks that it began."""

    def __init__(
        self, orchestrator: Orchestrator, http: httpx.AsyncClient, before: set[asyncio.Task]
    ) -> None:
        self.orchestrator, self.http, self._before = orchestrator, http, before
        self.dead = False
        self.gone = asyncio.Event()

    @classmethod
    async def born(cls, settings, store, cloud) -> "Body":
        before = asyncio.all_tasks()
        orchestrator = await build(settings, Address(settings, 80), store, SteadyClock(), {"fake": cloud})
        transport = httpx.ASGITransport(create_app(orchestrator), client=("127.0.0.1", 1))
        await orchestrator.start()
        return cls(orchestrator, httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1"), before)

    def die(self, spared: list[asyncio.Task]) -> None:
        """Everything that it runs is dropped where it stands."""
        self.dead = True
        self.gone.set()
        self.orchestrator.parts.loops._scheduler.shutdown(wait=False)
        self.orchestrator.parts.loops._running = False
        for task in asyncio.all_tasks() - self._before - set(spared):
            task.cancel()


class Machines:
    """Agents on the fake cloud's instances; they outlive an orchestrator and talk to whichever lives."""

    def __init__(self) -> None:
        self.body: Body | None = None
        self.tasks: list[asyncio.Task[None]] = []

    def boot(self, spec: LaunchSpec) -> None:
        self.tasks.append(asyncio.create_task(self._agent(spec)))

    async def _post(self, spec: LaunchSpec, path: str, body) -> httpx.Response:
        """Until somebody answers: a call to a dead orchestrator never comes back."""
        url, headers = f"/internal/workers/{spec.worker_id}/{path}", {"X-Internal-API-Key": spec.worker_key}
        while True:
            asked = self.body
            tasks = [asyncio.create_task(asked.gone.wait())]
            tasks.append(asyncio.create_task(asked.http.post(url, json=body, headers=headers)))
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if not asked.dead:
                return tasks[1].result()
            await asyncio.sleep(0.01)

    async def _agent(self, spec: LaunchSpec) -> None:
        me = {"incarnation": uuid4().hex}
        engines = [{"engine": "csm", "backend": "fake", "models": []}]
        if (await self._post(spec, "register", {**me, "engines": engines})).status_code != 200:
            return
        while True:
            nonce, reply = uuid4().hex, None
            reply = (await self._post(spec, "claim", {**me, "nonce": nonce, "wait_s": 0.1})).json()
            if reply.get("stop") or "assignment" not in reply:
                return
            if job := reply["assignment"]:
                at = f"attempts/{job['attempt']}"
                await self._post(spec, f"{at}/progress", {**me, "phase": "inferring", "progress": 0.5})
                result = {"backend": "fake", "text": spec.worker_id}
                await self._post(spec, f"{at}/finish", {**me, "result": result})


async def until(ready, patience_s: float = 10.0) -> None:
    async with asyncio.timeout(patience_s):
        while not await ready():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "tagged",
    [pytest.param(True, id="tagged"), pytest.param(False, id="untagged", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, STEPS + 1))
async def test_it_dies_at_a_write_and_starts_again(tmp_path: Path, at: int, after: bool, tagged: bool):
    settings = Settings(
        data=tmp_path,
        providers=(),
        reconcile_period_s=0.1,
        health_period_s=0.2,
        policy_idle_s=0.2,
        _env_file=None,
    )
    machines = Machines()
    offer = Offer("fake", "cpu", 0.36, (Capability("csm", "fake"),))
    cloud = FakeCloud(tagged=tagged, offered=(offer,), boot_s=0.05, on_boot=machines.boot)
    store = await open_sqlite(tmp_path / "gpulease.db")
    mortal = Mortal(store, at, after)
    first = machines.body = await Body.born(settings, mortal, cloud)
    submitting = asyncio.create_task(first.http.post("/v1/jobs", json=JOB, headers=KEY))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(mortal.dead.wait(), 3.0)
    assert mortal.dead.is_set() or submitting.done()
    first.die(machines.tasks)

    second = machines.body = await Body.born(settings, store, cloud)
    job_id = (await second.http.post("/v1/jobs", json=JOB, headers=KEY)).json()["id"]

    async def ended() -> bool:
        return (await second.http.get(f"/v1/jobs/{job_id}")).json()["status"] == "succeeded"

    async def nothing_leased() -> bool:
        return not (await second.http.get("/v1/workers")).json()["items"] and not cloud.live()

    await until(ended)
    policy = {"idle_s": 0.2, "grace_s": 0.2}
    (await second.http.put("/v1/policy", json=policy)).raise_for_status()
    await until(nothing_leased)
    moves = (await second.http.get(f"/v1/jobs/{job_id}/events")).json()["items"]
    assert [move["after"] for move in moves if move["kind"] == "state"].count("succeeded") == 1
    assert len((await second.http.get("/v1/jobs")).json()["items"]) == 1
    await second.orchestrator.stop()
    for task in machines.tasks:
        task.cancel()
    await asyncio.gather(*machines.tasks, return_exceptions=True)
    await store.aclose()
