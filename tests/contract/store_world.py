"""The stores under contract, and the few words that their tests are written in. Times are seconds from 0."""

import itertools
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gpulease.contract.jobs import Fault, OutputFile, Phase, Result
from orchestrator.store import people, rows
from orchestrator.store.memory import MemoryStore
from orchestrator.store.protocol import Store
from orchestrator.store.sqlite import open_sqlite
from scaling.snapshot import Capability, Need
from scaling.states import WorkerState

W = WorkerState
SPEECH = Capability("csm", "piper", ("small", "large"), ("clone",))
RESULT = Result(
    backend="piper",
    model="small",
    text="hello",
    files=(OutputFile(name="a.wav", key="k/a.wav", size_bytes=3),),
)
HOST_FAULT = Fault(kind="host", code="out_of_memory", message="no VRAM left")
JOB_FAULT = Fault(kind="job", code="bad_input", message="not audio")
IMAGE_FAULT = Fault(kind="host", code="image_missing_library", message="libfoo.so not found")


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else await open_sqlite(tmp_path / "a.db")
    yield opened
    await opened.aclose()


def new_job(engine: str = "csm", *, at: float = 0.0, **wanted) -> rows.NewJob:
    """A job whose need takes what Need has, and the rest what NewJob has; both take `max_time_s`."""
    of_need = {name: value for name, value in wanted.items() if name in Need.__dataclass_fields__}
    wanted = {name: value for name, value in wanted.items() if name not in of_need or name == "max_time_s"}
    defaults = {
        "id": str(uuid.uuid4()),
        "input": {"text": "hello"},
        "complete_by": at + 3600,
        "max_time_s": 1200,
    }
    return rows.NewJob(need=Need(engine, **of_need), created_at=at, **{**defaults, **wanted})


async def submit(store: Store, engine: str = "csm", *, at: float = 0.0, **wanted) -> rows.Job:
    [submitted] = await store.submit_jobs([new_job(engine, at=at, **wanted)])
    return submitted.job


def new_worker(worker_id: str = "w1", *, at: float = 0.0, **wanted) -> rows.NewWorker:
    defaults = {"provider": "local", "gpu_class": "cpu", "usd_per_hour": 1.0, "buy_at": at, "key_hash": "h"}
    return rows.NewWorker(id=worker_id, intended_at=at, reason="demand", **{**defaults, **wanted})


def enrolment(worker_id: str = "o1", *, at: float = 0.0, **wanted) -> rows.Enrolment:
    return rows.Enrolment(worker_id, **{"provider": "buffer", "key_hash": "h", "at": at, **wanted})


def registration(incarnation: str = "i1", **wanted) -> rows.Registration:
    defaults = {"capabilities": (SPEECH,), "gpu_class": "cpu", "vram_gb": 8.0, "capacity": 1}
    return rows.Registration(incarnation, **{**defaults, **wanted})


def move(to: WorkerState, *expected: WorkerState, **wanted) -> rows.WorkerMove:
    return rows.WorkerMove(to, expected, who="test", reason="because", **wanted)


async def ready(
    store: Store, worker_id: str = "w1", *, at: float = 0.0, offer: dict | None = None, **wanted
) -> rows.Worker:
    """A worker that was intended, created and registered at once."""
    await store.intend_worker(new_worker(worker_id, at=at, **(offer or {})))
    assert await store.move_worker(worker_id, move(W.CREATING, W.INTENDED), now=at)
    assert await store.register_worker(worker_id, registration(**wanted), now=at)
    worker = await store.get_worker(worker_id)
    assert worker is not None
    return worker


BY = people.By("user:ops", "k1", "127.0.0.1")


async def add_user(store: Store, user_id: str = "ann", *, at: float = 0.0, **wanted) -> people.User:
    user = people.User(user_id, **{"name": user_id.title(), "role": "submitter", "created_at": at, **wanted})
    await store.add_user(user)
    return user


async def add_project(
    store: Store, project_id: str = "p1", *, owner: str = "ann", **wanted
) -> people.Project:
    project = people.Project(project_id, **{"name": project_id, "owner": owner, "created_at": 0.0, **wanted})
    await store.add_project(project)
    return project


async def audit_of(store: Store, **which) -> list[people.Audit]:
    return await store.list_audit(people.AuditFilter(**which))


async def retire(store: Store, worker_id: str = "w1", *, at: float) -> None:
    """A worker that serves is stopped, and its end is confirmed, at once."""
    assert await store.move_worker(worker_id, move(W.STOPPING, W.READY, W.STARTING), now=at)
    assert await store.move_worker(worker_id, move(W.GONE, W.STOPPING), now=at)


_nonces = itertools.count()


async def claim(
    store: Store,
    worker_id: str = "w1",
    *,
    at: float = 1.0,
    incarnation: str = "i1",
    nonce: str | None = None,
    resident: tuple[str, ...] = (),
) -> rows.Claimed | None:
    nonce = nonce if nonce is not None else f"nonce-{next(_nonces)}"
    return await store.claim_job(worker_id, incarnation, nonce, resident=resident, now=at)


async def begun(store: Store, worker_id: str = "w1", *, at: float = 1.0, **wanted) -> rows.Held:
    """A claim that must give something."""
    claimed = await claim(store, worker_id, at=at, **wanted)
    assert claimed is not None
    return rows.Held(claimed.attempt.id, worker_id, claimed.attempt.incarnation)


async def finish(
    store: Store,
    held: rows.Held,
    *,
    result: Result | None = None,
    fault: Fault | None = None,
    at: float = 10.0,
) -> rows.Verdict:
    if result is None and fault is None:
        result = RESULT
    return await store.finish_attempt(held, result=result, fault=fault, now=at)


async def report(
    store: Store, held: rows.Held, phase: Phase, progress: float = 0.0, *, at: float = 5.0, message=None
) -> rows.Verdict:
    return await store.report_progress(held, rows.Progress(phase, progress, message), now=at)


async def job_of(store: Store, job_id: str) -> rows.Job:
    job = await store.get_job(job_id)
    assert job is not None
    return job


async def worker_of(store: Store, worker_id: str = "w1") -> rows.Worker:
    worker = await store.get_worker(worker_id)
    assert worker is not None
    return worker


async def attempt_of(store: Store, held: rows.Held) -> rows.Attempt:
    claimed = await store.get_attempt(held.attempt_id)
    assert claimed is not None
    return claimed.attempt


async def moves_of(store: Store, job_id: str) -> list[tuple[str | None, str | None]]:
    return [(one.before, one.after) for one in await store.list_events(job_id=job_id)]
