"""The video that a worker says it made, as a file of ours: what it says is believed of no path outside our folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from worker_image.engines.base import MadeFile
from worker_image.faults import HostFault, InputFault
from worker_image.media.probe import Media, require_video

NAME = "video"
_KINDS = {
    "mp4": (".mp4", "video/mp4"),
    "matroska": (".mkv", "video/x-matroska"),
    "avi": (".avi", "video/x-msvideo"),
}
_LOOKED_FOR = (".mp4", ".mov", ".mkv", ".webm", ".avi")


@dataclass(frozen=True, slots=True)
class Place:
    """The folder where the worker is to leave its video, as this machine and as that one call it."""

    here: Path
    there: str


@dataclass(frozen=True, slots=True)
class Told:
    """What the worker told of its video. `size_bytes` is 0 where it did not say."""

    path: str = ""
    s3_url: str = ""
    etag: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    file: MadeFile
    media: Media


def fetched(told: Told, place: Place, out: Path) -> Found:
    """Moves the video into `out`, checked.

    Raises:
        HostFault: it is not in our folder, is not what was told, or is no video.
    """
    source = _located(told, place)
    size_bytes = source.stat().st_size
    if told.size_bytes and told.size_bytes != size_bytes:
        raise HostFault(
            "video_torn", f"the video has {size_bytes} bytes and not {told.size_bytes} as was told"
        )
    taken = out / NAME
    shutil.move(source, taken)
    if taken.is_symlink():
        raise HostFault("video_outside", "the video worker left a link and no video")
    try:
        media = require_video(taken, "the result")
    except InputFault as fault:
        raise HostFault(
            "video_invalid", f"what the video worker made is no video: {fault.message}"
        ) from fault
    suffix, kind = _KINDS.get(media.container, (f".{media.container}", "application/octet-stream"))
    named = taken.rename(taken.with_suffix(suffix))
    return Found(MadeFile(named.name, str(named), kind), media)


def _located(told: Told, place: Place) -> Path:
    named = _inside(told.path, place) if told.path and "://" not in told.path else _only(place)
    if named is not None:
        return named
    where = told.s3_url or (told.path if "://" in told.path else "")
    if where:
        raise HostFault(
            "video_elsewhere",
            f"the video worker stored the video at {where[:300]}, which this worker cannot read, and left none in "
            f"{place.there}: let both see one folder",
        )
    raise HostFault(
        "video_missing", f"the video worker left no video in {place.there}: both must see that folder"
    )


def _inside(told: str, place: Place) -> Path | None:
    """A regular file in our folder, through no link; None: there is none of that name."""
    outside = HostFault(
        "video_outside", f"the video worker names a file outside of {place.there}: {told[:300]!r}"
    )
    path = PurePosixPath(told)
    if "\0" in told or ".." in path.parts or not path.is_relative_to(place.there):
        raise outside
    here = place.here / path.relative_to(place.there)
    if not here.exists() and not here.is_symlink():
        return None
    if here.is_symlink() or not here.is_file():
        raise outside
    if not here.resolve().is_relative_to(place.here.resolve()):
        raise outside
    return here


def _only(place: Place) -> Path | None:
    """Where no path was told: the one video that lies there."""
    lying = [one for one in place.here.iterdir() if one.suffix in _LOOKED_FOR]
    regular = [one for one in lying if one.is_file() and not one.is_symlink()]
    return regular[0] if len(regular) == 1 else None
