"""A film from still frames, through PyAV."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

QUALITY_CRF = "18"


def encode_mp4(
    frames: Sequence[Path], frames_per_s: int, path: Path, on_frame: Callable[[int], None]
) -> None:
    """H.264 in MP4 with even dimensions (a last odd row or column is cut). `on_frame` gets the count done."""
    import av  # noqa: PLC0415  Only engines that make films have it.

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=frames_per_s, options={"crf": QUALITY_CRF})
        stream.pix_fmt = "yuv420p"
        for number, frame_path in enumerate(frames):
            with av.open(str(frame_path)) as still:
                image = next(still.decode(video=0))
            if number == 0:
                stream.width, stream.height = image.width // 2 * 2, image.height // 2 * 2
            frame = image.reformat(stream.width, stream.height, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, frames_per_s)
            container.mux(stream.encode(frame))
            on_frame(number + 1)
        container.mux(stream.encode(None))
