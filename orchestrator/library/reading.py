"""Files of strangers, read forward: never more bytes, and never longer, than bounds allow."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

CHUNK_BYTES = 1024 * 1024
NAMES_MAX = 1_000
"""Names of a kind that are kept. `counts` tells how many there are."""


class Unreadable(Exception):
    """The file is not what it says it is. The message says what is wrong, for whoever sent it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """`bytes_max` is counted where it is unpacked."""

    bytes_max: int = 16 * 1024**3
    seconds_max: float = 20.0


class Source:
    """What is read within bounds. `size_bytes` is known where `file` is a plain one, in which to skip is to seek."""

    def __init__(
        self,
        file: BinaryIO,
        bounds: Bounds,
        *,
        size_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._bounds = bounds
        self._left = size_bytes
        self._clock = clock
        self._until = clock() + bounds.seconds_max
        self._seen = 0

    def take(self, size_bytes: int, what: object) -> bytes:
        """Exactly so many bytes; `what` they are is said where they are not there.

        Raises:
            Unreadable: the file ends before, or a bound is reached.
        """
        taken = self._chunk(size_bytes, what) if size_bytes else b""
        while len(taken) < size_bytes:
            taken += self._chunk(size_bytes - len(taken), what)
        return taken

    def skip(self, size_bytes: int, what: object) -> None:
        """Raises as `take` does."""
        if self._left is None:
            while size_bytes > 0:
                size_bytes -= len(self._chunk(size_bytes, what))
            return
        if size_bytes > self._left:
            raise _cut(what)
        self._count(0)
        self._file.seek(size_bytes, 1)
        self._left -= size_bytes

    def rest(self, bytes_max: int, what: str) -> bytes:
        """All that is left, where that is not more than so much."""
        taken = bytearray()
        while chunk := self._file.read(CHUNK_BYTES):
            self._count(len(chunk))
            taken += chunk
            if len(taken) > bytes_max:
                raise Unreadable(f"{what} is longer than {bytes_max} bytes")
        return bytes(taken)

    def lines(self) -> Iterator[bytes]:
        """To the end; a line that is longer than a chunk comes in pieces."""
        while line := self._file.readline(CHUNK_BYTES):
            self._count(len(line))
            yield line

    def _chunk(self, wanted: int, what: object) -> bytes:
        chunk = self._file.read(min(wanted, CHUNK_BYTES))
        if not chunk:
            raise _cut(what)
        self._count(len(chunk))
        if self._left is not None:
            self._left -= len(chunk)
        return chunk

    def _count(self, size_bytes: int) -> None:
        self._seen += size_bytes
        if self._seen > self._bounds.bytes_max:
            raise Unreadable(f"it unpacks to more than {self._bounds.bytes_max} bytes")
        if self._clock() > self._until:
            raise Unreadable(f"it takes more than {self._bounds.seconds_max:g} s to look through")


def _cut(what: object) -> Unreadable:
    return Unreadable(f"it ends within {what}: it was cut, or a length in it is wrong")


def named(kinds: dict[str, list[str]]) -> dict[str, object]:
    """Names by kind, as metadata: sorted, each once, the first of them, and how many there are."""
    whole = {kind: sorted({plain(name) for name in names}) for kind, names in kinds.items()}
    shown: dict[str, object] = {kind: names[:NAMES_MAX] for kind, names in whole.items()}
    return shown | {"counts": {kind: len(names) for kind, names in whole.items()}}


def plain(text: str) -> str:
    """What every store keeps and every reply can carry: Unicode without halves of pairs, and without NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
