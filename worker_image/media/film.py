"""Films: from still frames, through PyAV, and into another shape, through ffmpeg."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from worker_image.media.probe import require_video
from worker_image.media.programs import named, run_ffmpeg

QUALITY_CRF = "18"
SOUND_BITS_PER_S = "192k"
_SOUND = ("-c:a", "aac", "-b:a", SOUND_BITS_PER_S)
_PICTURE = ("-c:v", "libx264", "-crf", QUALITY_CRF, "-pix_fmt", "yuv420p")
_MP4 = ("-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4")

Size = tuple[int, int]


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


def reframe(
    path: Path,
    out: Path,
    aspect_ratio: str | None = None,
    resolution: str | None = None,
    on_seconds: Callable[[float], None] = lambda _: None,
) -> Size:
    """Writes the film in another shape as MP4 (H.264, AAC if there is sound) and returns its size.

    `aspect_ratio` is like "9:16", cut out of the middle; `resolution` is like "720p", the shorter side. `on_seconds`
    gets the seconds done, at least four times a second; what it raises ends the work.

    Raises:
        InputFault: it is no video.
        HostFault: ffmpeg is missing.
    """
    film = require_video(path, "the film")
    width, height = shape((film.width, film.height), aspect_ratio, resolution)
    cover = f"scale={width}:{height}:force_original_aspect_ratio=increase:flags=lanczos"
    picture = (*_PICTURE, "-vf", f"{cover},crop={width}:{height},setsar=1")
    tracks = ("-map", "0:v:0", "-map", "0:a:0?")
    run_ffmpeg([*film.arguments, *tracks, *picture, *_SOUND, *_MP4, named(out)], on_seconds=on_seconds)
    return width, height


def shape(size: Size, aspect_ratio: str | None, resolution: str | None) -> Size:
    """The size of a film of this size after the two: even numbers, and without a resolution never larger."""
    wide, high = (int(part) for part in aspect_ratio.split(":")) if aspect_ratio else size
    scale = min(size[0] / wide, size[1] / high)
    if resolution:
        scale = int(resolution.removesuffix("p")) / min(wide, high)
    return max(round(wide * scale / 2) * 2, 2), max(round(high * scale / 2) * 2, 2)
