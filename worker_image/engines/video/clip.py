"""A film from frames in memory, through PyAV."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from worker_image.engines.video.shape import Shape

QUALITY_CRF = "18"


def write_mp4(frames: Any, shape: Shape, path: Path, on_frame: Callable[[int], None]) -> None:
    """H.264 in MP4 of the first frames of an array (frames, height, width, 3) of 0 to 1, cut to the middle."""
    import av  # noqa: PLC0415  Only engines that make films have it.

    top, left = (shape.made_height - shape.height) // 2, (shape.made_width - shape.width) // 2
    cut = frames[: shape.frames, top : top + shape.height, left : left + shape.width]
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=shape.fps, options={"crf": QUALITY_CRF})
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = shape.width, shape.height
        for number, one in enumerate(cut):
            pixels = (one.clip(0.0, 1.0) * 255).round().astype("uint8")
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, shape.fps)
            container.mux(stream.encode(frame))
            on_frame(number + 1)
        container.mux(stream.encode(None))
