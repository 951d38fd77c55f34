"""Zip files of result folders: the same bytes for the same files."""

import os
import zipfile
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)
_COPY_BYTES = 1024 * 1024


def files_in(folder: Path) -> list[Path]:
    """Regular files below the folder, sorted. Links are left out: they may lead out of it."""
    found = []
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        found += [Path(root, name) for name in names]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def zip_files(files: list[Path], base: Path, target: Path) -> None:
    """Writes the files under their paths relative to `base`."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(base).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as sink:
                while chunk := source.read(_COPY_BYTES):
                    sink.write(chunk)
