"""All files of a result as one ZIP, made while it is sent: nothing of it lies here."""

from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from zipstream import ZipStream

from gpulease.contract.jobs import OutputFile
from gpulease.contract.problems import ProblemError
from orchestrator.fleet.agents import safe_name
from orchestrator.storage.protocol import Storage
from orchestrator.store.rows import Job

ZIP = "application/zip"


@dataclass(frozen=True, slots=True)
class Archive:
    """What is sent: how long it is, and its pieces, to be read once."""

    size_bytes: int
    pieces: AsyncGenerator[bytes, None]


async def archive_of(storage: Storage, job: Job) -> Archive:
    """A result that is one ZIP already is sent as it is: its files are what the client wants to find in it.

    Raises:
        ProblemError: 409 where there is no result, 410 where its files are gone.
    """
    files = job.result.files if job.result else ()
    if not files:
        raise _nothing(job)
    for file in files:
        stored = await storage.stat(file.key)
        if stored is None or stored.size_bytes != file.size_bytes:
            detail = f"The result's {safe_name(file.name)} is not kept any more."
            raise ProblemError(410, "The files are gone", detail, type="/problems/gone")
    if len(files) == 1 and files[0].name.lower().endswith(".zip"):
        return Archive(files[0].size_bytes, storage.read_stream(files[0].key))
    zipped = ZipStream(sized=True)
    held = [_hold(zipped, name, file) for name, file in zip(_names(files), files, strict=True)]
    return Archive(len(zipped), _pieces(storage, zipped, files, held))


def _hold(zipped: ZipStream, name: str, file: OutputFile) -> deque[bytes]:
    """Announces a file. What is put into the deque is what the archive takes next of it."""
    held: deque[bytes] = deque()
    zipped.add(_taken(held), name, size=file.size_bytes)
    return held


def _taken(held: deque[bytes]) -> Iterator[bytes]:
    while held:
        yield held.popleft()


async def _pieces(
    storage: Storage, zipped: ZipStream, files: Sequence[OutputFile], held: Sequence[deque[bytes]]
) -> AsyncGenerator[bytes, None]:
    """The archive cannot wait for the storage; so it is asked for each of its pieces just when that can be had."""
    for file, pieces in zip(files, held, strict=True):
        entry = zipped.file()
        yield next(entry)  # Its header.
        async with aclosing(storage.read_stream(file.key)) as stored:
            async for piece in stored:
                pieces.append(piece)
                yield next(entry)
        for rest in entry:
            yield rest
    for rest in zipped.finalize():
        yield rest


def _names(files: Sequence[OutputFile]) -> list[str]:
    """What the files are called: workers said that, and so it may be anything."""
    names: list[str] = []
    for number, file in enumerate(files, start=1):
        name = safe_name(file.name)
        names.append(f"{number}-{name}" if name in names else name)
    return names


def _nothing(job: Job) -> ProblemError:
    if job.finished_at is None:
        return ProblemError(409, "The task has not ended", "The task has not ended yet: ask again later.")
    why = job.fault.message if job.fault else f"It {job.state.value}, and left no files."
    return ProblemError(409, "There is nothing to download", f"There is nothing to download: {why}")
