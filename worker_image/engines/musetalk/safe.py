"""A name for a job's folder that a shell would read as it stands: MuseTalk hands its paths to one, unquoted."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from worker_image.faults import HostFault

_SAFE = re.compile(r"(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")


def is_safe(path: Path) -> bool:
    return _SAFE.fullmatch(str(path)) is not None


@contextlib.contextmanager
def safe_name(folder: Path, links_at: Path = Path("/tmp")) -> Iterator[Path]:  # noqa: S108  Only a link lies there.
    """The folder itself, or a link to it of a safe name that goes when it is left.

    Raises:
        HostFault: there is no place for such a link.
    """
    if is_safe(folder):
        yield folder
        return
    try:
        beside = tempfile.TemporaryDirectory(prefix="gpulease-", dir=links_at)
    except OSError as error:
        raise HostFault("scratch_unsafe", _why(folder)) from error
    with beside as name:
        link = Path(name, "job")
        if not is_safe(link):
            raise HostFault("scratch_unsafe", _why(folder))
        link.symlink_to(folder, target_is_directory=True)
        try:
            yield link
        finally:
            link.unlink(missing_ok=True)


def _why(folder: Path) -> str:
    return (
        f"MuseTalk cannot work in {str(folder)!r}; set GPULEASE_SCRATCH to a path of letters, digits, - and _"
    )
