"""Submits a second: POST /v1/jobs against a bare FastAPI route with one INSERT, and batches of 1,000.

Run: .venv/bin/python bench/submit.py [--jobs 3000]
Both servers run in turn on this machine, three times each; the ratio is of medians.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path

from load import free_port, orchestrator, post_many, process

BODY = {"engine": "video", "input": {"prompt": "a cat on the moon"}, "metadata": {"bench": True}}


def bare(jobs: list[bytes], synchronous: str) -> float:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bare_route:app", "--port", str(port), "--no-access-log"]
    with tempfile.TemporaryDirectory() as folder:
        extra = {"BENCH_DATABASE": f"{folder}/bare.db", "BENCH_SYNCHRONOUS": synchronous}
        command += ["--app-dir", str(Path(__file__).parent)]
        with process(command, health=f"http://127.0.0.1:{port}/readyz", **extra):
            return asyncio.run(post_many(f"http://127.0.0.1:{port}", "/v1/jobs", jobs))


def ours(jobs: list[bytes], path: str = "/v1/jobs", connections: int = 32) -> float:
    with tempfile.TemporaryDirectory() as folder, orchestrator(Path(folder)) as url:
        return asyncio.run(post_many(url, path, jobs, connections))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=3000)
    count = arguments.parse_args().jobs
    jobs = [json.dumps(BODY).encode()] * count
    rows: dict[str, list[float]] = {"gpulease": [], "bare FULL": [], "bare NORMAL": []}
    for _ in range(3):
        rows["gpulease"].append(ours(jobs))
        rows["bare FULL"].append(bare(jobs, "FULL"))
        rows["bare NORMAL"].append(bare(jobs, "NORMAL"))
    medians = {name: statistics.median(rates) for name, rates in rows.items()}
    for name, rates in rows.items():
        print(
            f"{name:12} {min(rates):8.0f} {medians[name]:8.0f} {max(rates):8.0f} submits/s (min median max)"
        )
    print(
        f"ratio to the bare route, synchronous=FULL as ours: {medians['gpulease'] / medians['bare FULL']:.2f}"
    )
    print(f"ratio to the bare route, synchronous=NORMAL: {medians['gpulease'] / medians['bare NORMAL']:.2f}")
    batch = json.dumps({"jobs": [BODY] * 1000}).encode()
    print(f"batches of 1,000: {1000 * ours([batch] * 20, '/v1/jobs/batch', 2):.0f} jobs/s")


if __name__ == "__main__":
    main()
