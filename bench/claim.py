"""What a claim costs with a long queue and with a short one, and what a submit costs.

    python bench/claim.py [--long 1000000] [--short 1000] [--claims 300] [--patience 3500]

Two SQLite stores in a temporary folder are filled through `submit_jobs`, in batches of 1,000, with jobs of 20
needs (5 priorities, 4 owners). Then each in turn gives jobs to one worker, a claim at a time, alternating so
that whatever else the machine does hits both alike. Printed: the medians and their ratio (the aim is at most
1.5), the rate of the batches (the aim is at least 5,000 jobs/s over HTTP, and so about 15,000 here), and the
latency of a single durable submit. The jobs came 3,000 to 4,000 s before the claims: with a patience between, some
of each need are late, and claims pass them over.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from pathlib import Path

from orchestrator.store import rows
from orchestrator.store.sqlite import SqliteStore, open_sqlite
from scaling.place import Patience
from scaling.snapshot import Capability, Need
from scaling.states import WorkerState

BATCH = 1_000
NEEDS = [Need("csm", priority=number % 5, owner=f"owner-{number % 4}") for number in range(20)]


def new_job(number: int) -> rows.NewJob:
    at = 1_000.0 + number * 0.001
    return rows.NewJob(
        id=str(uuid.uuid4()),
        need=NEEDS[number % len(NEEDS)],
        input={"text": "A sentence of about the length that people ask for, as it were."},
        created_at=at,
        complete_by=at + 86_400.0,
        max_time_s=1_200.0,
    )


async def fill(store: SqliteStore, count: int) -> float:
    """Returns the jobs submitted a second, while submitting."""
    spent_s = 0.0
    for start in range(0, count, BATCH):
        jobs = [new_job(number) for number in range(start, min(start + BATCH, count))]
        began = time.perf_counter()
        await store.submit_jobs(jobs)
        spent_s += time.perf_counter() - began
    return count / spent_s


async def add_worker(store: SqliteStore) -> None:
    await store.intend_worker(rows.NewWorker("w", "local", "cpu", 0.0, 0.0, 0.0, "h", "bench"))
    creating = rows.WorkerMove(WorkerState.CREATING, (WorkerState.INTENDED,), "bench", "bench")
    await store.move_worker("w", creating, now=0.0)
    said = rows.Registration("i", (Capability("csm"),), "cpu", 0.0, capacity=1_000_000)
    await store.register_worker("w", said, now=0.0)


async def claim_ms(store: SqliteStore, nonce: str, patience: Patience | None) -> float:
    began = time.perf_counter()
    claimed = await store.claim_job("w", "i", nonce, resident=(), now=5_000.0, patience=patience)
    took_s = time.perf_counter() - began
    assert claimed is not None
    # The worker is given its slot back, so that only the queue differs from claim to claim.
    held = rows.Held(claimed.attempt.id, "w", "i")
    await store.finish_attempt(held, result=rows.Result(backend="bench"), fault=None, now=5_001.0)
    return took_s * 1e3


async def submit_ms(store: SqliteStore) -> float:
    job = new_job(0)
    began = time.perf_counter()
    await store.submit_jobs([job])
    return (time.perf_counter() - began) * 1e3


async def compare(folder: Path, asked: argparse.Namespace) -> None:
    long, short, claims = asked.long, asked.short, asked.claims
    patience = None if asked.patience is None else Patience(asked.patience)
    stores = {count: await open_sqlite(folder / f"{count}.db") for count in (short, long)}
    for count, store in stores.items():
        rate = await fill(store, count)
        print(f"{count:>9,} jobs submitted, {BATCH:,} a batch: {rate:,.0f} jobs/s")
        await add_worker(store)
    times: dict[int, list[float]] = {count: [] for count in stores}
    for number in range(claims):
        for count, store in stores.items():
            times[count].append(await claim_ms(store, f"n{number}", patience))
    medians = {count: statistics.median(taken) for count, taken in times.items()}
    for count, taken in times.items():
        p99 = statistics.quantiles(taken, n=100)[98]
        print(f"{count:>9,} queued: claim p50 {medians[count]:.2f} ms, p99 {p99:.2f} ms")
    print(f"ratio of the medians: {medians[long] / medians[short]:.2f} (aim: at most 1.5)")
    for count, store in stores.items():
        taken = [await submit_ms(store) for _ in range(claims)]
        p99 = statistics.quantiles(taken, n=100)[98]
        print(f"{count:>9,} queued: one submit p50 {statistics.median(taken):.2f} ms, p99 {p99:.2f} ms")
        await store.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, default=1_000_000)
    parser.add_argument("--short", type=int, default=1_000)
    parser.add_argument("--claims", type=int, default=300)
    parser.add_argument("--patience", type=float)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder), asked))


if __name__ == "__main__":
    main()
