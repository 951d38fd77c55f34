"""The last steps of both modes: the film in its final shape, looked at once more."""

from pathlib import Path

from gpulease.contract.engines import MusetalkInput
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineJob, MadeFile, Report
from worker_image.faults import Faulted, HostFault
from worker_image.media.film import reframe
from worker_image.media.probe import Media, require_video

NAME = "video.mp4"


def finish(job: EngineJob, asked: MusetalkInput, film: Path, report: Report) -> tuple[MadeFile, Media]:
    """Gives the film the shape that was asked for, and its name.

    Raises:
        HostFault: it is no film with sound.
    """
    check_film(film)
    path = job.out / NAME
    if asked.aspect_ratio or asked.resolution:
        report(0.8, "cutting to shape", phase=Phase.ENCODING)
        reframe(film, path, asked.aspect_ratio, asked.resolution)
    else:
        film.replace(path)
    return MadeFile(NAME, str(path), "video/mp4"), check_film(path)


def check_film(path: Path) -> Media:
    try:
        found = require_video(path, "the result")
    except Faulted as fault:
        raise HostFault(
            "result_invalid", f"MuseTalk left a film that cannot be played: {fault.message}"
        ) from fault
    if not found.has_audio:
        raise HostFault("result_invalid", "MuseTalk left a film without sound")
    return found


def facts_of(film: Media, fps: int, frames: int) -> dict[str, float | int | None]:
    size = {"width": film.width, "height": film.height}
    return {"frames": frames, "fps": fps, "duration_s": film.duration_s, **size}
