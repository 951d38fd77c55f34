"""Models in the library, as clients see them: assets by name, and their versions with what they hold."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from gpulease.contract.base import Lenient, Wire

AssetName = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f@/\\]{1,100}$")]
"""Without `@`, which a version's number comes after."""
AssetKind = Literal["blend", "gltf", "obj"]


class SentFile(Wire):
    """The query of a new version. The file is the raw body, unless `upload` names it."""

    file: str | None = Field(default=None, max_length=200, description="What the file is called: car.obj.")
    upload: str | None = Field(
        default=None, pattern=r"^upload://", max_length=100, description="A file that was sent before."
    )


class NewAsset(SentFile):
    name: AssetName
    project: str | None = Field(default=None, max_length=64, description="One that you may write to.")


class AssetVersionView(Lenient):
    """One file. `url` (`asset://…`) may stand in any `*_url` field of a job's input."""

    number: int
    url: str
    size_bytes: int
    sha256: str
    created_at: datetime
    created_by: str
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="What was read from it: materials, cameras, objects, scenes."
    )


class AssetView(Lenient):
    """A model by its name within a project, or within its owner's own. Lists leave `latest` out."""

    id: str
    name: str
    kind: AssetKind
    project: str | None = None
    owner: str
    created_at: datetime
    latest: AssetVersionView | None = None


class AssetPage(Lenient):
    items: tuple[AssetView, ...]
    next_cursor: str | None = None


class AssetVersionPage(Lenient):
    items: tuple[AssetVersionView, ...]
    next_cursor: str | None = None


class AssetDownload(Lenient):
    """Anybody who has the URL may open it until it expires."""

    url: str
    expires_at: datetime
