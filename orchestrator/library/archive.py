"""A zip of one model with what belongs to it: textures of a `.blend`, parts of a glTF, materials of an OBJ."""

import io
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from orchestrator.library.reading import Unreadable

BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)
"""What the library `zipfile` raises of a broken one; a password, or a method it lacks, is a RuntimeError."""
MAGIC = b"PK\x03\x04"
MAIN_KINDS = (".blend", ".glb", ".gltf", ".obj")
"""What is looked for, in this order."""
_END = struct.Struct("<4s4H2LH")
_END_SIGN, _WIDE_SIGN = b"PK\x05\x06", b"PK\x06\x07"
_COMMENT_BYTES_MAX = 65_535
_DIRECTORY_BYTES_MAX = 16 * 1024**2
_SHOWN_MAX = 10


class Archive:
    """An open zip, whose list of files is known to be small. Close it by `with`."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises `Unreadable`."""
        _check_directory(file)
        try:
            self._zip = zipfile.ZipFile(file)
        except BROKEN as error:
            raise Unreadable(f"it is no zip that can be read: {error}") from error
        self.names = tuple(info.filename for info in self._zip.infolist() if not info.is_dir())
        if odd := [name for name in self.names if _leads_out(name)]:
            raise Unreadable(f"the zip holds {odd[0]!r:.200}, a path that leads out of its folder")

    def main(self) -> str:
        """The one model in it.

        Raises:
            Unreadable: there is none, or there are several of a kind.
        """
        shown = [name for name in self.names if not _is_hidden(name)]
        for kind in MAIN_KINDS:
            found = [name for name in shown if name.lower().endswith(kind)]
            if len(found) == 1:
                return found[0]
            if found:
                names = ", ".join(found[:_SHOWN_MAX])
                raise Unreadable(f"the zip must hold one {kind} file; it holds {len(found)}: {names:.500}")
        raise Unreadable(f"the zip holds no model: none of its files ends in {', '.join(MAIN_KINDS)}")

    def open(self, name: str) -> BinaryIO:
        try:
            return cast("BinaryIO", self._zip.open(name))
        except BROKEN as error:
            raise Unreadable(f"{name:.200} in the zip cannot be opened: {error}") from error


def _check_directory(file: BinaryIO) -> None:
    """`zipfile` reads the whole list of files, however long a hostile zip says it is."""
    size_bytes = file.seek(0, io.SEEK_END)
    start = max(0, size_bytes - _END.size - _COMMENT_BYTES_MAX - 20)
    file.seek(start)
    tail = file.read()
    if _WIDE_SIGN in tail[-(_END.size + _COMMENT_BYTES_MAX + 20) :]:
        raise Unreadable("the zip is in the 64-bit form; pack fewer files, and less than 4 GB")
    at = tail.rfind(_END_SIGN)
    if at < 0 or len(tail) - at < _END.size:
        raise Unreadable("the zip has no end: it was cut")
    directory_bytes = _END.unpack_from(tail, at)[5]
    if directory_bytes > _DIRECTORY_BYTES_MAX:
        raise Unreadable("the zip holds too many files")
    file.seek(0)


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]


def _is_hidden(name: str) -> bool:
    return "__MACOSX" in name or Path(name).name.startswith(".")
