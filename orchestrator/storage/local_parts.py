"""Large files that come into the folder in parts: each is a file of its own until the whole is made of them.

`unfinished/{upload}/` holds the parts as `00001`, `00002`, …, and `of`, which names the key that they are for.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from orchestrator.storage.protocol import UploadGone
from orchestrator.storage.sizes import PartSizes

FOLDER = "unfinished"
_OF = "of"
_BLOCK_BYTES = 1024 * 1024


class LocalParts:
    """All calls block, for as long as the disk takes."""

    def __init__(self, root: Path, sizes: PartSizes) -> None:
        self._root = root / FOLDER
        self._sizes = sizes

    def begin(self, key: str, size_bytes: int) -> str | None:
        """The upload's id; None for what one PUT brings as well. An unfinished upload to the same key is given up."""
        if size_bytes <= self._sizes.parted_above_bytes:
            return None
        for earlier in self._all():
            if _key_of(earlier) == key:
                shutil.rmtree(earlier, ignore_errors=True)
        upload_id = uuid4().hex
        folder = self._root / upload_id
        folder.mkdir(parents=True, mode=0o700)
        (folder / _OF).write_text(key, encoding="utf-8")
        return upload_id

    def sizes(self, size_bytes: int) -> list[int]:
        return self._sizes.cut(size_bytes)

    def stored(self, key: str, upload_id: str, count: int) -> tuple[str | None, ...]:
        """The ETag of each part, by number; None for those that have not come.

        Raises:
            UploadGone: there is no such unfinished upload.
        """
        folder = self._folder(key, upload_id)
        parts = (folder / _name(number) for number in range(1, count + 1))
        return tuple(_etag_of(part) if part.is_file() else None for part in parts)

    def join(self, key: str, upload_id: str, etags: Sequence[str], into: Path) -> None:
        """Writes the whole, which the caller publishes.

        Raises:
            UploadGone: there is no such unfinished upload, or a part is missing, or is another.
        """
        folder = self._folder(key, upload_id)
        into.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with into.open("xb") as whole:
            for number, etag in enumerate(etags, start=1):
                digest = hashlib.md5(usedforsecurity=False)
                for block in _blocks(folder / _name(number)):
                    digest.update(block)
                    whole.write(block)
                if _quoted(digest.hexdigest()) != etag:
                    raise UploadGone(f"part {number} of {key[:80]!r} is not the one that was named")
            whole.flush()
            os.fsync(whole.fileno())

    def forget(self, upload_id: str) -> None:
        shutil.rmtree(self._root / upload_id, ignore_errors=True)

    def abort(self, begun_before: float) -> int:
        old = [one for one in self._all() if (one / _OF).stat().st_mtime < begun_before]
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)
        return len(old)

    def _all(self) -> list[Path]:
        return [one.parent for one in self._root.glob(f"*/{_OF}")]

    def _folder(self, key: str, upload_id: str) -> Path:
        folder = self._root / upload_id
        if not upload_id.isalnum() or _key_of(folder) != key:
            raise UploadGone(f"{key[:80]!r} has no unfinished upload {upload_id[:40]!r}")
        return folder


def part_key(upload_id: str, number: int) -> str:
    return f"{FOLDER}/{upload_id}/{_name(number)}"


def _name(number: int) -> str:
    return f"{number:05}"


def _key_of(folder: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return (folder / _OF).read_text(encoding="utf-8")
    return None


def _etag_of(part: Path) -> str:
    with part.open("rb") as file:
        return _quoted(hashlib.file_digest(file, _md5).hexdigest())


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


def _quoted(digest: str) -> str:
    return f'"{digest}"'


def _blocks(part: Path) -> Iterator[bytes]:
    try:
        with part.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except FileNotFoundError as error:
        raise UploadGone(f"{part.name} of this upload has not come") from error
