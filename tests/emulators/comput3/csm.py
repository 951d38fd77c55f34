"""The CSM page of a node: speech from a JSON array of utterances, spoken by a small local model."""

import asyncio
import json
from pathlib import Path
from typing import Any

import av

from comput3.gradio_app import Blocks
from comput3.gradio_parts import GradioError, Part, dropdown, slider, textbox
from comput3.models import LocalModels
from comput3.work import Work

VOICES = ("random_voice", "conversational_a", "conversational_b", "upload_voice")
MONOLOGUE = '["I\'ll be reading a haiku for you today.", "Scrolling endlessly"]'


def csm_page(models: LocalModels, work: Work) -> Blocks:
    async def process_monologue(values: list[Any], folder: Path) -> list[Any]:
        await work.begin("csm_error")
        return [await _speak(models, values, folder)]

    return Blocks(
        api_name="generate_monologue_audio",
        inputs=(
            dropdown("Speaker Voice", VOICES, "conversational_a"),
            textbox("Speaker Reference Text"),
            Part("audio", "Speaker Reference Audio"),
            textbox("Enter monologue as JSON array", MONOLOGUE),
            slider("Temperature", (0.1, 2.0), 0.9, 0.1),
            slider("Top-k", (1, 100), 50, 1),
            slider("Max Audio Length (ms)", (1000, 30000), 10000, 1000),
            slider("Pause Between Utterances (ms)", (0, 1000), 150, 10),
        ),
        outputs=(Part("audio", "Generated MP3"),),
        function=process_monologue,
        others=("generate_conversation_audio", "toggle_monologue_upload"),
    )


async def _speak(models: LocalModels, values: list[Any], folder: Path) -> Path:
    voice, _, audio, monologue, temperature, topk, length_ms, pause_ms = values
    lines = json.loads(monologue)
    if not isinstance(lines, list) or not lines:
        raise GradioError("Generation failed: Invalid JSON format")
    if voice == "upload_voice" and audio is not None:
        await asyncio.to_thread(_check_mono, audio)
    asked = {
        "monologue": lines,
        "voice": "random" if voice == "random_voice" else "conversational_a",
        "temperature": temperature,
        "topk": int(topk),
        "max_audio_length": int(length_ms) * len(lines),
        "pause_duration": int(pause_ms),
    }
    made = await models.run("csm", asked, {}, folder)
    return Path(made.files[0].path)


def _check_mono(path: Path) -> None:
    """The real page cannot take anything else."""
    with av.open(str(path)) as container:
        if container.streams.audio[0].channels != 1:
            raise GradioError("Generation failed: tensors of other sizes")
