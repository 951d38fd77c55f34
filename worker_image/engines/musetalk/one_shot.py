"""`musetalk`, a process a job: MuseTalk's own script, held to what it says and to what it leaves."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import MusetalkInput, MusetalkParams
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob, Outcome, Report
from worker_image.engines.musetalk.checkout import MODEL, environment, offer, on_gpu, python_of, root_of
from worker_image.engines.musetalk.finish import facts_of, finish
from worker_image.engines.musetalk.materials import Materials, prepare, write_film
from worker_image.engines.musetalk.safe import safe_name
from worker_image.engines.musetalk.stages import Watch
from worker_image.engines.musetalk.verdict import blame, ignored_by_v15
from worker_image.engines.program import Ended, run_program
from worker_image.faults import HostFault, InputFault
from worker_image.media.programs import named, run_ffmpeg

_TIMER = Path("/usr/bin/time")
_CLOCK_SLACK_S = 2.0
_OPTIONS = (
    "batch_size",
    "extra_margin",
    "parsing_mode",
    "left_cheek_width",
    "right_cheek_width",
    "audio_padding_length_left",
    "audio_padding_length_right",
)


class OneShot:
    name = "musetalk-one-shot"
    engine = "musetalk"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    def probe(self) -> EngineOffer | str:
        return offer(self._config, self.name, "one-shot")

    def load(self, model: str | None) -> str | None:  # noqa: ARG002  Nothing stays in memory.
        return None

    def unload(self) -> None:
        pass

    def run(self, job: EngineJob, report: Report) -> Outcome:
        asked = MusetalkInput.model_validate(job.input)
        with safe_name(Path(job.folder)) as place:
            materials = prepare(job, asked.params, place, report)
            write_film(materials, place / "avatar.mp4", _preparing(report))
            watch, made = self._made(place, materials, asked.params, report)
            ended_at = time.monotonic()
            report(0.5, "adding the sound", phase=Phase.ENCODING)
            _with_sound(made, materials, place / "film.mp4")
            file, film = finish(job, asked, Path(job.folder, "film.mp4"), report)
        metrics: dict[str, float | int | str] = {}
        if watch.inferring_since is not None:
            metrics["GENERATION_TIME_SEC"] = round(ended_at - watch.inferring_since, 3)
        if watch.peak_ram_kb is not None:
            metrics["PEAK_RAM_KB"] = watch.peak_ram_kb
        facts = facts_of(film, materials.fps, materials.frames)
        return Outcome(MODEL, None, facts, (file,), metrics, ignored_by_v15(asked.params))

    def _made(
        self, place: Path, materials: Materials, params: MusetalkParams, report: Report
    ) -> tuple[Watch, Path]:
        """Runs the script on what lies in `place`, and returns the film that it says it saved there."""
        task = f'task_0:\n  video_path: "{place}/avatar.mp4"\n  audio_path: "{materials.speech.voice}"\n'
        (place / "task.yaml").write_text(task)
        results = place / "results"
        results.mkdir()
        watch, began = Watch(report), time.time()
        argv, around = self._argv(place, params), {**os.environ, **environment(self._config)}
        ended = run_program(argv, root_of(self._config), watch.on_line, around)
        return watch, _saved(watch, ended, root_of(self._config), results, began)

    def _argv(self, place: Path, params: MusetalkParams) -> list[str]:
        timed = [str(_TIMER), "-v"] if sys.platform == "linux" and _TIMER.is_file() else []
        argv = [*timed, python_of(self._config), "-m", "scripts.inference", "--version", "v15"]
        argv += ["--inference_config", f"{place}/task.yaml", "--result_dir", f"{place}/results"]
        argv += ["--unet_model_path", self._config.musetalk_unet_model]
        argv += ["--unet_config", self._config.musetalk_unet_config]
        for name in _OPTIONS:
            argv += [f"--{name}", str(getattr(params, name))]
        half = on_gpu(self._config) if params.use_float16 is None else params.use_float16
        return [*argv, "--use_float16"] if half else argv


def _preparing(report: Report) -> Callable[[float], None]:
    return lambda _: report(0.0, "reading the frames", phase=Phase.PREPARING)


def _saved(watch: Watch, ended: Ended, root: Path, results: Path, began: float) -> Path:
    """The film, if the script said that it saved one, and it is there, new, and where it belongs."""
    _check_end(watch, ended)
    assert watch.saved is not None  # noqa: S101  Checked with the end.
    path = Path(root, watch.saved)
    with suppress(OSError):
        about = path.stat()
        inside = path.resolve().is_relative_to(results.resolve())
        if inside and path.is_file() and about.st_size and about.st_mtime >= began - _CLOCK_SLACK_S:
            return path
    raise HostFault(
        "no_result", f"MuseTalk said that it saved {watch.saved}, where no new film is\n{ended.last}"
    )


def _check_end(watch: Watch, ended: Ended) -> None:
    words = "\n".join(watch.words)
    killed = watch.signal or (-ended.code if ended.code < 0 else None)
    if killed is not None:
        raise blame(words) or HostFault(
            "musetalk_killed", f"MuseTalk was killed by signal {killed}\n{words[-1500:]}"
        )
    if watch.saved is not None and not watch.error and ended.code == 0:
        return
    how = f"exit code {ended.code}" if ended.code else "exit code 0, but it saved no film"
    failed = HostFault("musetalk_failed", f"MuseTalk ended with {how}\n{words[-1500:]}")
    found = blame(words) or failed
    raise failed if found.code == "no_face" and not watch.frames else found


def _with_sound(made: Path, materials: Materials, path: Path) -> None:
    """MuseTalk's film carries the 16 kHz voice, and the silence that filled its last second."""
    pictures = ["-f", "mov", "-i", named(made), "-f", "mov", "-i", named(materials.speech.sound)]
    picked = ["-map", "0:v:0", "-map", "1:a:0", "-c", "copy", "-t", f"{materials.speech.seconds:.3f}"]
    try:
        run_ffmpeg([*pictures, *picked, "-movflags", "+faststart", named(path)])
    except InputFault as fault:
        raise HostFault(
            "result_invalid", f"MuseTalk left a film that cannot be played: {fault.message}"
        ) from fault
