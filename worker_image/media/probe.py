"""Facts of a media file that somebody else made, and whether it is the kind of file that an input must be.

What is refused is refused with the name of the input. No other file is ever opened, and no address.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from worker_image.faults import HostFault, InputFault
from worker_image.media.formats import Format, format_of
from worker_image.media.images import image_size, read_image
from worker_image.media.programs import (
    PIXELS_MAX,
    Ran,
    Unbounded,
    ffprobe,
    last_words,
    run_bounded,
    source,
)

SIDE_PIXELS_MAX = 16_384
DURATION_S_MAX = 6 * 3600.0
STREAMS_MAX = 64
PROBE_S_MAX = 20.0
_TAIL_S = 0.5
_ELSEWHERE = ("external track", "enable_drefs")
_TOO_LARGE = "exceeds specified max pixel count"
_CUT_OFF = ("partial file", "ended prematurely", "moov atom not found")

Kind = Literal["video", "audio", "image"]


@dataclass(frozen=True, slots=True)
class Media:
    """Width and height are in pixels, as shown (after `rotation`, degrees clockwise); 0 where there are none.

    `container` is a short name such as mp4, matroska, wav or png; `demuxer` is ffmpeg's name of it. A still image
    has no duration. Codecs are ffmpeg's names.
    """

    path: str
    kind: Kind
    container: str
    demuxer: str | None
    size_bytes: int
    duration_s: float | None = None
    width: int = 0
    height: int = 0
    fps: float = 0.0
    rotation: int = 0
    video_codec: str | None = None
    audio_codec: str | None = None
    sample_rate_hz: int = 0
    channels: int = 0

    @property
    def has_audio(self) -> bool:
        return self.audio_codec is not None

    @property
    def arguments(self) -> list[str]:
        """How ffmpeg is given it as an input."""
        if self.demuxer is None:
            raise HostFault("engine_failed", f"an image ({self.container}) is no input for ffmpeg")
        return source(self.path, self.demuxer)

    def described(self) -> str:
        """What it is, in a few words."""
        size = f" of {self.width} x {self.height} pixels" if self.width else ""
        sound = {"video": "" if self.has_audio else " without sound"}.get(self.kind, "")
        article = {"video": "a video", "audio": "a sound file", "image": "an image"}[self.kind]
        return f"{article} ({self.container}){size}{sound}"


def require_video(path: str | Path, field: str) -> Media:
    """A file whose video begins to decode and whose end is there.

    Raises:
        InputFault: it is something else; the message names `field` and what was found.
        HostFault: ffprobe is missing.
    """
    found = probe(path, field)
    if found.kind != "video":
        raise InputFault("input_not_video", f"{field} must be a video; it is {found.described()}")
    _check_decodes(found, field, "v:0")
    return found


def require_audio(path: str | Path, field: str) -> Media:
    """As `require_video`: a sound file, or a video with a sound track."""
    found = probe(path, field)
    if not found.has_audio:
        raise InputFault("input_not_audio", f"{field} must have sound; it is {found.described()}")
    _check_decodes(found, field, "a:0")
    return found


def require_image(path: str | Path, field: str) -> Media:
    """A still image that decodes to its end."""
    found = probe(path, field)
    if found.kind != "image":
        raise InputFault("input_not_image", f"{field} must be an image; it is {found.described()}")
    read_image(path, field)
    return found


def probe(path: str | Path, field: str) -> Media:
    """The facts of a file; of a track only what its headers say.

    Raises:
        InputFault: it is no media file, is broken, or is larger than any engine takes; `field` is named.
        HostFault: ffprobe is missing.
    """
    form = format_of(path)
    if isinstance(form, str):
        raise InputFault("input_not_media", f"{field} is no media file: it is {form}")
    size_bytes = Path(path).stat().st_size
    if form.family == "image":
        width, height = image_size(path, field)
        return Media(str(path), "image", form.name, None, size_bytes, width=width, height=height)
    return _track(str(path), form, size_bytes, field)


def _track(path: str, form: Format, size_bytes: int, field: str) -> Media:
    assert form.demuxer is not None  # noqa: S101  Every track has one.
    shown = ("-show_format", "-show_streams", "-of", "json")
    ran = _ffprobe(path, form.demuxer, field, *shown)
    if ran.code or _TOO_LARGE in ran.said:
        _refuse_broken(form.name, ran, field)
    facts = json.loads(ran.out)
    streams = facts.get("streams") or []
    if not streams:
        _refuse_broken(form.name, ran, field)
    if len(streams) > STREAMS_MAX:
        raise InputFault("input_unreadable", f"{field} has {len(streams)} tracks; {STREAMS_MAX} are allowed")
    if _leads_elsewhere(form, streams, ran):
        raise InputFault("input_not_media", f"{field} leads to other files; send one that holds everything")
    return _media(path, form, size_bytes, _Streams(facts, field))


def _leads_elsewhere(form: Format, streams: list[dict[str, Any]], ran: Ran) -> bool:
    """Tracks in other files, and AVI's text tracks, in which playlists have been hidden."""
    text = form.name == "avi" and any(one.get("codec_type") not in ("video", "audio") for one in streams)
    return text or any(words in ran.said for words in _ELSEWHERE)


