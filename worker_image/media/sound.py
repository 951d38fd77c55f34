"""Sound through PyAV: MP3 out, and whether a file is sound at all. No ffmpeg program is needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker_image.faults import InputFault

MP3_BITS_PER_S = 64_000


def write_mp3(parts: Sequence[Any], rate_hz: int, path: Path) -> None:
    """Writes mono float32 arrays (-1 to 1, one after the other) as one MP3."""
    import av  # noqa: PLC0415  Only engines that make sound have it.

    with av.open(str(path), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate_hz, layout="mono", bit_rate=MP3_BITS_PER_S)
        at = 0
        for part in parts:
            frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, at
            at += part.shape[-1]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def check_sound(path: str) -> None:
    """Opens the file and looks for a sound track.

    Raises:
        InputFault: it is no media file, or one without sound.
    """
    import av  # noqa: PLC0415  As above.

    try:
        with av.open(path, metadata_errors="ignore") as container:
            silent = not container.streams.audio
    except (av.error.FFmpegError, ValueError) as error:
        raise InputFault("input_not_audio", f"audio_url is not a sound or film file: {error}") from error
    if silent:
        raise InputFault("input_not_audio", "audio_url is a media file without a sound track")
