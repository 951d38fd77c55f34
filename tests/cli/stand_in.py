"""A small server that speaks the API over a real socket, with fault knobs: what the client is tried against."""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

SPEECH = b"RIFF" + bytes(range(256)) * 400


@dataclass
class StandIn:
    """What the server knows, what it was asked, and how it misbehaves."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refuse: deque[int] = field(default_factory=deque)
    """Statuses that the next requests are answered with, whatever they ask."""
    cut_after: deque[int] = field(default_factory=deque)
    """After so many events the next streams break."""
    ends_as: str = "succeeded"
    step_s: float = 0.01
    switched_off: set[str] = field(default_factory=set)
    hold: bool = False
    """Jobs stay queued until they are cancelled."""
    url: str = ""

    def reset(self) -> None:
        """As at first, but for the address."""
        self.__init__(url=self.url)

    def job(self, engine: str, given: dict[str, Any]) -> dict[str, Any]:
        job = {
            "id": str(uuid4()),
            "engine": engine,
            "status": "queued",
            "input": given,
            "priority": 0,
            "queue": "default",
            "low_priority": False,
            "max_time": 1200,
            "complete_in": 3600,
            "start_within": None,
            "retries": 2,
            "metadata": {},
            "requirements": {},
            "created_at": _now(),
        }
        self.jobs[job["id"]] = job
        return job

    def end(self, job: dict[str, Any]) -> None:
        job |= {
            "status": self.ends_as,
            "started_at": job["created_at"],
            "finished_at": _now(),
            "cost_usd": 0.0004,
        }
        if self.ends_as == "succeeded":
            job["result"] = self.result()
        elif self.ends_as == "failed":
            job["fault"] = {"kind": "job", "code": "bad_input", "message": "this is no audio"}

    def result(self) -> dict[str, Any]:
        file = {
            "name": "speech.wav",
            "key": "k",
            "size_bytes": len(SPEECH),
            "sha256": sha256(SPEECH).hexdigest(),
            "content_type": "audio/wav",
            "url": f"{self.url}/files/speech.wav?signature=s",
        }
        return {"backend": "stand-in", "model": "m", "text": "good morning", "files": [file]}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def problem(status: int, title: str) -> JSONResponse:
    body = {"type": "/problems/x", "title": title, "status": status, "detail": "Do it otherwise."}
    return JSONResponse(body, status, media_type="application/problem+json", headers={"Retry-After": "0"})


def create_app(state: StandIn) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def note(request: Request, call_next):
        state.asked.append((request.method, request.url.path))
        state.headers.append(dict(request.headers))
        if state.refuse:
            return problem(state.refuse.popleft(), "Not now")
        return await call_next(request)

    _add_jobs(app, state)
    _add_files(app, state)
    _add_events(app, state)
    _add_fleet(app, state)
    _add_money(app, state)
    return app


def _add_jobs(app: FastAPI, state: StandIn) -> None:
    @app.post("/v1/jobs", status_code=202)
    async def submit(request: Request):
        key, body = request.headers["idempotency-key"], await request.json()
        if key not in state.by_key:
            state.by_key[key] = state.job(body["engine"], body["input"])["id"]
        return state.jobs[state.by_key[key]]

    @app.post("/v1/jobs/batch", status_code=202)
    async def batch(request: Request):
        rows = (await request.json())["jobs"]
        return {
            "items": [{"index": i, "job": state.job(r["engine"], r["input"])} for i, r in enumerate(rows)]
        }

    @app.get("/v1/jobs")
    async def page(limit: int = 100, cursor: int = 0, status: str | None = None):
        rows = [row for row in state.jobs.values() if status in (None, row["status"])]
        more = cursor + limit if cursor + limit < len(rows) else None
        return {"items": rows[cursor : cursor + limit], "next_cursor": None if more is None else str(more)}

    @app.get("/v1/jobs/{job_id}")
    async def read(job_id: str):
        return state.jobs.get(job_id) or problem(404, "There is no such job")

    _add_ends(app, state)


def _add_ends(app: FastAPI, state: StandIn) -> None:
    @app.get("/v1/jobs/{job_id}/result")
    async def result(job_id: str):
        return state.jobs[job_id].get("result") or problem(409, "The job has not ended")

    @app.get("/v1/jobs/{job_id}/logs")
    async def logs(job_id: str, offset: int = 0):
        return Response("one\ntwo\n"[offset:], media_type="text/plain")

    @app.post("/v1/jobs/{job_id}/cancel")
    async def cancel(job_id: str):
        state.jobs[job_id]["status"] = "cancelled"
        return state.jobs[job_id]

    @app.post("/v1/jobs/{job_id}/retry", status_code=202)
    async def retry(job_id: str):
        old = state.jobs[job_id]
        return state.job(old["engine"], old["input"]) | {"retry_of": job_id}


def _add_files(app: FastAPI, state: StandIn) -> None:
    @app.post("/v1/uploads", status_code=201)
    async def upload(request: Request):
        async with request.form() as form:
            file = form["file"]
            state.uploads[file.filename] = data = await file.read()
            return {
                "id": "u1",
                "url": "upload://u1",
                "name": file.filename,
                "size_bytes": len(data),
                "sha256": sha256(data).hexdigest(),
                "content_type": file.content_type,
                "created_at": _now(),
                "expires_at": _now(),
            }

    @app.get("/files/{name}")
    async def file(name: str):
        return Response(SPEECH if name == "speech.wav" else SPEECH[:-1], media_type="audio/wav")


def _add_events(app: FastAPI, state: StandIn) -> None:
    @app.get("/v1/jobs/{job_id}/events")
    async def events(job_id: str, request: Request):
        if job_id not in state.jobs:
            return problem(404, "There is no such job")
        job, after = state.jobs[job_id], int(request.headers.get("last-event-id", 0))
        if "text/event-stream" not in request.headers["accept"]:
            return {"items": [move(1, None, "queued")]}
        cut = state.cut_after.popleft() if state.cut_after else 1000
        return StreamingResponse(_frames(state, job, after, cut), media_type="text/event-stream")


def move(seq: int, before: str | None, after: str) -> dict[str, Any]:
    return {"seq": seq, "at": _now(), "kind": "job", "before": before, "after": after, "who": "test"}


async def _frames(state: StandIn, job: dict[str, Any], after: int, cut: int) -> AsyncIterator[str]:
    sent = 0
    for frame in [move(1, None, "queued"), move(2, "queued", "running"), 0.5, 0.9, move(3, "running", "")]:
        while state.hold and job["status"] == "queued":
            await asyncio.sleep(state.step_s)
        if isinstance(frame, dict) and not frame["after"]:
            if job["status"] != "cancelled":
                state.end(job)
            frame["after"] = job["status"]
        if isinstance(frame, dict) and frame["seq"] <= after:
            continue
        if sent >= cut:
            raise ConnectionResetError("the knob cut_after")
        sent += 1
        await asyncio.sleep(state.step_s)
        yield _frame(frame)


def _frame(frame: dict[str, Any] | float) -> str:
    if isinstance(frame, dict):
        return f"id: {frame['seq']}\nevent: move\ndata: {json.dumps(frame)}\n\n"
    # U+2028 unescaped, as pydantic writes it: a line end to Python, not to SSE.
    data = json.dumps({"phase": "inferring", "progress": frame, "message": "a\u2028b"}, ensure_ascii=False)
    return f": still here\n\nevent: progress\ndata: {data}\n\n"


def _add_fleet(app: FastAPI, state: StandIn) -> None:
    worker = {
        "id": "w1",
        "provider": "local",
        "state": "ready",
        "gpu_class": "cpu",
        "usd_per_hour": 0.36,
        "busy": 1,
        "capacity": 1,
        "resident": ["csm/hibari"],
        "age_s": 12.3,
        "cost_usd": 0.00123,
    }

    @app.get("/v1/workers")
    async def workers():
        return {"items": [worker]}

    @app.post("/v1/workers/{worker_id}/{verb}")
    async def order(worker_id: str, verb: str):
        if worker_id != "w1":
            return problem(404, "There is no such worker")
        state = {"drain": "draining", "stop": "stopping"}.get(verb, "ready")
        return worker | {"state": state, "paused": verb == "pause"}

    @app.get("/v1/engines")
    async def engines():
        return {"items": [{"name": "csm", "title": "Text to speech", "result": "audio", "available": True}]}

    @app.get("/v1/plan")
    async def plan():
        blocked = {"code": "no_offer", "reason": "nothing sells blender", "engine": "blender", "count": 1}
        launch = {"kind": "launch", "provider": "local", "reason": "1 csm job waits"}
        return {"at": _now(), "actions": [launch], "blocked": [blocked]}

    @app.get("/v1/costs")
    async def costs():
        by = [{"provider": "local", "usd": 0.5}]
        return {"since": _now(), "usd_total": 0.5, "usd_today": 0.25, "by_provider": by, "leases": []}

    _add_policy(app)


def _add_policy(app: FastAPI) -> None:
    @app.get("/v1/policy")
    async def policy():
        return {"name": "whatif"}

    @app.put("/v1/policy")
    async def set_policy(request: Request):
        return await request.json()

    @app.get("/livez")
    async def live():
        return {"status": "ok"}


def _add_money(app: FastAPI, state: StandIn) -> None:
    cooled = {"gpu_class": "media:fast", "usd_per_hour": 1.0, "count_max": None, "cooled_s": 120.0}
    comput3 = {"name": "comput3", "configured": True, "missing": [], "hosted": True, "offers": [cooled]}
    rest = {"workers": 2, "usd_per_hour": 2.0, "fault": "the key was refused", "strangers": ["n-1"]}
    salad = {"name": "salad", "configured": False, "missing": ["SALAD_API_KEY"], "hosted": False}
    nothing = {"offers": [], "workers": 0, "usd_per_hour": 0.0, "fault": None, "strangers": []}

    def items():
        return [
            one | {"enabled": one["name"] not in state.switched_off}
            for one in (comput3 | rest, salad | nothing)
        ]

    @app.get("/v1/providers")
    async def providers():
        return {"items": items()}

    @app.post("/v1/providers/{name}/{verb}")
    async def switch(name: str, verb: str):
        found = [one for one in items() if one["name"] == name]
        if not found:
            return problem(404, "There is no such provider")
        (state.switched_off.add if verb == "disable" else state.switched_off.discard)(name)
        return next(one for one in items() if one["name"] == name)

    @app.get("/v1/leases")
    async def leases(hours: float = 24.0):
        lease = {"worker_id": "w1", "provider": "comput3", "gpu_class": "media:fast", "instance_id": "i-1"}
        times = {"started_at": _now(), "ended_at": None, "billed_s": None, "busy_s": 30.0}
        return {
            "items": [lease | times | {"usd_per_hour": 1.0, "usd": 0.25}],
            "usd_total": 0.25,
            "hours": hours,
        }


class _Quiet(uvicorn.Server):
    """A server in a thread leaves signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def serving(state: StandIn) -> Iterator[StandIn]:
    """The stand-in on a free port; `state.url` says where."""
    server = _Quiet(
        uvicorn.Config(create_app(state), port=0, log_level="critical", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        state.url = f"http://127.0.0.1:{port}"
        yield state
    finally:
        server.should_exit = True
        thread.join()
