"""Sizes: models make frames in steps of their own, so a little more is made than was asked for, and cut."""

from dataclasses import dataclass

from gpulease.contract.engines import VideoInput
from worker_image.faults import InputFault

FRAMES_MAX = 1024
PIXELS_MAX = 4096 * 2304


@dataclass(frozen=True, slots=True)
class Grid:
    """What a pipeline makes: k times `frame_step` + 1 frames, with sides that are multiples of `side_step` pixels."""

    frame_step: int
    side_step: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What was asked for (`frames`, `width`, `height`), and what the pipeline is to make so that it is in there."""

    frames: int
    width: int
    height: int
    fps: int
    made_frames: int
    made_width: int
    made_height: int


def shape_of(asked: VideoInput, grid: Grid) -> Shape:
    """Raises: InputFault: more frames or pixels than any such pipeline makes."""
    frames = max(1, round(asked.duration * asked.fps))
    if frames > FRAMES_MAX:
        raise InputFault(
            "video_too_long", f"duration: {frames} frames at {asked.fps} fps; {FRAMES_MAX} are allowed"
        )
    if asked.width * asked.height > PIXELS_MAX:
        raise InputFault(
            "video_too_big", f"width: {asked.width}x{asked.height}; {PIXELS_MAX} pixels are allowed"
        )
    return Shape(
        frames,
        asked.width,
        asked.height,
        asked.fps,
        _up(frames - 1, grid.frame_step) + 1,
        _up(asked.width, grid.side_step),
        _up(asked.height, grid.side_step),
    )


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
