"""/api/project: what tasks and models belong to."""

from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from gpulease.contract.problems import ProblemError
from orchestrator.api.auth import Shared, Submitter, Viewer
from orchestrator.api.people.projects import find_project
from orchestrator.compat.surface import refusing
from orchestrator.compat.tasks.bodies import NewProject
from orchestrator.compat.tasks.words import REFUSALS, Answer, TaskRow, millis, refuse, task_row
from orchestrator.store.errors import Duplicate
from orchestrator.store.people import Project
from orchestrator.store.rows import JobFilter

LISTED_MAX = 1_000
TASKS_SHOWN = 100
router = APIRouter(
    prefix="/api/project", tags=["task orchestration"], route_class=refusing(refuse), responses=REFUSALS
)


class ProjectData(BaseModel):
    id: str
    projectId: str  # noqa: N815  The wire's.
    name: str | None
    createdAt: int  # noqa: N815
    model: str | None
    assignee: str | None
    callbackUrl: str | None  # noqa: N815


class ProjectDetail(ProjectData):
    """With its latest tasks, 100 at most."""

    Task: list[TaskRow]


class ProjectList(BaseModel):
    projects: list[ProjectData]
    total: int


@router.post("/create")
async def create(parts: Shared, body: NewProject, caller: Submitter) -> Answer[ProjectData]:
    """Yours; others come in by /v1/projects/{id}/members."""
    project_id = body.projectId or str(uuid4())
    data = body.model_dump(include={"model", "assignee", "callbackUrl"}, exclude_none=True)
    project = Project(project_id, body.name or project_id, caller.owner, parts.clock.now(), data=data)
    try:
        await parts.store.add_project(project, by=caller.by)
    except Duplicate as error:
        detail = f"There is a project {project_id!r} already; choose another projectId, or send none."
        raise ProblemError(409, "This projectId is taken", detail) from error
    return Answer(data=ProjectData(**_shown(project)))


@router.get("/detail/{project_id}")
async def detail(
    parts: Shared, caller: Viewer, project_id: Annotated[str, Path(max_length=100)]
) -> Answer[ProjectDetail]:
    """With its latest tasks."""
    project = await find_project(parts, caller, project_id)
    which = JobFilter(engine="blender", project=project.id)
    jobs = await parts.store.list_jobs(which, before=None, limit=TASKS_SHOWN)
    tasks = [task_row(job) for job in jobs]
    return Answer(data=ProjectDetail(**_shown(project), Task=tasks))


@router.get("/list")
async def list_projects(
    parts: Shared,
    caller: Viewer,
    skip: Annotated[int, Query(ge=0, le=LISTED_MAX)] = 0,
    take: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Answer[ProjectList]:
    """Those that you are in, newest first; of more than 1,000, the first by id."""
    member = None if caller.sees_all else caller.owner
    rows = await parts.store.list_projects(member, limit=LISTED_MAX)
    rows.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    shown = [ProjectData(**_shown(one)) for one in rows[skip : skip + take]]
    return Answer(data=ProjectList(projects=shown, total=len(rows)))


def _shown(project: Project) -> dict[str, Any]:
    told = {name: project.data.get(name) for name in ("model", "assignee", "callbackUrl")}
    return {
        "id": project.id,
        "projectId": project.id,
        "name": project.name,
        "createdAt": millis(project.created_at),
        **{name: value if isinstance(value, str) else None for name, value in told.items()},
    }
