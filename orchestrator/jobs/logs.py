"""What engines print: one file an attempt, written by byte offset, so that a chunk sent twice is kept once."""

import asyncio
import shutil
from pathlib import Path

LOG_BYTES_MAX = 4 * 1024 * 1024


class Logs:
    def __init__(self, root: Path) -> None:
        self._root = root

    def _path(self, job_id: str, number: int) -> Path:
        return self._root / job_id / f"{number}.log"

    async def write(self, job_id: str, number: int, offset: int, text: str) -> None:
        """Keeps the part of a chunk that lies within the first LOG_BYTES_MAX bytes."""
        chunk = text.encode()[: max(0, LOG_BYTES_MAX - offset)]
        if chunk:
            await asyncio.to_thread(_write_at, self._path(job_id, number), offset, chunk)

    async def read(self, job_id: str, number: int, offset: int) -> bytes:
        """From the offset to what is there now; empty where there is no log."""
        return await asyncio.to_thread(_read_from, self._path(job_id, number), offset)

    async def remove(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            await asyncio.to_thread(shutil.rmtree, self._root / job_id, ignore_errors=True)


def _write_at(path: Path, offset: int, chunk: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(chunk)


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(LOG_BYTES_MAX)
    except FileNotFoundError:
        return b""
