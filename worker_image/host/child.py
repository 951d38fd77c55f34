"""An engine's process: `python -m worker_image.host.child BACKEND`, driven by JSON lines from its parent."""

import contextlib
import ctypes
import sys
import time
import traceback
from dataclasses import replace
from typing import Any

from worker_image.engines.base import Backend, EngineConfig, EngineJob, Outcome
from worker_image.engines.registry import make
from worker_image.faults import Cancelled, from_exception
from worker_image.host.channel import Channel
from worker_image.machine.gpu import find_gpu
from worker_image.machine.peaks import Baseline, Peaks
from worker_image.settings import visible_devices

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    _adopt_orphans()
    channel = Channel()
    gpu = find_gpu(visible_devices())
    base = Baseline(None if isinstance(gpu, str) else gpu)
    backend: Backend | None = None
    while True:
        asked = channel.next()
        match asked["do"]:
            case "start":
                backend = make(sys.argv[1], EngineConfig(**asked["config"]))
                channel.send("ready")
            case "load" if backend is not None:
                _load(backend, asked["model"], channel, base)
            case "run" if backend is not None:
                _run(backend, EngineJob(**asked["job"]), channel, base)
            case "unload" if backend is not None:
                with contextlib.suppress(Exception):  # Whatever it is, this process ends next.
                    backend.unload()
                channel.send("unloaded")


def _adopt_orphans() -> None:
    """Programs that detach themselves become this process's children, so that its parent can find and end them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _load(backend: Backend, model: str | None, channel: Channel, base: Baseline) -> None:
    try:
        with Peaks(base) as peaks:
            started = time.perf_counter()
            loaded = backend.load(model)
            load_s = round(time.perf_counter() - started, 3)
        took = peaks.metrics()
        sizes = {"peak_ram_kb": took["PEAK_RAM_KB"], "peak_vram_mib": took["PEAK_VRAM_MIB"]}
        end: dict[str, Any] = {"kind": "loaded", "model": loaded, "load_s": load_s, **sizes}
    except Exception as error:  # noqa: BLE001  As below.
        end = _fault(error)
    channel.end_log()
    channel.send(**end)


def _run(backend: Backend, job: EngineJob, channel: Channel, base: Baseline) -> None:
    channel.begin(job.id)
    try:
        outcome = _measured(backend, job, channel, base)
        end: dict[str, Any] = {"kind": "done", "outcome": outcome.as_json()}
    except Cancelled:
        end = {"kind": "cancelled"}
    except Exception as error:  # noqa: BLE001  Whatever a backend raises ends its job, not its process.
        end = _fault(error)
    channel.end_log()
    channel.send(**end)


def _fault(error: Exception) -> dict[str, Any]:
    traceback.print_exception(error)
    fault = from_exception(error)
    return {"kind": "fault", "fault": {"kind": fault.kind, "code": fault.code, "message": fault.message}}


def _measured(backend: Backend, job: EngineJob, channel: Channel, base: Baseline) -> Outcome:
    with Peaks(base) as peaks:
        channel.gpu_util = lambda: peaks.gpu_util
        started = time.perf_counter()
        model = backend.load(job.model)
        loaded = time.perf_counter()
        channel.send("loaded", model=model)
        outcome = backend.run(job, channel.report)
        ended = time.perf_counter()
    metrics = {
        "GENERATION_TIME_SEC": round(ended - loaded, 3),
        "MODEL_LOAD_SEC": round(loaded - started, 3),
        **peaks.metrics(),
    }
    return replace(outcome, metrics={**metrics, **outcome.metrics})


if __name__ == "__main__":
    main()
