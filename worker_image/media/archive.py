"""Zip files: of result folders, the same bytes for the same files; and those of others, unpacked within bounds."""

import os
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from worker_image.faults import InputFault

_EPOCH = (1980, 1, 1, 0, 0, 0)
_COPY_BYTES = 1024 * 1024
_ENCRYPTED = 0x1
_NAME_BYTES_MAX = 240
_DEPTH_MAX = 32
_READ_OTHERWISE = "\\:"
"""Windows takes what stands before them for a folder, or for a drive."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError)
_RATIO_FROM_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an archive may unpack to; `ratio` of unpacked to packed counts from 10 MiB on."""

    entries: int = 10_000
    bytes: int = 8 * 1024**3
    ratio: float = 200.0


def files_in(folder: Path) -> list[Path]:
    """Regular files below the folder, sorted. Links are left out: they may lead out of it, and so may the folder."""
    found: list[Path] = []
    if folder.is_symlink():
        return found
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        found += [Path(root, name) for name in names]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def entry_names(files: list[Path], base: Path) -> list[str]:
    """What the files are called in an archive: their paths below `base`, with nothing that a system reads its own way.

    Control characters, bytes that are no text, backslashes and colons become `_`; each name is there once.
    """
    names: dict[str, None] = {}
    for path in files:
        letters = path.relative_to(base).as_posix()
        name = "".join(one if one.isprintable() and one not in _READ_OTHERWISE else "_" for one in letters)
        while name in names:
            name = str(PurePosixPath(name).with_name(f"_{PurePosixPath(name).name}"))
        names[name] = None
    return list(names)


def zip_files(files: list[Path], base: Path, target: Path) -> None:
    """Writes the files under their `entry_names`."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, name in zip(files, entry_names(files, base), strict=True):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as sink:
                while chunk := source.read(_COPY_BYTES):
                    sink.write(chunk)


def unzip(path: str | Path, folder: Path, field: str, bounds: Bounds = Bounds()) -> list[Path]:
    """Unpacks into `folder`, which must not exist, and returns the files, sorted. All entries or none.

    Raises:
        InputFault: it is no zip file, or an entry is not a plain file or folder below it, or it is larger than
            the bounds, whatever it says of itself; `field` is named.
        FileExistsError: the folder exists.
    """
    folder.mkdir(parents=True)
    try:
        return _unpack(path, folder, field, bounds)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            why = f"{field} has a file and another one below it, as if it were a folder"
            raise InputFault("archive_unsafe", why) from error
        if isinstance(error, _BROKEN):
            why = f"{field} is not a zip file that can be unpacked: {error}"
            raise InputFault("archive_broken", why) from error
        raise


def _unpack(path: str | Path, folder: Path, field: str, bounds: Bounds) -> list[Path]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check(entries, field, bounds)
        left = bounds.bytes
        for entry in entries:
            target = folder.joinpath(*PurePosixPath(entry.filename).parts)
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            left -= _copy(archive, entry, target, min(left, entry.file_size), field)
    return files_in(folder)


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, room: int, field: str) -> int:
    """Counts what really comes out, since what an entry says of its size is its maker's word."""
    size_bytes = 0
    with archive.open(entry) as source, target.open("xb") as sink:
        while chunk := source.read(_COPY_BYTES):
            size_bytes += len(chunk)
            if size_bytes > room:
                raise InputFault(
                    "archive_too_big", f"{field} unpacks to more than it says, or than is allowed"
                )
            sink.write(chunk)
    return size_bytes


def _check(entries: list[zipfile.ZipInfo], field: str, bounds: Bounds) -> None:
    if len(entries) > bounds.entries:
        raise InputFault(
            "archive_too_big", f"{field} has {len(entries)} entries; {bounds.entries} are allowed"
        )
    seen: set[str] = set()
    for entry in entries:
        why = _fault_of(entry) or ("it is there twice" if _key(entry) in seen else None)
        if why is not None:
            raise InputFault("archive_unsafe", f"{field} has an entry {entry.filename[:100]!r}: {why}")
        seen.add(_key(entry))
    unpacked, packed = (sum(sizes) for sizes in _sizes(entries))
    if unpacked > bounds.bytes:
        raise InputFault(
            "archive_too_big", f"{field} unpacks to {unpacked} bytes; {bounds.bytes} are allowed"
        )
    if unpacked > max(_RATIO_FROM_BYTES, packed * bounds.ratio):
        raise InputFault("archive_too_big", f"{field} unpacks {packed} bytes to {unpacked}, as only bombs do")


def _sizes(entries: list[zipfile.ZipInfo]) -> tuple[list[int], list[int]]:
    return [entry.file_size for entry in entries], [entry.compress_size for entry in entries]


def _key(entry: zipfile.ZipInfo) -> str:
    """Names that some file system takes for one."""
    return entry.filename.rstrip("/").casefold()


def _fault_of(entry: zipfile.ZipInfo) -> str | None:
    """Why the entry is not unpacked."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is a link or a device"
    if entry.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if entry.compress_type not in _METHODS:  # The others are unpacked without a bound on memory.
        return "it is neither stored nor deflated"
    return _fault_of_name(entry.orig_filename)


def _fault_of_name(name: str) -> str | None:
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or "\\" in name or ":" in parts[0]:
        return "its path is not relative, with forward slashes"
    if any(part in ("", ".", "..") for part in parts):
        return "its path climbs or is not plain"
    if not name.isprintable():
        return "its name has control characters"
    if len(parts) > _DEPTH_MAX or any(len(part.encode()) > _NAME_BYTES_MAX for part in parts):
        return "its path is too long"
    return None
