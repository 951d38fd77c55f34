"""What a render made: whether it is all there, and as which files the client gets it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpulease.contract.jobs import Phase
from worker_image.engines.base import MadeFile, Outcome, Report
from worker_image.engines.blender.plan import Plan
from worker_image.engines.program import Ended
from worker_image.faults import HostFault, InputFault
from worker_image.media.archive import zip_files
from worker_image.media.film import encode_mp4

FILES_MAX = 100
"""More pictures than that are one zip, whatever was asked for."""
_KINDS = {"png": "image/png", "jpg": "image/jpeg", "exr": "image/x-exr"}
_STARTS = {"png": b"\x89PNG", "jpg": b"\xff\xd8\xff", "exr": b"\x76\x2f\x31\x01"}


def outcome_of(plan: Plan, folder: Path, facts: dict[str, Any], report: Report) -> Outcome:
    """Of a render whose pictures are all there."""
    cameras = facts["pictures_a_frame"]
    data = {"frames": len(plan.frames), "render_engine": facts["render_engine"], "device": facts["device"]}
    if plan.asked.cameras == "all":
        data["cameras"] = facts["cameras"]
    if plan.asked.materials:
        data["material_slots"] = facts["materials"]
    if facts["missing_count"]:
        data |= {"missing": facts["missing"], "missing_count": facts["missing_count"]}
    return Outcome(
        model=facts["version"],
        data=data,
        files=_files(plan, folder, cameras, report),
        ignored=tuple(facts["ignored"]),
    )


def check_pictures(plan: Plan, out: Path, ended: Ended, facts: dict[str, Any]) -> None:
    """Blender's exit code says little; the pictures say all.

    Raises:
        InputFault: the file cannot be opened, or has not what the job asks for.
        HostFault: pictures are missing.
    """
    if "fault" in facts:
        raise InputFault("blend_invalid", facts["fault"])
    cameras = facts.get("pictures_a_frame", 1)
    names = [name for frame in plan.frames for name in plan.pictures(frame, cameras)]
    missing = [name for name in names if not _is_picture(out / name)]
    if not missing and "pictures_a_frame" in facts:
        return
    detail = f"{len(missing)} of {len(names)} pictures are missing, the first is {(missing or names)[0]}"
    if ended.code < 0:
        raise HostFault(
            "blender_killed", f"Blender was killed by signal {-ended.code}; {detail}\n{ended.last}"
        )
    raise HostFault("render_failed", f"{detail}\n{ended.last}")


def _is_picture(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4).startswith(_STARTS[path.suffix[1:]])


def _files(plan: Plan, folder: Path, cameras: int, report: Report) -> tuple[MadeFile, ...]:
    out = folder / "out"
    if plan.asked.output == "MP4":
        several = plan.asked.cameras == "all"
        names = [f"film_cam{number}.mp4" if several else "film.mp4" for number in range(cameras)]
        return tuple(_film(plan, folder / name, number, report) for number, name in enumerate(names))
    made = [out / name for frame in plan.frames for name in plan.pictures(frame, cameras)]
    if len(made) == 1 or (plan.asked.pack == "each" and len(made) <= FILES_MAX):
        return tuple(MadeFile(one.name, str(one), _KINDS[one.suffix[1:]]) for one in made)
    report(0.0, "packing frames", phase=Phase.ENCODING)
    archive = folder / "frames.zip"
    zip_files(made, out, archive)
    return (MadeFile(archive.name, str(archive), "application/zip"),)


def _film(plan: Plan, target: Path, camera: int, report: Report) -> MadeFile:
    frames = [target.parent / "out" / name for name in plan.of_camera(camera)]
    encode_mp4(frames, plan.asked.fps, target, _counting(report, len(frames)))
    return MadeFile(target.name, str(target), "video/mp4")


def _counting(report: Report, frames: int) -> Callable[[int], None]:
    return lambda done: report(
        done / frames, "encoding film", phase=Phase.ENCODING, step=done, total_steps=frames
    )
