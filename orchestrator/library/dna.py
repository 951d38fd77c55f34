"""Blender's DNA: the description, within a `.blend`, of the structures that it holds.

The DNA1 block is a list of names, of types with their lengths, and of structures: each a type and its fields, as
pairs of a type and a name such as `*next`, `name[66]` or `mat[4][4]` (Blender, `makesdna.c`).
"""

import re
import struct
from dataclasses import dataclass

from orchestrator.library.reading import Unreadable

_WORDS_MAX = 200_000
_NAME = re.compile(r"(\(?\**)([A-Za-z_0-9]+)[^\[]*((?:\[\d{1,6}\])*)")


@dataclass(frozen=True, slots=True)
class Field:
    type: int
    name: str
    offset: int
    size: int


class Dna:
    """Fields of structures by their index, which the heads of blocks name."""

    def __init__(self, body: bytes, order: str, pointer_bytes: int) -> None:
        """Raises `Unreadable` for what is no DNA. `order` is a sign of the module `struct`."""
        self.order = order
        self._pointer_bytes = pointer_bytes
        self._body = body
        self._at = 0
        try:
            self._read()
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise Unreadable("its DNA1 block, which describes its structures, is broken") from error

    def _read(self) -> None:
        self._expect(b"SDNA")
        self._names = self._words(b"NAME")
        self._types = self._words(b"TYPE")
        self._expect(b"TLEN")
        self._lengths = self._shorts(len(self._types))
        self._align()
        self._expect(b"STRC")
        (count,) = self._unpack("i")
        self._structs: list[tuple[int, tuple[int, ...]]] = []
        for _ in range(_checked(count)):
            kind, fields = self._shorts(2)
            self._structs.append((kind, self._shorts(2 * fields)))
        self._by_type = {kind: index for index, (kind, _) in enumerate(self._structs)}
        self._known: dict[int, dict[str, Field]] = {}

    def read(self, index: int, body: bytes, *path: str) -> bytes | None:
        """The bytes of a field of a structure, or None where it has no such field, or ends before."""
        offset = 0
        found: Field | None = None
        for name in path:
            found = self._fields(index).get(name)
            if found is None:
                return None
            offset += found.offset
            index = self._by_type.get(found.type, -1)
        if found is None or offset + found.size > len(body):
            return None
        return body[offset : offset + found.size]

    def _fields(self, index: int) -> dict[str, Field]:
        if not 0 <= index < len(self._structs):
            return {}
        if index not in self._known:
            try:
                self._known[index] = self._laid_out(self._structs[index][1])
            except IndexError as error:
                raise Unreadable("a structure in its DNA1 block names types that are not there") from error
        return self._known[index]

    def _laid_out(self, pairs: tuple[int, ...]) -> dict[str, Field]:
        fields: dict[str, Field] = {}
        offset = 0
        for kind, number in zip(pairs[::2], pairs[1::2], strict=True):
            match = _NAME.match(self._names[number])
            if match is None:
                raise Unreadable("a field in its DNA1 block has no name")
            size = self._pointer_bytes if match[1] else self._lengths[kind]
            for bound in re.findall(r"\d+", match[3]):
                size *= int(bound)
            fields.setdefault(match[2], Field(kind, match[2], offset, size))
            offset += size
        return fields

    def _words(self, sign: bytes) -> list[str]:
        self._expect(sign)
        (count,) = self._unpack("i")
        words = []
        for _ in range(_checked(count)):
            end = self._body.find(b"\0", self._at)
            if end < 0:
                raise IndexError
            words.append(self._body[self._at : end].decode("ascii"))
            self._at = end + 1
        self._align()
        return words

    def _shorts(self, count: int) -> tuple[int, ...]:
        return self._unpack(f"{count}H")

    def _unpack(self, fields: str) -> tuple[int, ...]:
        found = struct.unpack_from(self.order + fields, self._body, self._at)
        self._at += struct.calcsize(self.order + fields)
        return found

    def _expect(self, sign: bytes) -> None:
        if self._body[self._at : self._at + 4] != sign:
            raise IndexError
        self._at += 4

    def _align(self) -> None:
        self._at += -self._at % 4


def _checked(count: int) -> int:
    if not 0 <= count <= _WORDS_MAX:
        raise IndexError
    return count
