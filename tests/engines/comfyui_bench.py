"""Jobs for an emulated ComfyUI, and what was said while they ran."""

import math
import struct
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from comfyui.server import ComfyServer
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineJob
from worker_image.engines.comfyui.client import ComfyUI
from worker_image.engines.comfyui.run import Patience
from worker_image.host.process import Step

QUICK = Patience(
    connect_s_max=1.0, look_s=0.3, look_deaf_s=0.1, look_over_s=0.05, silence_s_max=0.6, cancel_s_max=1.0
)
URL = "https://example.com/input"
WORKFLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "face.png"}},
    "2": {
        "class_type": "ImageScale",
        "inputs": {
            "image": ["1", 0],
            "upscale_method": "lanczos",
            "width": 32,
            "height": 20,
            "crop": "disabled",
        },
    },
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "scaled"}},
}


def workflow(**changed: dict[str, Any]) -> dict[str, Any]:
    """The one above, with other inputs of some of its nodes, by class."""
    return {
        node: {**one, "inputs": {**one["inputs"], **changed.get(one["class_type"], {})}}
        for node, one in WORKFLOW.items()
    }


class Bench:
    """Runs jobs on one server. `on_step` is called at each step, and may raise."""

    def __init__(self, comfy: ComfyServer, folder: Path) -> None:
        self.comfy = comfy
        self.steps: list[Step] = []
        self.on_step: Callable[[Step], None] = lambda _: None
        self.image = folder / "face"
        self.sound = folder / "voice.wav"
        self._folder = folder
        Image.new("RGB", (60, 48), "red").save(self.image, "PNG")
        write_tone(self.sound, 1.2)

    def report(
        self,
        share: float,
        message: str | None = None,
        *,
        phase: Phase = Phase.INFERRING,
        step: int | None = None,
        total_steps: int | None = None,
    ) -> None:
        self.steps.append(Step(phase, share, message, step, total_steps))
        self.on_step(self.steps[-1])

    def server(self) -> ComfyUI:
        return ComfyUI(self.comfy.url, call_s_max=5.0)

    def job(self, engine: str, asked: dict[str, Any], files: dict[str, Path]) -> EngineJob:
        folder = self._folder / f"job-{len(list(self._folder.glob('job-*')))}"
        folder.mkdir()
        named = {name: str(path) for name, path in files.items()}
        return EngineJob(folder.name, engine, None, asked, named, str(folder))

    def work(self, graph: dict[str, Any]) -> EngineJob:
        asked = {"workflow": graph, "inputs": {"face.png": URL}}
        return self.job("comfyui", asked, {"inputs.face.png": self.image})

    def portrait(self, **asked: Any) -> EngineJob:
        files = {"image_url": self.image, "audio_url": self.sound}
        return self.job("portrait", {**dict.fromkeys(files, URL), **asked}, files)

    def said(self) -> list[str]:
        return [step.message for step in self.steps if step.message]


def write_tone(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        count = int(seconds * 16_000)
        file.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(at / 6))) for at in range(count)))
