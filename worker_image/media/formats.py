"""What a file is, by its first bytes: the formats that engines take, and a name for what else it may be.

ffmpeg's own guess is never asked for: it would also find playlists, scripts and patterns that lead to other files.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HEAD_BYTES = 64 * 1024
_TEXT_SHOWN = 200

Family = Literal["image", "track"]


@dataclass(frozen=True, slots=True)
class Format:
    """`demuxer` is ffmpeg's name; tracks may turn out to be video or sound. None: Pillow reads it."""

    name: str
    family: Family
    demuxer: str | None = None


def _track(name: str, demuxer: str | None = None) -> Format:
    return Format(name, "track", demuxer or name)


def _image(name: str) -> Format:
    return Format(name, "image")


_MOV, _MP3, _AAC, _FLAC = _track("mp4", "mov"), _track("mp3"), _track("aac"), _track("flac")
_STARTS = (
    (b"\x1a\x45\xdf\xa3", _track("matroska")),
    (b"OggS", _track("ogg")),
    (b"fLaC", _FLAC),
    (b"FLV\x01", _track("flv")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _track("asf")),
    (b"\x00\x00\x01\xba", _track("mpeg")),
    (b"\x00\x00\x01\xb3", _track("mpegvideo")),
    (b"caff\x00\x01", _track("caf")),
    (b"#!AMR", _track("amr")),
    (b".snd", _track("au")),
    (b"\x0b\x77", _track("ac3")),
    (b"\x89PNG\r\n\x1a\n", _image("png")),
    (b"\xff\xd8\xff", _image("jpeg")),
    (b"GIF87a", _image("gif")),
    (b"GIF89a", _image("gif")),
    (b"BM", _image("bmp")),
    (b"II*\x00", _image("tiff")),
    (b"MM\x00*", _image("tiff")),
)
# Of those that name their form in bytes 8 to 12.
_FORMS = {
    (b"RIFF", b"WAVE"): _track("wav"),
    (b"RF64", b"WAVE"): _track("wav"),
    (b"RIFF", b"AVI "): _track("avi"),
    (b"RIFF", b"WEBP"): _image("webp"),
    (b"FORM", b"AIFF"): _track("aiff"),
    (b"FORM", b"AIFC"): _track("aiff"),
}
_MOV_ATOMS = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"mif1", b"msf1"})

_LISTS = (b"<mpd", b"#extm3u", b"ffconcat", b"<compositionplaylist", b"c=in ip", b"[playlist]")
_FOREIGN = (
    (b"#extm3u", "an HLS playlist"),
    (b"ffconcat", "a concat script"),
    (b"file ", "a concat script"),
    (b"[playlist]", "a playlist"),
    (b"[reference]", "a playlist"),
    (b"<asx", "a playlist"),
    (b"<mpd", "a DASH manifest"),
    (b"<smil", "a playlist"),
    (b"<svg", "an SVG drawing, which may lead to other files"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"{", "a JSON document"),
    (b"v=0", "an SDP description"),
    (b"webvtt", "subtitles"),
    (b"pk\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%pdf", "a PDF document"),
    (b"\x7felf", "a program"),
    (b"blender", "a Blender project"),
)


def format_of(path: str | Path) -> Format | str:
    """The format, or what it is instead, as words that follow "it is".

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        head = file.read(HEAD_BYTES)
        if head[:3] == b"ID3" and len(head) >= 10:
            file.seek(_id3_bytes(head))
            return _after_id3(file.read(HEAD_BYTES))
    return _known(head) or _described(head)


def _known(head: bytes) -> Format | str | None:
    found = _marked(head)
    return "a list of other files" if found is not None and _holds_a_list(head) else found


def _holds_a_list(head: bytes) -> bool:
    """Whether other programs could take it for a manifest, which they look for up to the first zero byte."""
    text, zero, _ = head.partition(b"\0")
    endless = not zero and len(head) == HEAD_BYTES
    return endless or any(mark in text.lower() for mark in _LISTS)


def _marked(head: bytes) -> Format | None:
    for start, found in _STARTS:
        if head.startswith(start):
            return found
    if form := _FORMS.get((head[:4], head[8:12])):
        return form
    if head[4:8] in _MOV_ATOMS:
        return _mov(head)
    if _is_transport_stream(head):
        return _track("mpegts")
    return _mpeg_audio(head)


def _mov(head: bytes) -> Format | None:
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in _AVIF_BRANDS:
        return _image("avif")
    return None if brand in _HEIF_BRANDS else _MOV


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes, or of 192 with a time stamp before each."""
    return any(head[at::step][:4] == b"GGGG" for at, step in ((0, 188), (4, 192)))


def _mpeg_audio(head: bytes) -> Format | None:
    """A frame's sync word and fields that are not reserved; layer 0 marks ADTS."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return _AAC
    reserved = (
        head[1] & 0x18 == 0x08 or head[1] & 0x06 == 0 or head[2] & 0xF0 == 0xF0 or head[2] & 0x0C == 0x0C
    )
    return None if reserved else _MP3


def _id3_bytes(head: bytes) -> int:
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _after_id3(head: bytes) -> Format | str:
    """Tags stand before MP3, AAC and FLAC, and padding may stand between."""
    found = _known(head.lstrip(b"\0"))
    return found if found in (_MP3, _AAC, _FLAC) else "sound of no format that is known here"


def _described(head: bytes) -> str:
    if not head:
        return "empty"
    if head[4:8] == b"ftyp":
        return "a HEIF image: save it as JPEG or PNG"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, name in _FOREIGN:
        if start.startswith(mark):
            return name
    if _is_text(head):
        return "text, not media"
    return "of no media format that is known here"


def _is_text(head: bytes) -> bool:
    try:
        return head[:_TEXT_SHOWN].decode("utf-8", "strict").replace("\n", "").replace("\r", "").isprintable()
    except UnicodeDecodeError:
        return False
