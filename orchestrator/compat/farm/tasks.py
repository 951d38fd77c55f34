"""Jobs as tasks of the farm: found by their numbers, and shown with all that the farm shows."""

from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import ValidationError

from gpulease.contract.base import Lenient
from gpulease.contract.problems import ProblemError
from orchestrator.access.callers import Caller
from orchestrator.api.sight import find_job
from orchestrator.compat.farm import bodies
from orchestrator.compat.farm.engines import Farm
from orchestrator.jobs.submit import UPLOAD_SCHEME
from orchestrator.parts import Parts
from orchestrator.store.people import Right, User
from orchestrator.store.rows import Job, JobFilter
from scaling.states import JobState

SURFACE = "farm"
TASK, RENDER, USER, MACHINE = "task", "render", "user", "machine"
SHOWN_MAX = 15
PAGE = 500
PAGES_MAX = 20
"""Of a user's jobs, whichever way they came, so many are looked through for tasks."""
MACHINES_MAX = 255
"""The farm's own client reads a machine's number as one byte."""


class Render(Lenient):
    """What the farm's row of a render says, kept with the job."""

    engine_id: int = 0
    file_name: str = ""
    file_size: int = 0
    arguments: str = ""


async def find_task(parts: Parts, caller: Caller, number: int, *, right: Right = "read") -> Job:
    """The job behind a task's number.

    Raises:
        ProblemError: 404 where there is none that they may see; 403 where they see it and may not change it.
    """
    job_id = await parts.store.resolve_alias(SURFACE, TASK, number)
    try:
        if job_id is not None:
            return await find_job(parts, caller, job_id, right=right)
    except ProblemError as error:
        if error.problem.status != 404:
            raise
    detail = f"Task with identifier {number} not found for the current user."
    raise ProblemError(404, "There is no such task", detail, type="/problems/not-found")


def upload_of(job: Job) -> str | None:
    """The id of the file that came with the task."""
    url = str(job.input.get("file_url", ""))
    return url.removeprefix(UPLOAD_SCHEME) if url.startswith(UPLOAD_SCHEME) else None


async def info(parts: Parts, farm: Farm, user: User) -> bodies.InfoReply:
    user_id = await parts.store.alias(SURFACE, USER, user.id, user.id)
    jobs = await _recent(parts, user.id)
    renders = await parts.store.aliases(SURFACE, RENDER, [job.id for job in jobs.values()])
    tasks = []
    for task_id, job in jobs.items():
        ids = {"task_id": task_id, "user_id": user_id, "render_id": renders.get(job.id, task_id)}
        kept = render_of(job)
        render = bodies.Render(render_id=ids["render_id"], **kept.model_dump())
        task = await _task(parts, job, ids)
        tasks.append(bodies.TaskInfo(task=task, render=render, engine=_engine(farm, kept.engine_id)))
    return bodies.InfoReply(user=_user(user, user_id), tasks=tuple(tasks))


async def _recent(parts: Parts, owner: str) -> Mapping[int, Job]:
    """Their last tasks by number, newest first."""
    found: dict[int, Job] = {}
    before = None
    for _ in range(PAGES_MAX):
        jobs = await parts.store.list_jobs(JobFilter(owner=owner), before=before, limit=PAGE)
        numbers = await parts.store.aliases(SURFACE, TASK, [job.id for job in jobs])
        found |= {numbers[job.id]: job for job in jobs if job.id in numbers}
        if len(found) >= SHOWN_MAX or len(jobs) < PAGE:
            break
        before = (jobs[-1].created_at, jobs[-1].id)
    return dict(sorted(found.items(), reverse=True)[:SHOWN_MAX])


def render_of(job: Job) -> Render:
    """Clients may set a job's metadata themselves, and so it is read like anything that they send."""
    try:
        return Render.model_validate(job.metadata.get(SURFACE, {}))
    except ValidationError:
        return Render()


def _user(user: User, number: int) -> bodies.User:
    first, _, last = user.name.partition(" ")
    return bodies.User(
        user_id=number,
        first_name=first,
        last_name=last,
        email=user.email or "",
        subscription_id=user.subscription_id,
        is_active=user.active,
    )


async def _task(parts: Parts, job: Job, ids: Mapping[str, int]) -> bodies.Task:
    waits = job.state is JobState.QUEUED
    return bodies.Task(
        **ids,
        queue_time=moment(job.created_at),
        start_time=None if waits or job.started_at is None else moment(job.started_at),
        end_time=None if job.finished_at is None else moment(job.finished_at),
        is_running=job.state is JobState.RUNNING,
        is_success=job.state is JobState.SUCCEEDED,
        machine_id=None if waits else await _machine(parts, job),
    )


async def _machine(parts: Parts, job: Job) -> int | None:
    attempts = await parts.store.list_attempts(job.id)
    if not attempts:
        return None
    number = await parts.store.alias(SURFACE, MACHINE, attempts[-1].worker_id, "")
    return (number - 1) % MACHINES_MAX + 1


def _engine(farm: Farm, engine_id: int) -> bodies.Engine:
    """One that is configured no more has a number only."""
    engine = farm.engines.get(engine_id)
    if engine is None:
        return bodies.Engine(engine_id=engine_id, name="", extension="", download_path="", render_argument="")
    return bodies.Engine(
        engine_id=engine.engine_id,
        name=engine.name,
        extension=engine.extension,
        download_path=engine.download_path,
        render_argument=engine.render_argument,
    )


def moment(at: float) -> str:
    """As the farm writes times: UTC, without a zone, in whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
