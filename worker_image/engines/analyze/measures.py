"""`analyze` on a CPU, without a vision model: what can be measured and read, and nothing that would be a guess.

The text in the image is read by RapidOCR, faces are found by OpenCV's cascade, and the rest is arithmetic. It does
not answer the prompt, and says so.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import AnalyzeInput
from worker_image.engines.base import EngineConfig, EngineJob, Outcome, Report
from worker_image.faults import InputFault
from worker_image.media.images import read_image

if TYPE_CHECKING:
    from PIL import Image

MODEL = "measured"
CASCADE = "haarcascade_frontalface_default.xml"
SIDE_PIXELS_MAX = 1600
CONFIDENCE_MIN = 0.6
COLOURS = 4
COLOUR_SHARE_MIN = 0.05
SHARP_MIN = 60.0
"""Variance of the Laplacian below which an image of this size looks blurred."""
_NAMES = {
    "black": (0, 0, 0),
    "dark grey": (70, 70, 70),
    "grey": (128, 128, 128),
    "light grey": (200, 200, 200),
    "white": (255, 255, 255),
    "red": (200, 30, 30),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 40),
    "green": (40, 150, 60),
    "cyan": (40, 190, 200),
    "blue": (40, 70, 200),
    "purple": (120, 50, 160),
    "pink": (240, 140, 180),
    "brown": (120, 75, 40),
    "skin or sand": (220, 180, 150),
}


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of text; `box` is left, top, width and height in pixels of the image as it was given."""

    text: str
    confidence: float
    box: tuple[int, int, int, int]


class Measures:
    name = "measures"
    engine = "analyze"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._reader: Any = None
        self._faces: Any = None

    def probe(self) -> EngineOffer | str:
        missing = [one for one in ("rapidocr_onnxruntime", "cv2", "PIL") if find_spec(one) is None]
        if missing:
            return f"not installed: {', '.join(missing)} (pip install 'gpulease[demo]')"
        return EngineOffer(engine=self.engine, backend=self.name, models=(MODEL,))

    def load(self, model: str | None) -> str:
        if model not in (None, MODEL):
            raise InputFault("model_unknown", f"this backend is called {MODEL!r}, and is no model {model!r}")
        if self._reader is None:
            import cv2  # noqa: PLC0415  Both take a second to import.
            from rapidocr_onnxruntime import RapidOCR  # noqa: PLC0415  As above.

            self._reader = RapidOCR()
            self._faces = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / CASCADE))
        return MODEL

    def unload(self) -> None:
        self._reader = self._faces = None

    def run(self, job: EngineJob, report: Report) -> Outcome:
        AnalyzeInput.model_validate(job.input)
        image = read_image(job.files["image_url"], "image_url")
        width, height = image.size
        small = image.convert("RGB")
        small.thumbnail((SIDE_PIXELS_MAX, SIDE_PIXELS_MAX))
        scale = width / small.width
        report(0.1, "measuring")
        facts: dict[str, Any] = {
            "width": width,
            "height": height,
            **_light(small),
            "colours": _colours(small),
        }
        report(0.3, "looking for faces")
        facts["faces"] = self._faces_in(small, scale)
        report(0.4, "reading text")
        facts["lines"] = [
            {"text": one.text, "confidence": one.confidence, "box": one.box}
            for one in self._text_in(small, scale)
        ]
        return Outcome(model=MODEL, text=_told(facts), data=facts, ignored=("prompt",))

    def _text_in(self, image: "Image.Image", scale: float) -> list[_Line]:
        import numpy as np  # noqa: PLC0415  It comes with the reader.

        found, _ = self._reader(np.asarray(image)[:, :, ::-1])
        lines = [_line(corners, text, confidence, scale) for corners, text, confidence in found or ()]
        return [one for one in lines if one.confidence >= CONFIDENCE_MIN]

    def _faces_in(self, image: "Image.Image", scale: float) -> list[tuple[int, ...]]:
        import numpy as np  # noqa: PLC0415  As above.

        side_min = max(24, min(image.size) // 12)
        grey = np.asarray(image.convert("L"))
        found = self._faces.detectMultiScale(
            grey, scaleFactor=1.1, minNeighbors=6, minSize=(side_min, side_min)
        )
        return [tuple(round(float(one) * scale) for one in box) for box in found]


def _line(corners: Any, text: str, confidence: float, scale: float) -> _Line:
    across, down = [float(x) * scale for x, _ in corners], [float(y) * scale for _, y in corners]
    left, top = round(min(across)), round(min(down))
    return _Line(
        text, round(float(confidence), 3), (left, top, round(max(across)) - left, round(max(down)) - top)
    )


def _light(image: "Image.Image") -> dict[str, Any]:
    """Brightness and contrast from 0 to 1; sharpness is the variance of the Laplacian."""
    import cv2  # noqa: PLC0415  As above.
    import numpy as np  # noqa: PLC0415  As above.

    grey = np.asarray(image.convert("L"))
    sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var())
    return {
        "brightness": round(float(grey.mean()) / 255, 3),
        "contrast": round(float(grey.std()) / 255, 3),
        "sharpness": round(sharpness, 1),
    }


def _colours(image: "Image.Image") -> list[dict[str, Any]]:
    """The commonest colours, each with the nearest plain name and its share of the image."""
    few = image.resize((96, 96)).quantize(COLOURS)
    palette = few.getpalette() or []
    counted: list[tuple[int, Any]] = sorted(few.getcolors() or [], reverse=True)
    found: dict[str, float] = {}
    for count, index in counted:
        name = _name(tuple(palette[3 * index : 3 * index + 3]))
        found[name] = found.get(name, 0.0) + count / (96 * 96)
    return [
        {"name": name, "share": round(share, 2)} for name, share in found.items() if share >= COLOUR_SHARE_MIN
    ]


def _name(colour: tuple[int, ...]) -> str:
    def far(name: str) -> int:
        return sum((one - other) ** 2 for one, other in zip(colour, _NAMES[name], strict=True))

    return min(_NAMES, key=far)


def _told(facts: dict[str, Any]) -> str:
    """Sentences that claim no more than was measured."""
    colours = ", ".join(f"{one['name']} ({one['share']:.0%})" for one in facts["colours"])
    said = [
        "Measured without a vision model, so the prompt was not answered.",
        f"The image is {facts['width']} x {facts['height']} pixels; its commonest colours are {colours}.",
    ]
    if facts["sharpness"] < SHARP_MIN:
        said.append("It has few sharp edges: it is blurred, or shows plain areas.")
    faces = len(facts["faces"])
    said.append(
        f"The face detector found {faces} frontal face{'s' if faces > 1 else ''}."
        if faces
        else "The face detector found no frontal face."
    )
    lines = [one["text"] for one in facts["lines"]]
    said.append("It reads: " + " / ".join(lines) if lines else "No text was read in it.")
    return "\n".join(said)
