"""What a Wavefront OBJ holds, and the MTL files that describe its materials: one statement a line."""

from typing import Any

from orchestrator.library.reading import Source, Unreadable, named

_NAMES_MAX = 100_000
_KINDS = {b"o": "objects", b"g": "meshes", b"usemtl": "materials", b"mtllib": "files"}


def read_obj(source: Source) -> dict[str, Any]:
    """Raises `Unreadable` where there is no vertex in it."""
    found = _statements(source, {**_KINDS, b"v": "vertices"})
    if not found.pop("vertices"):
        raise Unreadable("it is no OBJ file: it has no vertex")
    files = sorted(found.pop("files"))
    kinds = {kind: list(names) for kind, names in found.items()}
    return {"format": "obj", **named({"cameras": [], **kinds}), "files": files[:1_000]}


def read_mtl(source: Source) -> set[str]:
    """The names of its materials."""
    return _statements(source, {b"newmtl": "materials"})["materials"]


def _statements(source: Source, wanted: dict[bytes, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {kind: set() for kind in wanted.values()}
    for line in source.lines():
        word, _, rest = line[:1_000].strip().partition(b" ")
        kind = wanted.get(word)
        if kind == "vertices":
            found[kind].add("v")
        elif kind is not None:
            found[kind].add(rest.strip()[:200].decode("utf-8", "replace"))
            if len(found[kind]) > _NAMES_MAX:
                raise Unreadable(f"it names more than {_NAMES_MAX} {kind}")
    return found
