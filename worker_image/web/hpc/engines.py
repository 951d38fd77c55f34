"""The file of programs that `/hpc` may start: that of a render farm's HPCServer, with two fields more.

{"RenderingEngines": [{"EngineId": "blender", "ExecutablePath": "/usr/bin/blender"}], "AllowedFolders": ["/srv/farm"]}
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SECONDS_MAX_DEFAULT = 24 * 3600


class _Lenient(BaseModel):
    """What we do not know (such as `Port`) is the original's, and ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Entry(_Lenient):
    EngineId: str = Field(min_length=1, max_length=200)
    ExecutablePath: str = Field(min_length=1)
    Engine: Literal["blender"] | None = None


class _File(_Lenient):
    RenderingEngines: tuple[_Entry, ...] = Field(min_length=1)
    AllowedFolders: tuple[Path, ...] = ()
    SecondsMax: int = Field(default=SECONDS_MAX_DEFAULT, gt=0)


@dataclass(frozen=True, slots=True)
class Engine:
    """One program. Blender's options are looked through; those of others are the operator's trust."""

    id: str
    executable: str
    is_blender: bool

    def found(self) -> str | None:
        return shutil.which(self.executable)


@dataclass(frozen=True, slots=True)
class Farm:
    """`folders` are where arguments may point and Blender may write; none: anywhere."""

    engines: tuple[Engine, ...]
    folders: tuple[Path, ...]
    seconds_max: int

    def engine(self, engine_id: str) -> Engine | None:
        return next((one for one in self.engines if one.id.lower() == engine_id.lower()), None)

    def ids(self) -> list[str]:
        """Of the programs that are installed."""
        return [one.id for one in self.engines if one.found()]


def read_farm(path: Path) -> Farm:
    """Raises: ValueError: with every fault."""
    try:
        file = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError(f"{path}: {'; '.join(faults)}") from error
    if wrong := [str(one) for one in file.AllowedFolders if not (one.is_absolute() and one.is_dir())]:
        raise ValueError(f"{path}: AllowedFolders: no absolute path of a folder: {', '.join(wrong)}")
    engines = tuple(_engine(entry) for entry in file.RenderingEngines)
    return Farm(engines, tuple(one.resolve() for one in file.AllowedFolders), file.SecondsMax)


def _engine(entry: _Entry) -> Engine:
    named = (entry.EngineId.lower(), Path(entry.ExecutablePath).name.lower())
    is_blender = entry.Engine == "blender" or any(name.startswith("blender") for name in named)
    return Engine(entry.EngineId, entry.ExecutablePath, is_blender)
