"""Where the face is in each frame of a film, and what the network sees of it: kept, so that it is found out once."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .models import Models, quiet

FACES_MAX = 30_000
CHUNK = 4
_SIDE = 256


@dataclass(slots=True)
class Face:
    """`box` is left, top, right, bottom in pixels, the margin below the chin included."""

    box: tuple[int, int, int, int]
    latent: Any


class Avatars:
    """Faces by film and margin, None where a frame shows none; the longest unused go beyond `FACES_MAX` frames."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._known: OrderedDict[str, list[Face | None]] = OrderedDict()

    def known(self, key: str) -> int:
        """For how many frames of the film the faces are known."""
        return len(self._known.get(key, ()))

    def faces(
        self, key: str, paths: list[str], margin: int, on_found: Callable[[int], None]
    ) -> list[Face | None]:
        """One for each of the paths. `on_found` gets how many there are so far; what it raises ends the search."""
        found = self._known.pop(key, [])
        self._known[key] = found
        while len(found) < len(paths):
            found += self._look(paths[len(found) : len(found) + CHUNK], margin)
            on_found(len(found))
        while len(self._known) > 1 and sum(map(len, self._known.values())) > FACES_MAX:
            self._known.popitem(last=False)
        return found[: len(paths)]

    def _look(self, paths: list[str], margin: int) -> list[Face | None]:
        search = self._models.faces
        try:
            with quiet():
                boxes, frames = search.get_landmark_and_bbox(paths, 0)
        except ZeroDivisionError:  # Its summary divides by the number of faces.
            return [None] * len(paths)
        return [self._face(box, frame, margin) for box, frame in zip(boxes, frames, strict=True)]

    def _face(self, box: Any, frame: Any, margin: int) -> Face | None:
        if tuple(box) == tuple(self._models.faces.coord_placeholder):
            return None
        left, top, right, bottom = (int(side) for side in box)
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, frame.shape[1]), min(bottom + margin, frame.shape[0])
        if right - left < 2 or bottom - top < 2:
            return None
        cv2 = import_module("cv2")
        crop = cv2.resize(frame[top:bottom, left:right], (_SIDE, _SIDE), interpolation=cv2.INTER_LANCZOS4)
        return Face((left, top, right, bottom), self._models.vae.get_latents_for_unet(crop))
