"""Keys that cannot lead out of their folder, and how a file shows itself to who opens it."""

import mimetypes
import re
from urllib.parse import quote

from orchestrator.storage.protocol import BadKey

KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
KEY_LENGTH_MAX = 512
UNKNOWN_TYPE = "application/octet-stream"
_SHOWN_INLINE = ("audio/", "video/", "image/", "text/plain")
_NEVER_INLINE = ("image/svg+xml",)


def checked(key: str) -> str:
    """The key itself.

    Raises:
        BadKey: it could lead out of the folder.
    """
    if len(key) > KEY_LENGTH_MAX or not KEY.fullmatch(key):
        raise BadKey(f"not a key: {key[:80]!r}")
    return key


def type_of(name: str) -> str:
    """The media type that a file's name promises."""
    return mimetypes.guess_type(name)[0] or UNKNOWN_TYPE


def disposition_of(name: str) -> str:
    """A Content-Disposition: sound and pictures open in place, and what may hold a script is saved (RFC 6266)."""
    kind = type_of(name)
    opens = kind.startswith(_SHOWN_INLINE) and kind not in _NEVER_INLINE
    plain = "".join(
        one if one.isascii() and one.isprintable() and one not in '"\\%;' else "_" for one in name
    )
    encoded = quote(name, safe="", errors="replace")
    return f"{'inline' if opens else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
