"""`video` by a text-to-video pipeline of diffusers, with weights from a folder here: Mochi, Wan and their kind."""

import json
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import VideoInput
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob, MadeFile, Outcome, Report
from worker_image.engines.video.clip import write_mp4
from worker_image.engines.video.pipeline import Pipeline, open_pipeline
from worker_image.engines.video.shape import shape_of
from worker_image.faults import HostFault

PIPELINES = (
    "MochiPipeline",
    "WanPipeline",
    "LTXPipeline",
    "CogVideoXPipeline",
    "HunyuanVideoPipeline",
)
"""Classes of diffusers that make a video from nothing but words."""

_NEEDED = ("torch", "diffusers", "transformers", "av")
_STEPS = {"low": 24, "medium": 40, "high": 64}


class Diffused:
    name = "diffusers"
    engine = "video"

    def __init__(self, config: EngineConfig) -> None:
        self._device = config.device
        self._folder = Path(config.video_models) if config.video_models else None
        self._pipeline: Pipeline | None = None
        self._loaded: str | None = None

    def probe(self) -> EngineOffer | str:
        if self._folder is None:
            return "no folder of pipelines is set (GPULEASE_VIDEO_MODELS)"
        missing = [name for name in _NEEDED if find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} is not installed: install gpulease[video]"
        models = models_in(self._folder)
        if not models:
            return f"{self._folder} has no folder with a text-to-video pipeline (model_index.json)"
        gib = max(map(_weights_bytes, models.values())) / 2**30
        return EngineOffer(engine=self.engine, backend=self.name, models=tuple(models), vram_gb=round(gib, 1))

    def load(self, model: str | None) -> str | None:
        models = models_in(self._folder) if self._folder else {}
        chosen = model or next(iter(models), "none")
        if chosen not in models:
            raise HostFault("model_missing", f"this worker has no video model {chosen!r}")
        if chosen != self._loaded:
            self.unload()
            self._pipeline = open_pipeline(models[chosen], self._device)
            self._loaded = chosen
        return chosen

    def unload(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = self._loaded = None

    def run(self, job: EngineJob, report: Report) -> Outcome:
        pipeline = self._pipeline
        if pipeline is None:
            raise HostFault("model_missing", "no video model is loaded")
        asked = VideoInput.model_validate(job.input)
        shape = shape_of(asked, pipeline.grid)
        steps = asked.steps or _STEPS[asked.quality]
        seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
        report(0.0, "denoising", step=0, total_steps=steps)
        wanted = {
            "prompt": asked.prompt,
            "negative_prompt": asked.negative_prompt,
            "steps": steps,
            "seed": seed,
        }
        frames, ignored = pipeline.frames(wanted, shape, _counting(report, steps))
        path = job.out / "video.mp4"
        write_mp4(frames, shape, path, lambda done: _encoding(report, done, shape.frames))
        facts = {
            "seed": seed,
            "steps": steps,
            "frames": shape.frames,
            "width": shape.width,
            "height": shape.height,
            "fps": shape.fps,
            "duration_s": round(shape.frames / shape.fps, 3),
            "pipeline": pipeline.name,
            "device": pipeline.device,
        }
        files = (MadeFile(path.name, str(path), "video/mp4"),)
        return Outcome(self._loaded, data=facts, files=files, metrics=pipeline.metrics(), ignored=ignored)


def models_in(folder: Path) -> dict[str, Path]:
    """Folders with a pipeline that we can drive, by name; Mochi's first."""
    found = {}
    for index in sorted(folder.glob("*/model_index.json")):
        try:
            kind = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
        except (OSError, ValueError, AttributeError):
            continue
        if kind in PIPELINES:
            found[index.parent.name] = (PIPELINES.index(kind), index.parent)
    return {name: path for name, (_, path) in sorted(found.items(), key=lambda one: one[1][0])}


def _weights_bytes(folder: Path) -> int:
    """Weights in several precisions lie side by side; those that are loaded are the ones without a variant."""
    files = (path for path in folder.glob("*/*.safetensors") if path.name.count(".") == 1)
    return sum(path.stat().st_size for path in files)


def _counting(report: Report, steps: int) -> Any:
    def counted(done: int) -> None:
        message = f"step {done} of {steps}" if done < steps else "decoding"
        report(done / steps, message, step=done, total_steps=steps)

    return counted


def _encoding(report: Report, done: int, frames: int) -> None:
    report(done / frames, "encoding", phase=Phase.ENCODING, step=done, total_steps=frames)
