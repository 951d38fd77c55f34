"""What a prompt left on the server, fetched. Names are the server's word, and only a safe form of them is used here."""

import mimetypes
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from gpulease.contract.jobs import Phase
from worker_image.engines.base import MadeFile, Report
from worker_image.engines.comfyui.client import ComfyUI
from worker_image.engines.comfyui.replies import Stored
from worker_image.faults import HostFault
from worker_image.media.archive import zip_files

FILES_MAX = 1_000
BYTES_MAX = 4 * 1024**3
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_KINDS = {".webp": "image/webp", ".flac": "audio/flac", ".safetensors": "application/octet-stream"}


def outputs_of(files: Iterable[Stored]) -> list[Stored]:
    """Results only, each once: previews and inputs are of no use to anybody."""
    return list(dict.fromkeys(one for one in files if one.kind == "output"))


async def fetched(server: ComfyUI, files: Sequence[Stored], out: Path, report: Report) -> list[Path]:
    """The files, under names of their own in `out`.

    Raises:
        HostFault: there are too many, they are too big, or one is not there.
    """
    if len(files) > FILES_MAX:
        raise HostFault("output_too_big", f"ComfyUI made {len(files)} files; {FILES_MAX} are the most")
    paths: list[Path] = []
    left = BYTES_MAX
    for number, one in enumerate(files):
        report(number / len(files), f"fetching file {number + 1} of {len(files)}", phase=Phase.ENCODING)
        path = _free(out, safe_name(one.filename))
        left -= await server.fetch(one, path, left)
        paths.append(path)
    return paths


def packed(paths: Sequence[Path], out: Path, folder: Path) -> MadeFile:
    """A single file as it is, several as one archive."""
    if len(paths) == 1:
        return MadeFile(paths[0].name, str(paths[0]), content_type(paths[0].name))
    target = folder / "result.zip"
    zip_files(list(paths), out, target)
    return MadeFile(target.name, str(target), "application/zip")


def content_type(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return _KINDS.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def safe_name(name: str) -> str:
    """A plain file name, whatever it was: no folder, no hidden file, no option."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return _UNSAFE.sub("_", last).lstrip(".-")[-100:] or "file"


def _free(out: Path, name: str) -> Path:
    """Files of other folders on the server may have the same name."""
    path, number = out / name, 1
    while path.exists():
        number += 1
        path = out / f"{Path(name).stem}-{number}{Path(name).suffix}"
    return path
