"""What a `.blend` holds, read from its blocks and its DNA. Nothing in it is run, and Blender is not needed.

A `.blend` is a head (`BLENDER`, the size of pointers, the order of bytes, the version) and blocks: a code, a length,
an address, a structure of the DNA, a count, then so many bytes. Up to 2.9 it may be in gzip, from 3.0 in zstd, and
5.0 has a longer head and longer heads of blocks. Codes are those of data-blocks: MA a material, OB an object.
"""

import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, cast

import zstandard

from orchestrator.library.dna import Dna
from orchestrator.library.reading import Bounds, Source, Unreadable, named

MAGIC = b"BLENDER"
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
CAMERA = 11
"""An object's type (Blender, `DNA_object_types.h`)."""
_HEAD = re.compile(rb"BLENDER([-_])([vV])(\d{3})")
_LONG_HEAD = re.compile(rb"BLENDER17-01v(\d{4})")
_DNA_BYTES_MAX = 4 * 1024**2
_HELD_BYTES = {
    b"SC": 16_384,
    b"GLOB": 4_096,
    b"OB": 2_048,
    **dict.fromkeys((b"MA", b"CA", b"ME", b"LI"), 512),
}
_HELD_MAX = 30_000
_ZSTD_WINDOW_BYTES_MAX = 2**27
_BROKEN = (OSError, EOFError, zlib.error, zstandard.ZstdError)


@dataclass(frozen=True, slots=True)
class Form:
    """How this file writes its blocks."""

    version: int
    order: str
    pointer_bytes: int
    head: struct.Struct
    length_last: bool = False


class Block(NamedTuple):
    """A file may have millions of them."""

    code: bytes
    length: int
    structure: int
    address: int
    body: bytes = b""

    def __str__(self) -> str:
        return f"a block {self.code.decode('ascii', 'replace')!r} of {self.length} bytes"


def read_blend(file: BinaryIO, bounds: Bounds, size_bytes: int | None = None) -> dict[str, Any]:
    """Materials, cameras, objects, meshes and scenes by name.

    Raises:
        Unreadable: it is no `.blend`, or a broken one, or past the bounds.
    """
    start = file.read(4)
    file.seek(0)
    packed, plain = _unpacked(file, start)
    source = Source(plain, bounds, size_bytes=size_bytes if packed == "none" else None)
    try:
        form = _form(source)
        dna, blocks, whole = _look_through(source, form)
    except _BROKEN as error:
        raise Unreadable(f"its {packed} compression is broken: {error}") from error
    found = {"format": "blend", "blender": _version(form.version), "compression": packed}
    return found | _names(dna, blocks) | {"complete": whole}


def _unpacked(file: BinaryIO, start: bytes) -> tuple[str, BinaryIO]:
    if start[:2] == GZIP:
        return "gzip", cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if start == ZSTD:
        reading = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
        return "zstd", cast("BinaryIO", reading.stream_reader(file, read_across_frames=True, closefd=False))
    return "none", file


def _form(source: Source) -> Form:
    head = source.take(12, "its head")
    if match := _HEAD.fullmatch(head):
        order = "<" if match[2] == b"v" else ">"
        wide = match[1] == b"-"
        return Form(
            int(match[3]), order, 8 if wide else 4, struct.Struct(order + ("4siQii" if wide else "4siIii"))
        )
    if not head.startswith(MAGIC):
        raise Unreadable("it is no .blend file: it does not begin with BLENDER")
    if match := _LONG_HEAD.fullmatch(head + source.take(5, "its head")):
        return Form(int(match[1]), "<", 8, struct.Struct("<4siQqq"), length_last=True)
    raise Unreadable("its head is of a form that is not known: the Blender that made it may be too new")


def _look_through(source: Source, form: Form) -> tuple[Dna, list[Block], bool]:
    dna: Dna | None = None
    held: list[Block] = []
    whole = True
    for block in _blocks(source, form):
        if block.code == b"DNA1":
            dna = Dna(block.body, form.order, form.pointer_bytes)
        elif len(held) < _HELD_MAX:
            held.append(block)
        else:
            whole = False
    if dna is None:
        raise Unreadable("it has no DNA1 block, which would describe its structures")
    return dna, held, whole


def _blocks(source: Source, form: Form) -> Iterator[Block]:
    """Those that tell something, up to the last one, ENDB."""
    while True:
        block = _head(source.take(form.head.size, "the head of a block"), form)
        if block.code == b"ENDB":
            return
        if block.length < 0 or (block.code == b"DNA1" and block.length > _DNA_BYTES_MAX):
            raise Unreadable(f"{block} cannot be")
        wanted = min(
            block.length, _DNA_BYTES_MAX if block.code == b"DNA1" else _HELD_BYTES.get(block.code, 0)
        )
        body = source.take(wanted, block)
        source.skip(block.length - wanted, block)
        if wanted:
            yield block._replace(body=body)


def _head(head: bytes, form: Form) -> Block:
    if form.length_last:
        code, structure, address, length, _ = form.head.unpack(head)
    else:
        code, length, address, structure, _ = form.head.unpack(head)
    return Block(code.rstrip(b"\0"), length, structure, address)


def _names(dna: Dna, blocks: list[Block]) -> dict[str, Any]:
    by_code: dict[bytes, list[str]] = {code: [] for code in _HELD_BYTES}
    cameras: list[str] = []
    scenes: list[dict[str, Any]] = []
    current = next((_integer(dna, one, "curscene") for one in blocks if one.code == b"GLOB"), None)
    for block in (one for one in blocks if one.code != b"GLOB"):
        name = _name(dna, block)
        by_code[block.code].append(name)
        if block.code == b"OB" and _integer(dna, block, "type") == CAMERA:
            cameras.append(name)
        if block.code == b"SC":
            scenes.append({"name": name, "active": block.address == current, **_scene(dna, block)})
    kinds = {"materials": b"MA", "objects": b"OB", "meshes": b"ME", "libraries": b"LI"}
    found = {kind: by_code[code] for kind, code in kinds.items()}
    return named({**found, "cameras": cameras}) | {"scenes": scenes[:100]}


def _name(dna: Dna, block: Block) -> str:
    """Without the two letters of its kind before it."""
    found = dna.read(block.structure, block.body, "id", "name")
    if found is None or found[:2] != block.code:
        raise Unreadable(f"a block {block.code.decode('ascii')!r} has no name where its DNA says so")
    return _text(found[2:])


def _scene(dna: Dna, block: Block) -> dict[str, Any]:
    engine = dna.read(block.structure, block.body, "r", "engine")
    return {
        "frame": _integer(dna, block, "r", "cfra"),
        "frame_start": _integer(dna, block, "r", "sfra"),
        "frame_end": _integer(dna, block, "r", "efra"),
        "width": _integer(dna, block, "r", "xsch"),
        "height": _integer(dna, block, "r", "ysch"),
        "percent": _integer(dna, block, "r", "size"),
        "engine": None if engine is None else _text(engine),
    }


def _integer(dna: Dna, block: Block, *path: str) -> int | None:
    found = dna.read(block.structure, block.body, *path)
    return (
        int.from_bytes(found, "little" if dna.order == "<" else "big", signed=len(found) < 8)
        if found
        else None
    )


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _version(number: int) -> str:
    return f"2.{number % 100:02}" if number < 300 else f"{number // 100}.{number % 100}"
