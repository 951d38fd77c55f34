"""`musetalk` with its models in memory: loaded once, so that a job begins at inference."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import MusetalkInput, MusetalkParams
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob, Outcome, Report
from worker_image.engines.musetalk.checkout import MODEL, offer, on_gpu
from worker_image.engines.musetalk.driver import Driver, Failed, Said
from worker_image.engines.musetalk.finish import facts_of, finish
from worker_image.engines.musetalk.materials import Materials, prepare
from worker_image.engines.musetalk.pictures import Pictures, PictureStore
from worker_image.engines.musetalk.verdict import blame, ignored_by_v15, no_face, sound_unusable
from worker_image.faults import GPU_CODES, Faulted, HostFault
from worker_image.media.programs import ffmpeg

_FATAL = GPU_CODES | {"musetalk_killed", "musetalk_silent"}


class Resident:
    name = "musetalk"
    engine = "musetalk"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._driver: Driver | None = None
        self._pictures = PictureStore(Path(tempfile.gettempdir(), "musetalk-pictures"))

    def probe(self) -> EngineOffer | str:
        return offer(self._config, self.name, "resident")

    def load(self, model: str | None) -> str:
        if model not in (None, MODEL):
            raise HostFault("model_missing", f"this worker has MuseTalk {MODEL}, not {model}")
        if self._driver is None or not self._driver.alive:
            self._end_driver()
            try:
                self._driver = Driver.start(self._config)
            except Failed as failed:
                raise blame(failed.words) or failed from failed
        return MODEL

    def unload(self) -> None:
        self._end_driver()
        self._pictures.clear()

    def run(self, job: EngineJob, report: Report) -> Outcome:
        asked = MusetalkInput.model_validate(job.input)
        materials = prepare(job, asked.params, Path(job.folder), report)
        pictures = self._pictures.of(
            materials,
            lambda seconds: report(0.0, f"reading the frames, {seconds:.0f} s", phase=Phase.PREPARING),
        )
        film = Path(job.folder, "film.mp4")
        said = self._spoken(_order(asked.params, materials, pictures, film), report)
        report(0.5, "looking at the film", phase=Phase.ENCODING)
        file, shown = finish(job, asked, film, report)
        facts = facts_of(shown, materials.fps, materials.frames)
        metrics = {"GENERATION_TIME_SEC": said["facts"].pop("GENERATION_TIME_SEC")}
        ignored = (*ignored_by_v15(asked.params), *self._precision_ignored(asked.params))
        return Outcome(MODEL, None, {**facts, **said["facts"]}, (file,), metrics, ignored)

    def _spoken(self, order: Said, report: Report) -> Said:
        """The job's last words. A fault of memory or of the GPU ends the process, and so frees its models."""
        if self._driver is None:
            raise HostFault("musetalk_failed", "MuseTalk's models are not loaded")
        try:
            return _judged(self._driver.run(order, _progress_to(report)))
        except Faulted as fault:
            if fault.code in _FATAL:
                self._end_driver()
            raise

    def _precision_ignored(self, params: MusetalkParams) -> tuple[str, ...]:
        """Precision is chosen when the models are loaded."""
        given = params.use_float16
        return ("params.use_float16",) if given is not None and given != on_gpu(self._config) else ()

    def _end_driver(self) -> None:
        if self._driver is not None:
            self._driver.end()
            self._driver = None


def _order(params: MusetalkParams, materials: Materials, pictures: Pictures, film: Path) -> Said:
    speech = asdict(materials.speech)
    return {
        "avatar": pictures.key,
        "pictures": str(pictures.folder),
        "picture_count": pictures.count,
        "voice": str(speech["voice"]),
        "sound": str(speech["sound"]),
        "seconds": speech["seconds"],
        "fps": materials.fps,
        "frames": materials.frames,
        "params": params.model_dump(),
        "ffmpeg": ffmpeg(),
        "out": str(film),
    }


def _progress_to(report: Report) -> Any:
    """In silence the last report is repeated, which tells nobody anything but notices a cancel."""
    last: Said = {"share": 0.0, "message": "moving the lips", "step": None, "total_steps": None}

    def on_progress(said: Said | None) -> None:
        nonlocal last
        last = said or last
        report(last["share"], last["message"], step=last["step"], total_steps=last["total_steps"])

    return on_progress


def _judged(said: Said) -> Said:
    match said["is"]:
        case "done":
            return said
        case "no-face":
            raise no_face()
        case "failed" if said["exited"]:
            raise sound_unusable("")
        case "failed":
            raise blame(said["words"]) or Failed(said["words"])
        case other:
            raise HostFault("musetalk_failed", f"MuseTalk's process said {other!r}")
