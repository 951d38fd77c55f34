"""Media files that nobody's camera made: tracks in other files, playlists inside, headers that lie."""

import struct
from pathlib import Path

_PARENTS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"dinf"})


def with_external_track(film: bytes, target: Path) -> bytes:
    """An MP4 whose tracks' data lie, by a QuickTime alias, in another file. The moov must stand last."""
    return b"".join(_rebuilt(kind, body, str(target).encode()) for kind, body in _atoms(film))


def _atoms(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at + 8 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + size]))
        at += size
    return found


def _rebuilt(kind: bytes, body: bytes, target: bytes) -> bytes:
    if kind in _PARENTS:
        body = b"".join(_rebuilt(*inner, target) for inner in _atoms(body))
    if kind == b"dref":
        body = struct.pack(">II", 0, 1) + _atom(b"alis", bytes(4) + _alias(target))
    return _atom(kind, body)


def _atom(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def _alias(target: bytes) -> bytes:
    """As mov.c reads it: volume, file name, levels, and then the absolute path as entry 2."""
    volume, name = b"V", target.rpartition(b"/")[2][:63]
    head = bytes(10) + bytes([len(volume)]) + volume.ljust(27, b"\0") + bytes(12)
    names = bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    path = volume + b":" + target.lstrip(b"/").replace(b"/", b":")
    entry = struct.pack(">HH", 2, len(path)) + path + bytes(len(path) % 2)
    return head + names + entry + struct.pack(">HH", 0xFFFF, 0)


def avi_with_playlist(playlist: bytes) -> bytes:
    """An AVI with a text track whose packet is a playlist, as was once used to read files of a converter's host."""
    gab2 = b"GAB2\0\x02\0" + bytes(10) + playlist
    text = _chunk(b"strh", b"txts" + bytes(16) + struct.pack("<4I", 1, 25, 0, 20) + bytes(16)) + _chunk(
        b"strf", b""
    )
    packets = b"".join(_chunk(b"01tx", gab2) + _chunk(b"00dc", b"") for _ in range(20))
    return _avi(160, 120, _list(b"strl", text), packets)


def avi_of(width: int, height: int) -> bytes:
    """An AVI of a size that only its header has."""
    return _avi(width, height, b"", _chunk(b"00dc", b"") * 20)


def _avi(width: int, height: int, more: bytes, packets: bytes) -> bytes:
    main = _chunk(b"avih", struct.pack("<10I", 40000, 0, 0, 0, 20, 0, 2, 0, width, height) + bytes(16))
    picture = _chunk(b"strh", b"vidsMJPG" + bytes(12) + struct.pack("<4I", 1, 25, 0, 20) + bytes(16))
    picture += _chunk(b"strf", struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", 0, 0, 0, 0, 0))
    header = _list(b"hdrl", main + _list(b"strl", picture) + more)
    return _chunk(b"RIFF", b"AVI " + header + _list(b"movi", packets))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _list(kind: bytes, body: bytes) -> bytes:
    return _chunk(b"LIST", kind + body)
