"""From submit to start of a no-op job with one idle worker: gpulease over HTTP against Celery + Redis.

Run: .venv/bin/pip install 'celery>=5.5' 'redis>=6.1', have redis-server on the PATH, then
     .venv/bin/python bench/dispatch.py [--jobs 300]
Start is when the worker's process holds the job: Celery's task reads the clock, and so does our agent's link
when its parked claim is answered. Jobs go one at a time; all run in the same minutes on this machine. The like of
what we do is Celery behind a FastAPI route that checks the same body; Celery from a program has no HTTP in its way.
"""

import argparse
import asyncio
import contextlib
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import httpx
from load import free_port, orchestrator, process

from gpulease.contract.agent import ClaimRequest, EngineOffer, FinishReport, RegisterRequest
from gpulease.contract.jobs import Result
from orchestrator.keys import hash_key
from orchestrator.store.rows import NewWorker, WorkerMove
from orchestrator.store.sqlite import open_sqlite
from scaling.states import WorkerState

BODY = {"engine": "command", "input": {"program": "noop"}}
PAUSE_S = 0.1
"""Between jobs, so that the worker idles again: on our side its claim is parked."""


def agent(url: str, worker_id: str, key: str, starts: "Queue[tuple[str, float]]") -> None:
    """An agent that finishes each job at once. It speaks the whole protocol over HTTP."""
    me = {"X-Internal-API-Key": key}
    incarnation = uuid4().hex
    base = f"{url}/internal/workers/{worker_id}"
    with httpx.Client(headers=me, timeout=60) as http:
        offer = EngineOffer(engine="command", backend="bench", models=("noop",))
        register = RegisterRequest(incarnation=incarnation, engines=(offer,))
        http.post(f"{base}/register", json=register.model_dump(mode="json")).raise_for_status()
        starts.put(("ready", time.time()))
        while True:
            asked = ClaimRequest(incarnation=incarnation, nonce=uuid4().hex, wait_s=20)
            reply = http.post(f"{base}/claim", json=asked.model_dump(mode="json")).raise_for_status().json()
            if job := reply.get("assignment"):
                starts.put((job["job_id"], time.time()))
                report = FinishReport(incarnation=incarnation, result=Result(backend="bench", text="done"))
                path = f"{base}/attempts/{job['attempt']}/finish"
                http.post(path, json=report.model_dump(mode="json")).raise_for_status()


def ours(count: int) -> list[float]:
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, enrolled(Path(folder)) as (url, worker_id, key):
        starts: Queue[tuple[str, float]] = context.Queue()
        running = context.Process(target=agent, args=(url, worker_id, key, starts), daemon=True)
        running.start()
        starts.get(timeout=30)
        waits = []
        with httpx.Client(base_url=url) as http:
            for _ in range(count):
                before = time.time()
                job = http.post("/v1/jobs", json=BODY).raise_for_status().json()
                job_id, at = starts.get(timeout=30)
                if job_id != job["id"]:
                    raise RuntimeError("another job came")
                waits.append(at - before)
                time.sleep(PAUSE_S)
        running.kill()
        return waits


@contextlib.contextmanager
def enrolled(data: Path) -> Iterator[tuple[str, str, str]]:
    """An orchestrator with one worker row that our own agent plays: its URL, the worker's id and key."""
    worker_id, key = f"w-{uuid4().hex[:12]}", uuid4().hex
    asyncio.run(_add_worker(data, worker_id, key))
    with orchestrator(data, GPULEASE_PROVIDERS="") as url:
        yield url, worker_id, key


async def _add_worker(data: Path, worker_id: str, key: str) -> None:
    now = time.time()
    store = await open_sqlite(data / "gpulease.db")
    await store.intend_worker(NewWorker(worker_id, "bench", "cpu", 0.0, now, now, hash_key(key), "bench"))
    move = WorkerMove(WorkerState.CREATING, (WorkerState.INTENDED,), "bench", "bench")
    await store.move_worker(worker_id, move, now=now)
    await store.aclose()


def celery(count: int) -> dict[str, list[float]]:
    """Waits of both ways into Celery: from a program, and over HTTP as on our side."""
    redis_port, http_port = free_port(), free_port()
    redis = os.environ["BENCH_REDIS"] = f"redis://127.0.0.1:{redis_port}"
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    peer = importlib.import_module("celery_peer")
    server = ["redis-server", "--port", str(redis_port), "--save", "", "--bind", "127.0.0.1"]
    worker = [
        sys.executable,
        "-m",
        "celery",
        "--workdir",
        here,
        "-A",
        "celery_peer:celery",
        "worker",
        "-c",
        "1",
    ]
    route = [sys.executable, "-m", "uvicorn", "celery_peer:app", "--app-dir", here, "--no-access-log"]
    url = f"http://127.0.0.1:{http_port}"
    with (
        process(server),
        process([*worker, "-l", "WARNING"], BENCH_REDIS=redis),
        process([*route, "--port", str(http_port)], health=f"{url}/readyz", BENCH_REDIS=redis),
        httpx.Client(base_url=url) as http,
    ):
        peer.started.delay().get(timeout=60)
        return {
            "celery": [_wait(peer.started.delay) for _ in range(count)],
            "celery over HTTP": [_wait(lambda: _submitted(peer, http)) for _ in range(count)],
        }


def _submitted(peer: ModuleType, http: httpx.Client) -> Any:
    job = http.post("/v1/jobs", json=BODY).raise_for_status().json()
    return peer.celery.AsyncResult(job["id"])


def _wait(submit: Callable[[], Any]) -> float:
    time.sleep(PAUSE_S)
    before = time.time()
    return float(submit().get(timeout=30)) - before


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=300)
    count = arguments.parse_args().jobs
    rows = {"gpulease over HTTP": ours(count), **celery(count)}
    cuts = {name: statistics.quantiles(waits, n=100) for name, waits in rows.items()}
    for name, cut in cuts.items():
        print(f"{name:18} submit to start: p50 {1000 * cut[49]:6.1f} ms, p99 {1000 * cut[98]:6.1f} ms")
    for name in ("celery over HTTP", "celery"):
        ratios = [cuts["gpulease over HTTP"][at] / cuts[name][at] for at in (49, 98)]
        print(f"ratio gpulease over HTTP / {name}: p50 {ratios[0]:.2f}, p99 {ratios[1]:.2f}")


if __name__ == "__main__":
    main()
