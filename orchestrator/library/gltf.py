"""What a glTF 2.0 file holds: JSON, or GLB, which is JSON and a binary part behind a head of 12 bytes."""

import json
import struct
from typing import Any

from orchestrator.library.reading import Source, Unreadable, named, plain

MAGIC = b"glTF"
_JSON_BYTES_MAX = 32 * 1024**2
_KINDS = {"materials": "materials", "cameras": "cameras", "meshes": "meshes", "nodes": "objects"}


def read_glb(source: Source) -> dict[str, Any]:
    """Raises `Unreadable` for what is no GLB of version 2."""
    sign, version, _ = struct.unpack("<4sII", source.take(12, "its head"))
    if sign != MAGIC or version != 2:
        raise Unreadable(f"it is no GLB of version 2: its head says version {version}")
    length, kind = struct.unpack("<I4s", source.take(8, "the head of its JSON"))
    if kind != b"JSON" or length > _JSON_BYTES_MAX:
        raise Unreadable(f"its first part must be JSON of at most {_JSON_BYTES_MAX} bytes")
    return _described(source.take(length, "its JSON"), "glb")


def read_gltf(source: Source) -> dict[str, Any]:
    return _described(source.rest(_JSON_BYTES_MAX, "its JSON"), "gltf")


def _described(raw: bytes, form: str) -> dict[str, Any]:
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Unreadable("its JSON cannot be read") from error
    asset = told.get("asset") if isinstance(told, dict) else None
    version = asset.get("version") if isinstance(asset, dict) else None
    if not isinstance(version, str) or not version.startswith("2."):
        raise Unreadable("it is no glTF 2.0: asset.version must be 2.0")
    kinds = {ours: _names(told, theirs) for theirs, ours in _KINDS.items()}
    return {
        "format": form,
        "gltf": plain(version[:10]),
        **named(kinds),
        "files": sorted(_files(told))[:1_000],
    }


def _rows(told: dict[str, Any], field: str) -> list[dict[str, Any]]:
    rows = told.get(field, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unreadable(f"its {field} must be a list of objects")
    return rows


def _names(told: dict[str, Any], field: str) -> list[str]:
    """What has no name is called by its number."""
    found = (row.get("name") or f"#{number}" for number, row in enumerate(_rows(told, field)))
    return [name[:200] if isinstance(name, str) else "" for name in found]


def _files(told: dict[str, Any]) -> set[str]:
    """The files beside it that it needs."""
    rows = _rows(told, "buffers") + _rows(told, "images")
    uris = {row["uri"] for row in rows if isinstance(row.get("uri"), str)}
    return {plain(uri[:500]) for uri in uris if not uri.startswith("data:")}
