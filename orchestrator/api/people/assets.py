"""/v1/assets: the model library. A file is looked through when it comes; each upload of a name is a new version."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from gpulease.contract.assets import (
    AssetDownload,
    AssetPage,
    AssetVersionPage,
    AssetVersionView,
    AssetView,
    NewAsset,
    SentFile,
)
from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Shared, Uploader, Viewer
from orchestrator.api.edge.cursors import Limit, cut, cut_after, place_of
from orchestrator.api.sight import check_project, find_upload, only_reads, projects, sight
from orchestrator.api.views import moment
from orchestrator.jobs.submit import UPLOAD_SCHEME
from orchestrator.library.examine import as_kind
from orchestrator.library.library import VERSIONS_MAX, Library, NewFile
from orchestrator.library.links import asset_url, find_version, may_see
from orchestrator.parts import Parts
from orchestrator.store.people import Asset, AssetVersion, Right

NOBODY = "-"
"""No user's id: what is left then is the project's."""

router = APIRouter(prefix="/v1/assets", tags=["assets"])


@router.get("")
async def list_assets(
    parts: Shared,
    caller: Viewer,
    project: str | None = None,
    cursor: str | None = None,
    limit: Limit = 100,
) -> AssetPage:
    """Yours and those of your projects, or of one project."""
    seen = await sight(parts, caller)
    owner, ours = (seen.owner, seen.projects) if seen else (None, ())
    if project is not None:
        owner, ours = NOBODY, (project,) if seen is None or project in seen.projects else ()
    after = place_of(cursor, str)
    rows = await parts.store.list_assets(owner=owner, projects=ours, after=after, limit=limit + 1)
    page, more = cut(rows, limit, lambda one: one.id)
    return AssetPage(items=tuple(asset_view(one) for one in page), next_cursor=more)


@router.post("", status_code=201)
async def add_asset(
    parts: Shared,
    request: Request,
    response: Response,
    caller: Uploader,
    sent: Annotated[NewAsset, Query()],
) -> AssetView:
    """A `.blend`, `.glb`, `.gltf` or `.obj`, or a zip of one with its textures: as the raw body, or sent before as an
    upload. The same name again is the next version.
    """
    if sent.project is not None:
        await check_project(parts, caller, sent.project)
    given = NewFile(sent.name, sent.project, caller.owner, sent.file or sent.name, caller.by)
    asset, version = await _add(parts, request, caller, given, sent.upload)
    response.headers["Location"] = f"/v1/assets/{asset.id}"
    return asset_view(asset, version)


@router.post("/{asset_id}/versions", status_code=201)
async def add_version(
    parts: Shared, request: Request, caller: Uploader, asset_id: str, sent: Annotated[SentFile, Query()]
) -> AssetVersionView:
    """The next version of an asset, from the same sources."""
    asset = await find_asset(parts, caller, asset_id, right="write")
    given = NewFile(asset.name, asset.project_id, asset.owner, sent.file or asset.name, caller.by)
    return version_view((await _add(parts, request, caller, given, sent.upload))[1])


@router.get("/{asset_id}")
async def read_asset(parts: Shared, caller: Viewer, asset_id: str) -> AssetView:
    asset = await find_asset(parts, caller, asset_id)
    return asset_view(asset, await find_version(parts.store, asset))


@router.get("/{asset_id}/versions")
async def list_versions(
    parts: Shared, caller: Viewer, asset_id: str, cursor: str | None = None, limit: Limit = 100
) -> AssetVersionPage:
    """Oldest first."""
    asset = await find_asset(parts, caller, asset_id)
    rows = await parts.store.list_asset_versions(asset.id)
    page, more = cut_after(rows, lambda one: one.number, place_of(cursor, int), limit)
    return AssetVersionPage(items=tuple(version_view(one) for one in page), next_cursor=more)


@router.get("/{asset_id}/versions/{number}/download")
async def download(
    parts: Shared, caller: Viewer, asset_id: str, number: Annotated[int, Path(ge=1, le=VERSIONS_MAX)]
) -> AssetDownload:
    """A signed URL of the file."""
    asset = await find_asset(parts, caller, asset_id)
    version = await find_version(parts.store, asset, number)
    if version is None:
        raise _missing(f"{asset.name!r} has no version {number}.")
    expires_s = parts.settings.url_expires_s
    filename = f"{asset.name.rsplit('.', 1)[0]}.{version.key.rsplit('.', 1)[-1]}"
    url = await parts.storage.presign_get(version.key, expires_s=expires_s, filename=filename)
    return AssetDownload(url=url, expires_at=moment(parts.clock.now() + expires_s))


@router.delete("/{asset_id}", status_code=204)
async def remove_asset(parts: Shared, caller: Uploader, asset_id: str) -> None:
    """With all its versions. Jobs that name them and have not begun will fail."""
    asset = await find_asset(parts, caller, asset_id, right="write")
    await library_of(parts).remove(asset, caller.by)


async def find_asset(parts: Parts, caller: Caller, asset_id: str, *, right: Right = "read") -> Asset:
    """The asset, if they may do that with it.

    Raises:
        ProblemError: 404 where there is none that they may see; 403 where they see it and may not change it.
    """
    asset = await parts.store.get_asset(asset_id)
    if asset is None or not may_see(asset, await sight(parts, caller)):
        raise _missing(f"No asset has the id {asset_id!r}.")
    own = asset.project_id is None or caller.sees_all
    if right == "write" and not own and asset.project_id not in await projects(parts, caller, "write"):
        raise only_reads(str(asset.project_id))
    return asset


def library_of(parts: Parts) -> Library:
    settings = parts.settings
    return Library(parts.store, parts.storage, parts.clock, settings.data, settings.upload_bytes_max)


def asset_view(asset: Asset, latest: AssetVersion | None = None) -> AssetView:
    return AssetView(
        id=asset.id,
        name=asset.name,
        kind=as_kind(asset.kind),
        project=asset.project_id,
        owner=asset.owner,
        created_at=moment(asset.created_at),
        latest=version_view(latest) if latest else None,
    )


def version_view(version: AssetVersion) -> AssetVersionView:
    return AssetVersionView(
        number=version.number,
        url=asset_url(version.asset_id, version.number),
        size_bytes=version.size_bytes,
        sha256=version.sha256,
        created_at=moment(version.created_at),
        created_by=version.created_by,
        metadata=version.metadata,
    )


async def _add(
    parts: Parts, request: Request, caller: Caller, given: NewFile, upload: str | None
) -> tuple[Asset, AssetVersion]:
    library = library_of(parts)
    if upload is not None:
        async with aclosing(await _sent_before(parts, caller, upload)) as chunks:
            return await library.add(given, chunks)
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise invalid([FieldFault(field="file", message="send the file as the raw body, not as a form")])
    return await library.add(given, request.stream())


async def _sent_before(parts: Parts, caller: Caller, upload: str) -> AsyncGenerator[bytes, None]:
    row = await find_upload(parts, caller, upload.removeprefix(UPLOAD_SCHEME))
    if row.stored_at is None:
        raise invalid([FieldFault(field="upload", message="the upload is not complete; complete it first")])
    return parts.storage.read_stream(row.key)


def _missing(detail: str) -> ProblemError:
    return ProblemError(404, "There is no such asset", detail, type="/problems/not-found")
