"""Frames of the last few faces, kept on the disk, so that a face that comes again costs no reading."""

import hashlib
import shutil
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from worker_image.engines.musetalk.materials import FRAMES_MAX, Materials, Tick, extract_frames

FACES_MAX = 3


@dataclass(frozen=True, slots=True)
class Pictures:
    """`key` is the same for the same file at the same pace. `wanted` is how many were asked for: `count` or more."""

    key: str
    folder: Path
    count: int
    wanted: int

    def enough(self, frames: int) -> bool:
        return self.count >= frames or self.count < self.wanted


class PictureStore:
    """The newest stay, at most `FACES_MAX` faces and `FRAMES_MAX` frames beside the one in use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: OrderedDict[str, Pictures] = OrderedDict()

    def of(self, materials: Materials, tick: Tick) -> Pictures:
        """What `tick` raises ends the reading and leaves nothing."""
        key = f"{_sha256(materials.face.path)}-{materials.fps}"
        kept = self._kept.get(key)
        if kept is None or not kept.enough(materials.frames):
            self._drop(key)
            self._kept[key] = kept = self._read(key, materials, tick)
        self._kept.move_to_end(key)
        self._make_room()
        count = min(kept.count, materials.frames)
        return Pictures(key, kept.folder, count, kept.wanted)

    def clear(self) -> None:
        for key in list(self._kept):
            self._drop(key)

    def _read(self, key: str, materials: Materials, tick: Tick) -> Pictures:
        folder = self._folder / key
        folder.mkdir(parents=True)
        try:
            count = extract_frames(materials, folder, tick)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Pictures(key, folder, count, materials.frames)

    def _make_room(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > FACES_MAX or sum(one.count for one in self._kept.values()) > FRAMES_MAX
        ):
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        if key in self._kept:
            shutil.rmtree(self._kept.pop(key).folder, ignore_errors=True)


def _sha256(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