def _refuse_broken(container: str, ran: Ran, field: str) -> NoReturn:
    if any(words in ran.said for words in _ELSEWHERE):
        raise InputFault("input_not_media", f"{field} leads to other files; send one that holds everything")
    if any(words in ran.said for words in _CUT_OFF):
        raise InputFault("input_truncated", f"{field} is cut off: its {container} file does not end")
    if _TOO_LARGE in ran.said:
        raise InputFault("input_too_big", f"{field} has frames of more than {PIXELS_MAX} pixels")
    why = last_words(ran.said)
    raise InputFault("input_unreadable", f"{field} is a broken {container} file: {why}")


class _Streams:
    """ffprobe's reply: the first real video stream (covers do not count) and the first sound."""

    def __init__(self, facts: dict[str, Any], field: str) -> None:
        streams = facts["streams"]
        self.video: dict[str, Any] = next((one for one in streams if _is_video(one)), {})
        self.audio: dict[str, Any] = next((one for one in streams if one.get("codec_type") == "audio"), {})
        self._whole = facts.get("format") or {}
        self.field = field

    def duration_s(self) -> float | None:
        said = (_number(one.get("duration")) for one in (self._whole, self.video, self.audio))
        found = next((one for one in said if one > 0), None)
        if found is not None and found > DURATION_S_MAX:
            hours = DURATION_S_MAX / 3600
            raise InputFault(
                "input_too_long", f"{self.field} lasts {found / 3600:.1f} h; {hours:.0f} h are allowed"
            )
        return found

    def size(self) -> tuple[int, int, int]:
        """Width and height as shown, and the rotation that is already in them."""
        width, height = (int(self.video.get(side) or 0) for side in ("width", "height"))
        if self.video and not (width > 0 and height > 0):
            raise InputFault("input_unreadable", f"{self.field} has a video track without a size")
        if max(width, height) > SIDE_PIXELS_MAX or width * height > PIXELS_MAX:
            allowed = f"{SIDE_PIXELS_MAX} a side and {PIXELS_MAX} pixels are allowed"
            raise InputFault("input_too_big", f"{self.field} is {width} x {height} pixels; {allowed}")
        turned = [one["rotation"] for one in self.video.get("side_data_list", ()) if "rotation" in one]
        rotation = -round(_number(turned[0])) % 360 if turned else 0
        return (height, width, rotation) if rotation in (90, 270) else (width, height, rotation)


def _is_video(stream: dict[str, Any]) -> bool:
    cover = (stream.get("disposition") or {}).get("attached_pic")
    return stream.get("codec_type") == "video" and not cover


def _media(path: str, form: Format, size_bytes: int, streams: _Streams) -> Media:
    if not (streams.video or streams.audio):
        found = "it has neither video nor sound"
        raise InputFault("input_not_media", f"{streams.field} is a {form.name} file, but {found}")
    width, height, rotation = streams.size()
    return Media(
        path=path,
        kind="video" if streams.video else "audio",
        container=form.name,
        demuxer=form.demuxer,
        size_bytes=size_bytes,
        duration_s=streams.duration_s(),
        width=width,
        height=height,
        fps=round(_rate(streams.video), 6),
        rotation=rotation,
        video_codec=streams.video.get("codec_name"),
        audio_codec=(streams.audio.get("codec_name") or "unknown") if streams.audio else None,
        sample_rate_hz=int(_number(streams.audio.get("sample_rate"))),
        channels=int(_number(streams.audio.get("channels"))),
    )


def _rate(video: dict[str, Any]) -> float:
    for name in ("avg_frame_rate", "r_frame_rate"):
        over, _, under = str(video.get(name) or "").partition("/")
        if _number(over) > 0 and _number(under) > 0:
            return _number(over) / _number(under)
    return 0.0


def _number(text: Any) -> float:
    try:
        found = float(text)
    except (TypeError, ValueError):
        return 0.0
    return found if math.isfinite(found) else 0.0


def _check_decodes(media: Media, field: str, stream: str) -> None:
    """Decodes the first frame of the stream, and looks whether the end of the file is there."""
    assert media.demuxer is not None  # noqa: S101  Every track has one.
    pick = ("-select_streams", stream, "-of", "csv=p=0")
    frames = ("-show_entries", "frame=media_type", "-read_intervals", "%+#2")
    ran = _ffprobe(media.path, media.demuxer, field, *pick, *frames)
    if ran.code or not ran.out.strip():
        _refuse_broken(media.container, ran, field)
    if media.duration_s is None:
        return
    last = f"{max(media.duration_s - _TAIL_S, 0):.3f}%"
    tail = ("-show_entries", "packet=size", "-read_intervals", last)
    ran = _ffprobe(media.path, media.demuxer, field, *pick, *tail)
    if any(words in ran.said for words in _CUT_OFF):
        _refuse_broken(media.container, ran, field)


def _ffprobe(path: str, demuxer: str, field: str, *arguments: str) -> Ran:
    argv = [ffprobe(), "-hide_banner", "-v", "warning", *arguments, *source(path, demuxer)]
    try:
        ran = run_bounded(argv, timeout_s=PROBE_S_MAX)
    except Unbounded as error:
        raise InputFault("input_unreadable", f"{field} could not be examined: {error}") from error
    except OSError as error:
        raise HostFault("program_missing", f"ffprobe could not be started: {error}") from error
    if ran.code < 0:
        raise InputFault("input_unreadable", f"{field} made ffprobe fail with signal {-ran.code}")
    return ran
