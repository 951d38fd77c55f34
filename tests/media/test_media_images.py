"""Images as they come from phones, editors and people who mean harm."""

import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

from worker_image.faults import InputFault
from worker_image.media.images import clean_image, fit, image_size, read_image, within, workflow_size
from worker_image.media.probe import require_image


@pytest.fixture
def still(scratch):
    """Saves an image half red, half blue under a name without an extension."""

    def save(size=(40, 20), kind="PNG", mode="RGB", **options):
        image = Image.new(mode, size, "blue" if mode != "P" else 0)
        image.paste("red" if mode != "P" else 1, (0, 0, size[0] // 2, size[1]))
        image.save(scratch / "input-0", kind, **options)
        return scratch / "input-0"

    return save


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Secret Camera"
    return exif


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_what_is_read(still, kind):
    path = still(kind=kind)
    found = require_image(path, "image_url")
    assert (found.kind, found.container, found.width, found.height) == ("image", kind.lower(), 40, 20)
    assert read_image(path, "image_url").size == (40, 20)


def test_an_image_is_turned_as_its_camera_was_and_loses_what_else_it_holds(still, scratch):
    path = still(kind="JPEG", exif=turned(6), comment=b"secret", quality=95)
    assert image_size(path, "image_url") == (20, 40)
    for kind in ("PNG", "JPEG"):
        assert clean_image(path, scratch / kind, "image_url", kind=kind) == (20, 40)
        with Image.open(scratch / kind) as made:
            assert made.format == kind
            red, _, blue = made.convert("RGB").getpixel((10, 5))
            assert red > 200
            assert blue < 60
            assert not made.getexif()
        assert b"ecret" not in (scratch / kind).read_bytes()


def test_text_in_a_png_is_left_behind(still, scratch):
    note = PngImagePlugin.PngInfo()
    note.add_text("prompt", "secret" * 20)
    clean_image(still(pnginfo=note), scratch / "out", "image_url")
    with Image.open(scratch / "out") as made:
        assert made.info == {}


def test_transparency_stays_in_png_and_turns_white_in_jpeg(scratch):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(scratch / "a", "PNG")
    clean_image(scratch / "a", scratch / "b", "image_url")
    assert read_image(scratch / "b", "image_url").getpixel((4, 4)) == (255, 0, 0, 0)
    clean_image(scratch / "a", scratch / "c", "image_url", kind="JPEG")
    assert min(read_image(scratch / "c", "image_url").getpixel((4, 4))) > 250


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "F"])
def test_every_mode_becomes_rgb_or_rgba(scratch, mode):
    kind = "TIFF" if mode in ("CMYK", "F") else "PNG"
    Image.new(mode, (6, 4)).save(scratch / "a", kind)
    assert read_image(scratch / "a", "image_url").mode == ("RGBA" if mode == "LA" else "RGB")


def test_sizes():
    assert within((4096, 1024), (2048, 2048)) == (2048, 512)
    assert within((10, 10), (2048, 2048)) == (10, 10)
    assert within((10, 10), (2048, 1024), enlarge=True) == (1024, 1024)
    assert within((10_000, 1), (100, 100)) == (100, 1)
    assert workflow_size((1920, 1080)) == (1280, 720)
    assert workflow_size((100, 100)) == (720, 720)
    assert workflow_size((333, 999)) == (240, 720)
    assert workflow_size((9999, 1)) == (1280, 2)
    assert fit(Image.new("RGB", (30, 10)), (15, 15)).size == (15, 5)


def test_a_large_image_is_made_smaller(scratch):
    Image.new("RGB", (3000, 100)).save(scratch / "a", "PNG")
    assert clean_image(scratch / "a", scratch / "b", "image_url") == (2048, 68)


def png_that_says(width, height):
    """A PNG of a few bytes whose header speaks of that many pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(9_000, 9_000), (10_000, 9_500), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
@pytest.mark.parametrize("check", [image_size, read_image, require_image])
def test_a_bomb_is_refused_by_its_header(scratch, size, check):
    (scratch / "a").write_bytes(png_that_says(*size))
    with pytest.raises(InputFault, match="image_url is too large an image") as caught:
        check(scratch / "a", "image_url")
    assert caught.value.code == "input_too_big"


def test_text_that_swells_is_refused(scratch, still):
    note = PngImagePlugin.PngInfo()
    note.add_text("bomb", "x" * 80_000_000, zip=True)
    path = still(pnginfo=note)
    with pytest.raises(InputFault, match="image_url is a broken png"):
        read_image(path, "image_url")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_a_cut_or_scrambled_image_is_broken(still, scratch, kind):
    path = still(size=(400, 300), kind=kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputFault) as caught:
        require_image(path, "image_url")
    assert caught.value.code == "input_unreadable"
    assert f"image_url is a broken {kind.lower()} image" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a"])
def test_what_is_no_image_is_said(scratch, content):
    (scratch / "a").write_bytes(content)
    with pytest.raises(InputFault, match="image_url"):
        read_image(scratch / "a", "image_url")
