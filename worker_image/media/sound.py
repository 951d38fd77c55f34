"""Sound: MP3 from samples, and whether a file is sound at all, through PyAV."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker_image.faults import InputFault
from worker_image.media.formats import format_of
from worker_image.media.programs import named

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


def check_sound(path: str, field: str = "audio_url") -> None:
    """Opens the file and looks for a sound track. No program is needed.

    Raises:
        InputFault: it is no media file, or one without sound.
    """
    import av  # noqa: PLC0415  As above.

    form = format_of(path)
    if isinstance(form, str) or form.demuxer is None:
        found = form if isinstance(form, str) else f"an image ({form.name})"
        raise InputFault("input_not_audio", f"{field} is not a sound or film file: it is {found}")
    local = {"protocol_whitelist": "file,pipe", "format_whitelist": form.demuxer}
    try:
        with av.open(
            named(path), format=form.demuxer, container_options=local, metadata_errors="ignore"
        ) as container:
            silent = not container.streams.audio
    except (av.error.FFmpegError, ValueError) as error:
        raise InputFault("input_not_audio", f"{field} is not a sound or film file: {error}") from error
    if silent:
        raise InputFault("input_not_audio", f"{field} is a media file without a sound track")


def samples_of(path: str, rate_hz: int, seconds_max: float) -> Any:
    """The first sound track, or its beginning, as mono float32 samples (-1 to 1) at that rate."""
    import av  # noqa: PLC0415  As above.
    import numpy as np  # noqa: PLC0415  It comes with whatever wants samples.

    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
    parts: list[Any] = []
    left = round(seconds_max * rate_hz)
    with av.open(path, metadata_errors="ignore") as container:
        for frame in container.decode(audio=0):
            parts += [one.to_ndarray().reshape(-1) for one in resampler.resample(frame)]
            if sum(map(len, parts)) >= left:
                break
    parts += [one.to_ndarray().reshape(-1) for one in resampler.resample(None)]
    return np.concatenate([*parts, np.zeros(0, np.float32)])[:left].astype(np.float32)
