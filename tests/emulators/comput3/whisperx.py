"""The WhisperX page of a node: text from sound by a small local model. Failures look like a success."""

import json
from pathlib import Path
from typing import Any

from comput3.gradio_app import Blocks
from comput3.gradio_parts import Part, checkbox, dropdown, number, textbox
from comput3.models import LocalModels
from comput3.work import Work
from worker_image.faults import InputFault

MODELS = ("tiny.en",)
INPUTS = (
    Part("audio", "Upload Audio File"),
    dropdown("Whisper Model", MODELS, MODELS[0]),
    dropdown("Task", ("transcribe", "translate"), "transcribe"),
    textbox("Language Code (e.g., en, fr, de)", ""),
    dropdown("Device", ("cuda", "cpu"), "cuda"),
    dropdown("Compute Type", ("float16", "float32", "int8"), "float16"),
    number("Batch Size", (1, 64), 16),
    textbox("Alignment Model Name", ""),
    checkbox("Skip Alignment"),
    dropdown("Interpolation Method", ("nearest", "linear", "ignore"), "nearest"),
    checkbox("Return Character Alignments"),
    dropdown("VAD Method", ("pyannote", "silero"), "pyannote"),
    number("VAD Onset", (0.0, 1.0), 0.5, 0.001),
    number("VAD Offset", (0.0, 1.0), 0.363, 0.001),
    number("Chunk Size (s)", (1, 120), 30),
    checkbox("Enable Speaker Diarization"),
    textbox("Min Speakers", ""),
    textbox("Max Speakers", ""),
    number("Temperature", (0.0, 2.0), 0, 0.1),
    number("Best of", (1, 10), 5),
    number("Beam Size", (1, 10), 5),
    number("Patience", (0.0, 5.0), 1.0, 0.1),
    number("Length Penalty", (0.0, 5.0), 1.0, 0.1),
    textbox("Suppress Tokens", "-1"),
    checkbox("Suppress Numerals"),
    checkbox("Condition on Previous Text", value=True),
    textbox("Initial Prompt", ""),
    Part("checkbox", "Checkbox", value=True, props={"visible": False}),
    checkbox("Highlight Words"),
    textbox("Max Line Width", ""),
    textbox("Max Line Count", ""),
    dropdown("Segment Resolution", ("sentence", "chunk"), "sentence"),
    number("Repetition Penalty", (0.0, 5.0), 1.0, 0.1),
    number("Compression Ratio Threshold", (0.0, 10.0), 2.4, 0.1),
    number("Log Probability Threshold", (-10.0, 0.0), -1.0, 0.1),
    number("No Speech Threshold", (0.0, 1.0), 0.6, 0.01),
    textbox("Hotwords", ""),
)


def whisperx_page(models: LocalModels, work: Work) -> Blocks:
    async def transcribe_audio(values: list[Any], folder: Path) -> list[Any]:
        try:
            await work.begin("whisper_error")
            return await _hear(models, values, folder)
        except Exception as error:  # noqa: BLE001  As the real page does, which is what clients must live with.
            return [f"Error: {error}", []]

    return Blocks(
        api_name="transcribe_audio",
        inputs=INPUTS,
        outputs=(Part("textbox", "Transcript"), Part("file", "Download Transcription Files")),
        function=transcribe_audio,
    )


async def _hear(models: LocalModels, values: list[Any], folder: Path) -> list[Any]:
    audio, model, task, language = values[:4]
    if audio is None:
        raise ValueError("expected str, bytes or os.PathLike object, not NoneType")
    asked = {"model": model, "task": task, "language": language or ""}
    try:
        made = await models.run("whisper", asked, {"audio_url": str(audio)}, folder)
    except InputFault as fault:  # The real page says it in ffmpeg's words.
        raise RuntimeError(f"Failed to load audio: {fault.message}") from fault
    found = {Path(one.path).suffix: Path(one.path) for one in made.files}
    segments = json.loads(found[".json"].read_text(encoding="utf-8"))["segments"]
    text = "".join(f"{one['text'].strip()}\n" for one in segments)
    found[".txt"].write_text(text, encoding="utf-8")
    found[".json"].write_text(json.dumps(_aligned(segments), ensure_ascii=False, indent=2), encoding="utf-8")
    return [text, [found[suffix] for suffix in (".json", ".txt", ".srt", ".vtt")]]


def _aligned(segments: list[dict[str, Any]]) -> dict[str, Any]:
    """The result as WhisperX writes it after its alignment."""
    shown = [{**one, "words": [_scored(word) for word in one["words"]]} for one in segments]
    return {"segments": shown, "word_segments": [word for one in shown for word in one["words"]]}


def _scored(word: dict[str, Any]) -> dict[str, Any]:
    return {
        "word": word["word"],
        "start": word["start"],
        "end": word["end"],
        "score": word["probability"],
    }
