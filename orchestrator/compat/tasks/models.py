"""From a task's payload to a job of ours: which version of which model, and what is to be rendered of it."""

from typing import Any

from gpulease.contract.jobs import JobRequest
from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.callers import Caller
from orchestrator.api.sight import check_project
from orchestrator.compat.tasks.bodies import NewTask
from orchestrator.jobs.submit import parse
from orchestrator.library.examine import RENDERED
from orchestrator.library.links import asset_url, find_version, not_rendered
from orchestrator.library.reading import NAMES_MAX
from orchestrator.parts import Parts
from orchestrator.store.people import Asset, AssetVersion, Project

ENDING = ".blend"
MAX_TIME_S = 3600
"""As theirs."""
COMPLETE_IN_S = 86_400
_SHOWN_MAX = 20
_OUR_NAMES = {"notify_url": "callbackUrl", "input.file_url": "payload.modelName", "project": "projectId"}


async def job_of(parts: Parts, caller: Caller, asked: NewTask) -> JobRequest:
    """The job that a task is: every camera of the scene, in Cycles, as a JPEG each.

    Raises:
        ProblemError: 422 naming the field: a project that the caller may not write to, a model that is not
            there or is no `.blend`, a material that it does not have.
    """
    await check_project(parts, caller, asked.projectId, "projectId")
    project = await parts.store.get_project(asked.projectId)
    if project is None:
        raise _wrong("projectId", f"there is no project {asked.projectId!r}")
    name = asked.payload.modelName or str(project.data.get("model") or "")
    asset, version = await _find_model(parts, caller, project, name)
    _check_materials(asked, version)
    request = {
        "engine": "blender",
        "input": _input(asked, asset, version),
        "project": project.id,
        "max_time": MAX_TIME_S,
        "complete_in": COMPLETE_IN_S,
        "notify_url": asked.callbackUrl or project.data.get("callbackUrl"),
        "metadata": {"modelName": asset.name, "version": version.number, "clientId": asked.clientId},
    }
    return parse(JobRequest, request)


def in_their_names(error: ProblemError) -> ProblemError:
    """A refusal whose fields are called as the client sent them."""
    if not error.problem.errors:
        return error
    renamed = [
        one.model_copy(update={"field": _OUR_NAMES.get(one.field, one.field)}) for one in error.problem.errors
    ]
    return invalid(renamed)


def _input(asked: NewTask, asset: Asset, version: AssetVersion) -> dict[str, Any]:
    payload = asked.payload
    return {
        "file_url": asset_url(asset.id, version.number),
        "frames": str(_frame(version)),
        "cameras": "all",
        "output": "JPEG",
        "pack": "each",
        "engine": "CYCLES",
        "resolution": payload.renderParams.quality,
        "samples": payload.renderParams.samples,
        "materials": [
            {"original": one.originalMaterialName, "replacement": one.newMaterialName}
            for one in payload.materialList
        ],
    }


def _frame(version: AssetVersion) -> int:
    """The one that the file was saved at."""
    scenes = version.metadata.get("scenes", [])
    frame = next((one["frame"] for one in sorted(scenes, key=lambda one: not one["active"])), None)
    return frame if isinstance(frame, int) and 0 <= frame <= 999_999 else 1


async def _find_model(
    parts: Parts, caller: Caller, project: Project, said: str
) -> tuple[Asset, AssetVersion]:
    """In the project, or else among the caller's own; with or without its ending."""
    name, _, number = said.partition("@")
    if not name or (number and not number.isdecimal()):
        raise _wrong("payload.modelName", "name a model of the project: car, or car@3 for its third version")
    names = [name, name.removesuffix(ENDING) if name.endswith(ENDING) else name + ENDING]
    for place in (project.id, None):
        for one in names:
            asset = await parts.store.find_asset(one, project_id=place, owner=caller.owner)
            if asset is not None:
                return asset, await _version(parts, asset, number)
    message = f"there is no model {name!r} in the project {project.id!r}; upload it by POST /v1/assets"
    raise _wrong("payload.modelName", message)


async def _version(parts: Parts, asset: Asset, number: str) -> AssetVersion:
    if asset.kind not in RENDERED:
        raise _wrong("payload.modelName", not_rendered(asset))
    version = await find_version(parts.store, asset, int(number) if number else None)
    if version is None:
        raise _wrong("payload.modelName", f"{asset.name!r} has no version {number}")
    return version


def _check_materials(asked: NewTask, version: AssetVersion) -> None:
    """What cannot be found is said at once, where the file has told all its materials."""
    told = version.metadata
    counts = told.get("counts", {})
    if not told.get("complete") or counts.get("libraries") or counts.get("materials", 0) > NAMES_MAX:
        return
    faults = [
        FieldFault(
            field=f"payload.materialList.{number}.{field}", message=_no_material(name, told["materials"])
        )
        for number, change in enumerate(asked.payload.materialList)
        for field, name in change.model_dump().items()
        if name not in told["materials"]
    ]
    if faults:
        raise invalid(faults)


def _no_material(name: str, there: list[str]) -> str:
    return f"the model has no material {name!r}; it has: {', '.join(there[:_SHOWN_MAX]) or 'none'}"


def _wrong(field: str, message: str) -> ProblemError:
    return invalid([FieldFault(field=field, message=message)])
