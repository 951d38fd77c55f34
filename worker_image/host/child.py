"""An engine's process: `python -m worker_image.host.child BACKEND`, driven by JSON lines from its parent."""

import ctypes
import resource
import sys
import time
import traceback
from dataclasses import replace
from typing import Any

from worker_image.engines.base import Backend, EngineConfig, EngineJob, Outcome
from worker_image.engines.registry import make
from worker_image.faults import Cancelled, from_exception
from worker_image.host.channel import Channel

_PR_SET_CHILD_SUBREAPER = 36
_RU_MAXRSS_PER_KB = 1024 if sys.platform == "darwin" else 1


def main() -> None:
    _adopt_orphans()
    channel = Channel()
    backend: Backend | None = None
    while True:
        asked = channel.next()
        match asked["do"]:
            case "start":
                backend = make(sys.argv[1], EngineConfig(**asked["config"]))
                channel.send("ready")
            case "run" if backend is not None:
                _run(backend, EngineJob(**asked["job"]), channel)


def _adopt_orphans() -> None:
    """Programs that detach themselves become this process's children, so that its parent can find and end them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _run(backend: Backend, job: EngineJob, channel: Channel) -> None:
    channel.begin(job.id)
    try:
        outcome = _timed(backend, job, channel)
        end: dict[str, Any] = {"kind": "done", "outcome": outcome.as_json()}
    except Cancelled:
        end = {"kind": "cancelled"}
    except Exception as error:  # noqa: BLE001  Whatever a backend raises ends its job, not its process.
        traceback.print_exc()
        fault = from_exception(error)
        end = {"kind": "fault", "fault": {"kind": fault.kind, "code": fault.code, "message": fault.message}}
    channel.end_log()
    channel.send(**end)


def _timed(backend: Backend, job: EngineJob, channel: Channel) -> Outcome:
    started = time.perf_counter()
    model = backend.load(job.model)
    loaded = time.perf_counter()
    channel.send("loaded", model=model)
    outcome = backend.run(job, channel.report)
    metrics = {
        "GENERATION_TIME_SEC": round(time.perf_counter() - loaded, 3),
        "MODEL_LOAD_SEC": round(loaded - started, 3),
        "PEAK_RAM_KB": _peak_ram_kb(),
    }
    return replace(outcome, metrics={**metrics, **outcome.metrics})


def _peak_ram_kb() -> int:
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(peaks) // _RU_MAXRSS_PER_KB


if __name__ == "__main__":
    main()
