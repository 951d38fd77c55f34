"""Images through Pillow: turned the right way up, made to fit, and written anew without what else was in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from worker_image.faults import InputFault
from worker_image.media.formats import format_of
from worker_image.media.programs import PIXELS_MAX

if TYPE_CHECKING:
    from PIL import Image

PORTRAIT_SIDE_MAX = 2048
WORKFLOW_BOX = (1280, 720)
_JPEG_QUALITY = 95
_SIDEWAYS = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112

Size = tuple[int, int]


def image_size(path: str | Path, field: str) -> Size:
    """Width and height as shown, from the header alone.

    Raises:
        InputFault: as `read_image`.
    """
    with _opened(path, field) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(_ORIENTATION) in _SIDEWAYS else (width, height)


def read_image(path: str | Path, field: str) -> "Image.Image":
    """The first frame, decoded, the right way up (EXIF), in RGB or RGBA.

    Raises:
        InputFault: it is no image, is broken, or has more than `PIXELS_MAX` pixels; `field` is named.
    """
    from PIL import ImageOps  # noqa: PLC0415  Only who handles images has it.

    with _opened(path, field) as image:
        upright = ImageOps.exif_transpose(image)
        return upright.convert("RGBA" if upright.has_transparency_data else "RGB")


@contextmanager
def _opened(path: str | Path, field: str) -> "Iterator[Image.Image]":
    """Opens it as what its first bytes say, and turns whatever Pillow makes of a broken file into one fault."""
    from PIL import Image  # noqa: PLC0415  As above.

    form = format_of(path)
    if isinstance(form, str) or form.family != "image":
        found = form if isinstance(form, str) else f"a video or sound file ({form.name})"
        raise InputFault("input_not_image", f"{field} must be an image; it is {found}")
    try:
        with Image.open(path, formats=[form.name.upper()]) as image:
            _check_size(image.size, field)
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputFault("input_too_big", f"{field} is too large an image: {error}") from error
    except (InputFault, MemoryError):
        raise
    except Exception as error:  # A broken file makes its decoders raise anything.
        raise InputFault("input_unreadable", f"{field} is a broken {form.name} image: {error}") from error


def _check_size(size: Size, field: str) -> None:
    if size[0] * size[1] > PIXELS_MAX:
        found = f"{size[0]} x {size[1]} pixels; {PIXELS_MAX} in all are allowed"
        raise InputFault("input_too_big", f"{field} is too large an image: {found}")


def within(size: Size, box: Size, *, enlarge: bool = False) -> Size:
    """The largest size of the same shape that fits in the box; small ones stay as they are unless enlarged."""
    scale = min(box[0] / size[0], box[1] / size[1])
    if scale >= 1 and not enlarge:
        return size
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def workflow_size(size: Size, box: Size = WORKFLOW_BOX) -> Size:
    """What a video of an image of this size measures: fit to the box, small ones enlarged, even numbers."""
    scale = min(box[0] / size[0], box[1] / size[1])
    return max(int(size[0] * scale) // 2 * 2, 2), max(int(size[1] * scale) // 2 * 2, 2)


def clean_image(
    path: str | Path,
    out: Path,
    field: str,
    *,
    side_max: int = PORTRAIT_SIDE_MAX,
    kind: Literal["PNG", "JPEG"] = "PNG",
) -> Size:
    """Writes the image anew: upright, at most `side_max` pixels a side, pixels only. Returns its size.

    In JPEG, what is transparent becomes white.

    Raises:
        InputFault: as `read_image`.
    """
    image = fit(read_image(path, field), (side_max, side_max))
    save_clean(image, out, kind)
    return image.size


def fit(image: "Image.Image", box: Size, *, enlarge: bool = False) -> "Image.Image":
    from PIL import Image  # noqa: PLC0415  As above.

    size = within(image.size, box, enlarge=enlarge)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def save_clean(image: "Image.Image", out: Path, kind: Literal["PNG", "JPEG"]) -> None:
    """Writes the pixels of an RGB or RGBA image, and nothing that its file held beside them."""
    from PIL import Image  # noqa: PLC0415  As above.

    if kind == "JPEG" and image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    bare = Image.new(image.mode, image.size)
    bare.paste(image)
    bare.save(out, kind, **({"quality": _JPEG_QUALITY} if kind == "JPEG" else {}))
