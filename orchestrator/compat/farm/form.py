"""A multipart form read part by part as it comes in, so that a file of any size goes on without lying here."""

import contextlib
import enum
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gpulease.contract.problems import FieldFault, ProblemError, invalid

HEADERS_MAX = 8
HEADER_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """`filename` is as the client said it: any text at all."""

    name: str
    filename: str | None
    content_type: str


class _Mark(enum.Enum):
    PART_ENDS = enum.auto()
    FORM_ENDS = enum.auto()


class Form:
    """Ask for the next part, then for its content; what is not asked for is read over."""

    def __init__(self, chunks: AsyncIterator[bytes], content_type: str) -> None:
        """Raises: ProblemError where this is no form."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise no_form("send a form as multipart/form-data, with a part `request` and a file")
        self._chunks = chunks
        self._found: deque[Part | bytes | _Mark] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        with _readable():
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._on_name,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": lambda data, start, end: self._found.append(data[start:end]),
                    "on_part_end": lambda: self._found.append(_Mark.PART_ENDS),
                    "on_end": lambda: self._found.append(_Mark.FORM_ENDS),
                },
                max_header_count=HEADERS_MAX,
                max_header_size=HEADER_BYTES_MAX,
            )

    async def next_part(self) -> Part | None:
        """None at the end of the form."""
        while (found := await self._next()) is not _Mark.FORM_ENDS:
            if isinstance(found, Part):
                return found
        return None

    async def content(self) -> AsyncIterator[bytes]:
        """Of the part that came last.

        Raises:
            ProblemError: the form ends in the middle of it.
        """
        while isinstance(found := await self._next(), bytes):
            yield found

    async def read(self, bytes_max: int) -> bytes:
        """The content of the part that came last. Raises: ProblemError where it is longer."""
        content = bytearray()
        async for piece in self.content():
            content += piece
            if len(content) > bytes_max:
                detail = f"At most {bytes_max} bytes."
                raise ProblemError(413, "This part is too large", detail, type="/problems/too-large")
        return bytes(content)

    async def _next(self) -> Part | bytes | _Mark:
        while not self._found:
            chunk = await anext(self._chunks, b"")
            if not chunk:
                raise no_form("it ends in the middle: its last boundary is missing")
            with _readable():
                self._parser.write(chunk)
        return self._found.popleft()

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        filename = options.get(b"filename")
        self._found.append(
            Part(
                options.get(b"name", b"").decode("utf-8", "replace"),
                None if filename is None else _decoded(filename.decode("utf-8", "replace")),
                self._headers.get(b"content-type", b"").decode("latin-1") or "application/octet-stream",
            )
        )


def no_form(message: str) -> ProblemError:
    return invalid([FieldFault(field="body", message=message)])


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise no_form(f"it is no form: {str(error)[:200]}") from error


def _decoded(name: str) -> str:
    """.NET's clients send a name beyond ASCII as an encoded word (RFC 2047)."""
    if not name.startswith("=?"):
        return name
    try:
        return str(make_header(decode_header(name)))
    except (HeaderParseError, LookupError, UnicodeError):
        return name
