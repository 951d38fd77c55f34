"""The project that a job brings: one `.blend`, or a zip of one with its textures, laid out for the script."""

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from worker_image.faults import InputFault
from worker_image.media.archive import unzip

_MAGIC = (b"BLENDER", b"\x28\xb5\x2f\xfd", b"\x1f\x8b")
_NOT_OURS = "__MACOSX"
_SHOWN_MAX = 10


def lay_out(files: Mapping[str, str], folder: Path) -> str:
    """Moves the inputs below `folder`, and returns the path of the `.blend` in it.

    Raises:
        InputFault: there is not exactly one `.blend`, or a file is not what it should be.
    """
    project = folder / "project"
    if library := files.get("library_url"):
        check_blend(Path(library), "library_url")
        shutil.move(library, folder / "library.blend")
    source = Path(files["file_url"])
    if not zipfile.is_zipfile(source) or is_blend(source):
        check_blend(source, "file_url")
        project.mkdir()
        return _relative(Path(shutil.move(source, project / "project.blend")), folder)
    found = [path for path in unzip(source, project, "file_url") if _is_main(path.relative_to(project))]
    if len(found) != 1:
        names = ", ".join(_relative(path, project) for path in found[:_SHOWN_MAX]) or "none"
        raise InputFault("project_unclear", f"the zip must hold exactly one .blend file; it holds {names}")
    check_blend(found[0], "file_url")
    return _relative(found[0], folder)


def check_blend(path: Path, field: str) -> None:
    if not is_blend(path):
        what = "a .blend file, or a zip of one" if field == "file_url" else "a .blend file"
        raise InputFault("input_not_blend", f"{field} is not {what}")


def is_blend(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(7).startswith(_MAGIC)


def _is_main(path: Path) -> bool:
    return path.suffix.lower() == ".blend" and _NOT_OURS not in path.parts and not path.name.startswith(".")


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
