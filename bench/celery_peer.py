"""The peer of bench/dispatch.py: a task that only says when it started, and a FastAPI route that submits it."""

import os
import time

from celery import Celery
from fastapi import FastAPI

from gpulease.contract.jobs import JobRequest

REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6399")
celery = Celery("celery_peer", broker=f"{REDIS}/0", backend=f"{REDIS}/1")
celery.conf.worker_prefetch_multiplier = 1
app = FastAPI()


@celery.task
def started() -> float:
    return time.time()


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/jobs", status_code=202)
def submit(body: JobRequest) -> dict[str, str]:
    """As a FastAPI service in front of Celery does it; in a thread, since Celery's client blocks."""
    return {"id": started.delay().id, "status": "queued", "engine": body.engine}
