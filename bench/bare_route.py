"""The peer of bench/submit.py: a bare FastAPI route that validates the same body and does one INSERT."""

import os
import sqlite3
from uuid import uuid4

from fastapi import FastAPI

from gpulease.contract.jobs import JobRequest

app = FastAPI()
database = sqlite3.connect(os.environ["BENCH_DATABASE"], check_same_thread=False, isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute(f"PRAGMA synchronous = {os.environ.get('BENCH_SYNCHRONOUS', 'FULL')}")
database.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, body TEXT NOT NULL)")


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/jobs", status_code=202)
async def submit(body: JobRequest) -> dict[str, str]:
    job_id = str(uuid4())
    database.execute("INSERT INTO jobs VALUES (?, ?)", (job_id, body.model_dump_json()))
    return {"id": job_id, "status": "queued"}
