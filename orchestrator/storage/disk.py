"""Errors of the local disk, put into those of a storage."""

import contextlib
import errno
from collections.abc import Iterator

from orchestrator.storage.protocol import BadKey, StorageFull

FULL = {errno.ENOSPC, errno.EDQUOT}
CLASH = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}


@contextlib.contextmanager
def disk_errors(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(str(error)) from error
        if error.errno in CLASH:
            raise BadKey(f"{key[:80]!r} cannot lie beside what is stored: {error.strerror}") from error
        raise
