"""From submit to start of a no-op job with one idle worker: gpulease over HTTP against Celery + Redis.

Run: .venv/bin/pip install 'celery>=5.5' 'redis>=6.1', have redis-server on the PATH, then
     .venv/bin/python bench/dispatch.py [--jobs 300]
Start is when the worker's process holds the job: Celery's task reads the clock, and so does our agent's link
when its parked claim is answered. Jobs go one at a time; both sides run in the same minute on this machine.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from uuid import uuid4

import httpx
from load import free_port, orchestrator, process

from gpulease.contract.agent import ClaimRequest, EngineOffer, FinishReport, RegisterRequest
from gpulease.contract.jobs import Result

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
        body = {"engine": "command", "input": {"program": "noop"}}
        waits = []
        with httpx.Client(base_url=url) as http:
            for _ in range(count):
                before = time.time()
                job = http.post("/v1/jobs", json=body).raise_for_status().json()
                job_id, at = starts.get(timeout=30)
                if job_id != job["id"]:
                    raise RuntimeError("another job came")
                waits.append(at - before)
                time.sleep(PAUSE_S)
        running.kill()
        return waits


def enrolled(data: Path):
    """An orchestrator with one worker row that our own agent plays."""
    import contextlib  # noqa: PLC0415

    @contextlib.contextmanager
    def up():
        worker_id, key = f"w-{uuid4().hex[:12]}", uuid4().hex
        asyncio.run(_add_worker(data, worker_id, key))
        with orchestrator(data, GPULEASE_PROVIDERS="none") as url:
            yield url, worker_id, key

    return up()


async def _add_worker(data: Path, worker_id: str, key: str) -> None:
    from orchestrator.keys import hash_key  # noqa: PLC0415
    from orchestrator.store.rows import NewWorker, WorkerMove  # noqa: PLC0415
    from orchestrator.store.sqlite import open_sqlite  # noqa: PLC0415
    from scaling.states import WorkerState  # noqa: PLC0415

    now = time.time()
    store = await open_sqlite(data / "gpulease.db")
    await store.intend_worker(NewWorker(worker_id, "bench", "cpu", 0.0, now, now, hash_key(key), "bench"))
    move = WorkerMove(WorkerState.CREATING, (WorkerState.INTENDED,), "bench", "bench")
    await store.move_worker(worker_id, move, now=now)
    await store.aclose()


def celery(count: int) -> list[float]:
    port = free_port()
    redis = f"redis://127.0.0.1:{port}"
    here = str(Path(__file__).parent)
    server = ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    worker = [sys.executable, "-m", "celery", "--workdir", here, "-A", "celery_peer", "worker", "-c", "1"]
    with process(server), process([*worker, "-l", "WARNING"], BENCH_REDIS=redis):
        import os  # noqa: PLC0415

        os.environ["BENCH_REDIS"] = redis
        sys.path.insert(0, here)
        from celery_peer import started  # noqa: PLC0415

        started.delay().get(timeout=60)
        waits = []
        for _ in range(count):
            before = time.time()
            waits.append(started.delay().get(timeout=30) - before)
            time.sleep(PAUSE_S)
        return waits


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=300)
    count = arguments.parse_args().jobs
    rows = {"gpulease": ours(count), "celery": celery(count)}
    cuts = {name: statistics.quantiles(waits, n=100) for name, waits in rows.items()}
    for name, cut in cuts.items():
        print(f"{name:9} submit to start: p50 {1000 * cut[49]:6.1f} ms, p99 {1000 * cut[98]:6.1f} ms")
    ratios = [cuts["gpulease"][at] / cuts["celery"][at] for at in (49, 98)]
    print(f"ratio gpulease / celery: p50 {ratios[0]:.2f}, p99 {ratios[1]:.2f}")


if __name__ == "__main__":
    main()
