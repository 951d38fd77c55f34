"""/v1/projects: jobs, uploads and assets that several users share, and who is in them."""

from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Response

from gpulease.contract.people import (
    MemberPage,
    MemberRequest,
    MemberView,
    ProjectChange,
    ProjectPage,
    ProjectRequest,
    ProjectView,
)
from gpulease.contract.problems import ProblemError
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Person, Shared, forbidden, needs
from orchestrator.api.edge.cursors import Limit, cut, cut_after, place_of
from orchestrator.api.people.subscriptions import quota_of, quota_view
from orchestrator.api.sight import projects
from orchestrator.api.views import moment
from orchestrator.parts import Parts
from orchestrator.store.people import Member, Project, Quota

router = APIRouter(prefix="/v1/projects", tags=["people"])
Sharer = Annotated[Caller, Depends(needs("submitter", "people"))]


@router.get("")
async def list_projects(
    parts: Shared, caller: Person, cursor: str | None = None, limit: Limit = 100
) -> ProjectPage:
    """Those that you are in; operators see all."""
    member = None if caller.sees_all else caller.owner
    rows = await parts.store.list_projects(member, after=place_of(cursor, str), limit=limit + 1)
    page, more = cut(rows, limit, lambda one: one.id)
    return ProjectPage(items=tuple(project_view(one) for one in page), next_cursor=more)


@router.post("", status_code=201)
async def create_project(
    parts: Shared, body: ProjectRequest, caller: Sharer, response: Response
) -> ProjectView:
    """Yours, and you are its first member."""
    if body.quota:
        _check_may_set_quota(caller)
    quota = quota_of(body.quota) if body.quota else Quota()
    project = Project(str(uuid4()), body.name, caller.owner, parts.clock.now(), quota, body.data)
    await parts.store.add_project(project, by=caller.by)
    response.headers["Location"] = f"/v1/projects/{project.id}"
    return project_view(project)


@router.get("/{project_id}")
async def read_project(parts: Shared, project_id: str, caller: Person) -> ProjectView:
    return project_view(await find_project(parts, caller, project_id))


@router.patch("/{project_id}")
async def change_project(parts: Shared, project_id: str, body: ProjectChange, caller: Sharer) -> ProjectView:
    """Its name and data, by its owner; by admins its quota too."""
    project = await _find_own(parts, caller, project_id)
    changes = _changes(body, caller)
    if not changes:
        return project_view(project)
    now = parts.clock.now()
    changed = await parts.store.change_project(project_id, changes, by=caller.by, now=now)
    await parts.quotas.refresh()
    return project_view(changed or project)


@router.get("/{project_id}/members")
async def list_members(
    parts: Shared, project_id: str, caller: Person, cursor: str | None = None, limit: Limit = 100
) -> MemberPage:
    """Those who are in it, its owner among them, by their ids."""
    await find_project(parts, caller, project_id)
    rows = await parts.store.list_members(project_id)
    page, more = cut_after(rows, lambda one: one.user_id, place_of(cursor, str), limit)
    return MemberPage(items=tuple([await _member_view(parts, one) for one in page]), next_cursor=more)


@router.put("/{project_id}/members/{user_id}")
async def put_member(
    parts: Shared, project_id: str, user_id: str, body: MemberRequest, caller: Sharer
) -> MemberView:
    """Lets a user in, or changes their right: `read` its jobs, or also `write`: submit and cancel."""
    project = await _find_own(parts, caller, project_id)
    _check_not_owner(project, user_id)
    member = Member(project_id, user_id, body.right)
    if not await parts.store.put_member(member, by=caller.by, now=parts.clock.now()):
        raise ProblemError(
            404, "There is no such user", f"No user has the id {user_id!r}.", type="/problems/not-found"
        )
    return await _member_view(parts, member)


@router.delete("/{project_id}/members/{user_id}", status_code=204)
async def remove_member(parts: Shared, project_id: str, user_id: str, caller: Sharer) -> None:
    """Their jobs in it stay, and stay theirs."""
    project = await _find_own(parts, caller, project_id)
    _check_not_owner(project, user_id)
    member = Member(project_id, user_id, "read")
    if not await parts.store.put_member(member, by=caller.by, now=parts.clock.now(), remove=True):
        raise ProblemError(
            404, "There is no such member", f"{user_id!r} is not in it.", type="/problems/not-found"
        )


async def find_project(parts: Parts, caller: Caller, project_id: str) -> Project:
    """The project, if they may see it.

    Raises:
        ProblemError: 404.
    """
    project = await parts.store.get_project(project_id)
    if project and (caller.sees_all or project_id in await projects(parts, caller)):
        return project
    detail = f"You are in no project with the id {project_id!r}."
    raise ProblemError(404, "There is no such project", detail, type="/problems/not-found")


async def _find_own(parts: Parts, caller: Caller, project_id: str) -> Project:
    """The project, if they may change it: its owner and admins.

    Raises:
        ProblemError: 404 where they do not see it, 403 where they do.
    """
    project = await find_project(parts, caller, project_id)
    if project.owner != caller.owner and not caller.at_least("admin"):
        raise forbidden("Only the project's owner and admins change it.")
    return project


def _changes(body: ProjectChange, caller: Caller) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if body.name is not None:
        changes["name"] = body.name
    if body.data is not None:
        changes["data"] = body.data
    if body.quota is not None:
        _check_may_set_quota(caller)
        changes["quota"] = quota_of(body.quota)
    return changes


def _check_may_set_quota(caller: Caller) -> None:
    if not caller.at_least("admin"):
        raise forbidden("Only admins set quotas: leave `quota` out, or ask one.")


def _check_not_owner(project: Project, user_id: str) -> None:
    if user_id == project.owner:
        detail = "They own the project, and may always write to it."
        raise ProblemError(409, "This is the owner", detail, type="/problems/conflict")


async def _member_view(parts: Parts, member: Member) -> MemberView:
    user = await parts.store.get_user(member.user_id)
    return MemberView(user=member.user_id, name=user.name if user else "", right=member.right)


def project_view(row: Project) -> ProjectView:
    return ProjectView(
        id=row.id,
        name=row.name,
        owner=row.owner,
        created_at=moment(row.created_at),
        quota=quota_view(row.quota),
        data=row.data,
    )
