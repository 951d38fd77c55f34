"""Both emulated clouds and an orchestrator that leases there, to play with by hand: `make emulate`. Ctrl-C ends all."""

import contextlib
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from clouds import ENROL_KEY, SALAD_KEY, Clouds
from up import Up

SETTINGS = {
    "GPULEASE_PROVIDERS": "buffer,comput3,salad",
    "GPULEASE_POLICY_IDLE_S": "20",
    "GPULEASE_RECONCILE_PERIOD_S": "1",
    "GPULEASE_HEALTH_PERIOD_S": "5",
}
PROGRAM = Path(sys.executable).parent / "gpulease"
HOW = """
gpulease   {url}
Comput3    {comput3}   key {comput3_key}
Salad      {salad}   key {salad_key}, organisation acme, project render
files      {folder}   logs, data, and the settings as .env

Try, in another terminal:

  export GPULEASE_URL={url}
  {program} run csm "Hello from a rented machine." --output .
  (cd {folder} && {program} providers check)
  curl -s {salad_control}/knobs -H 'Content-Type: application/json' -d '{{"node_death": 0.5, "create_unknown": 0.5}}'

The last lets every second machine at Salad die, and every second order there lose its reply; Comput3's knobs are at
{comput3_control}/knobs. An owner's machine comes with:

  INTERNAL_API_KEY={enrol_key} {program} worker --orchestrator {url} --worker-id mine --port -1

Ctrl-C ends all of it.
"""


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # Also where a shell started us in the background.
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="gpulease-emulate-"))
    with contextlib.suppress(KeyboardInterrupt), Clouds(folder, usd_per_hour=1.0) as clouds:
        settings = clouds.environment() | SETTINGS
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        up = Up(folder, **settings)
        try:
            up.start()
            print(_how(clouds, up, folder), flush=True)
            while up.process.poll() is None:
                time.sleep(0.5)
            print(f"The server ended; see {folder}/up.log", flush=True)
        finally:
            _end(up)
    shutil.rmtree(folder, ignore_errors=True)


def _how(clouds: Clouds, up: Up, folder: Path) -> str:
    return HOW.format(
        url=str(up.http.base_url).rstrip("/"),
        comput3=clouds.comput3.url,
        comput3_key=clouds.comput3.key,
        comput3_control=f"{clouds.comput3.origin}/emulator",
        salad=clouds.salad.url,
        salad_key=SALAD_KEY,
        salad_control=clouds.salad.control_url,
        enrol_key=ENROL_KEY,
        folder=folder,
        program=PROGRAM,
    )


def _end(up: Up) -> None:
    print("Ending …", flush=True)
    if up.process is not None and up.process.poll() is None:
        up.stop()
    up.http.close()
    up.log.close()


if __name__ == "__main__":
    main()
