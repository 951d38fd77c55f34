"""The peer of bench/dispatch.py: a task that only says when it started."""

import os
import time

from celery import Celery

REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6399")
app = Celery("celery_peer", broker=f"{REDIS}/0", backend=f"{REDIS}/1")
app.conf.worker_prefetch_multiplier = 1


@app.task
def started() -> float:
    return time.time()
