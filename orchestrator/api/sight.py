"""Whose things a caller may see and change. What they may not see does not exist for them: 404, and no hint."""

from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.callers import Caller
from orchestrator.jobs.submit import Asked, not_found
from orchestrator.parts import Parts
from orchestrator.store.people import Right, Upload
from orchestrator.store.rows import Job, Sight


async def sight(parts: Parts, caller: Caller) -> Sight | None:
    """None where they see everybody's."""
    if caller.sees_all:
        return None
    return Sight(caller.owner, await projects(parts, caller))


async def projects(parts: Parts, caller: Caller, right: Right = "read") -> tuple[str, ...]:
    """The projects that they are in with that right; the right to write includes the other."""
    found = await parts.store.memberships(caller.owner)
    return tuple(one.project_id for one in found if right in ("read", one.right))


async def asked(parts: Parts, caller: Caller, key: str | None = None) -> Asked:
    """Who submits, for the submitter."""
    seen = await sight(parts, caller)
    writable = None if seen is None else await projects(parts, caller, "write")
    return Asked(caller.owner, key, by=caller.by, sight=seen, writable=writable)


async def find_job(parts: Parts, caller: Caller, job_id: str, *, right: Right = "read") -> Job:
    """The job, if they may do that with it.

    Raises:
        ProblemError: 404 where there is none that they may see; 403 where they see it and may not change it.
    """
    job = await parts.store.get_job(job_id)
    if job is None or caller.sees_all or job.need.owner == caller.owner:
        if job is None:
            raise not_found(job_id)
        return job
    if not job.need.project or job.need.project not in await projects(parts, caller):
        raise not_found(job_id)
    if right == "write" and job.need.project not in await projects(parts, caller, "write"):
        raise only_reads(job.need.project)
    return job


async def find_upload(parts: Parts, caller: Caller, upload_id: str) -> Upload:
    """Uploads are seen by those who sent them, and by operators."""
    upload = await parts.store.get_upload(upload_id)
    if upload is None or not (caller.sees_all or upload.owner == caller.owner):
        raise ProblemError(404, "There is no such upload", "It may have expired.", type="/problems/not-found")
    return upload


async def check_project(parts: Parts, caller: Caller, project_id: str, field: str = "project") -> None:
    """Whether they may put something into it.

    Raises:
        ProblemError: 422 naming the field.
    """
    if caller.sees_all and await parts.store.get_project(project_id):
        return
    if project_id not in await projects(parts, caller, "write"):
        message = f"there is no project {project_id!r} that you may write to"
        raise invalid([FieldFault(field=field, message=message)])


def only_reads(project_id: str) -> ProblemError:
    return ProblemError(
        403,
        "You may only look at this project",
        f"Ask its owner for the right to write to {project_id!r}.",
        type="/problems/forbidden",
    )
