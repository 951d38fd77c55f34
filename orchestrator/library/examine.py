"""What an uploaded model is, by its bytes, and what it holds. Nothing of it is run."""

import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Literal

from orchestrator.library import blend, gltf
from orchestrator.library.archive import BROKEN, Archive
from orchestrator.library.archive import MAGIC as ZIP
from orchestrator.library.blend import read_blend
from orchestrator.library.gltf import read_glb, read_gltf
from orchestrator.library.obj import read_mtl, read_obj
from orchestrator.library.reading import Bounds, Source, Unreadable, plain

Kind = Literal["blend", "gltf", "obj"]
RENDERED: tuple[Kind, ...] = ("blend",)
"""The engine `blender` opens these; the others are kept, listed and handed out."""
KINDS: tuple[Kind, ...] = ("blend", "gltf", "obj")
_MTL_MAX = 100
_UNKNOWN = "it is no .blend, .glb, .gltf or .obj file, nor a zip of one"


def as_kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind == name)


def examine(file: BinaryIO, name: str, bounds: Bounds | None = None) -> tuple[Kind, dict[str, Any]]:
    """The kind of an open plain file, and its metadata. `name` counts only where bytes do not tell: glTF and OBJ.

    Raises:
        Unreadable: it is nothing that we know, or broken, or past the bounds.
    """
    bounds = bounds or Bounds()
    size_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    return _examine_zip(file, bounds) if start == ZIP else _examine_one(file, name, bounds, size_bytes)


def _examine_one(
    file: BinaryIO, name: str, bounds: Bounds, size_bytes: int | None = None
) -> tuple[Kind, dict[str, Any]]:
    start = file.read(7)
    file.seek(0)
    if start == blend.MAGIC or start.startswith((blend.GZIP, blend.ZSTD)):
        return "blend", read_blend(file, bounds, size_bytes)
    ending = PurePosixPath(name).suffix.lower()
    readers: dict[str, Callable[[Source], dict[str, Any]]] = {".gltf": read_gltf, ".obj": read_obj}
    read = read_glb if start.startswith(gltf.MAGIC) else readers.get(ending)
    if read is None:
        raise Unreadable(_UNKNOWN)
    found = read(Source(file, bounds))
    return ("obj" if found["format"] == "obj" else "gltf"), found


def _examine_zip(file: BinaryIO, bounds: Bounds) -> tuple[Kind, dict[str, Any]]:
    archive = Archive(file)
    main = archive.main()
    try:
        with archive.open(main) as inside:
            kind, found = _examine_one(inside, main, bounds)
        if kind == "obj":
            found = _with_materials(archive, found, bounds)
    except BROKEN as error:
        raise Unreadable(f"the zip is broken: {error}") from error
    except Unreadable as error:
        raise Unreadable(f"{main:.200} in the zip: {error}") from error
    return kind, found | {"archive": {"main": plain(main[:500]), "files": len(archive.names)}}


def _with_materials(archive: Archive, found: dict[str, Any], bounds: Bounds) -> dict[str, Any]:
    """Adds what the MTL files in the zip describe to what the model uses."""
    materials = set(found["materials"])
    for name in [one for one in archive.names if one.lower().endswith(".mtl")][:_MTL_MAX]:
        with archive.open(name) as inside:
            materials |= read_mtl(Source(inside, bounds))
    counts = found["counts"] | {"materials": len(materials)}
    return found | {"materials": sorted(materials)[:1_000], "counts": counts}
