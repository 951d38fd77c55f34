"""`csm` by hibari: small neural speech with its weights in the package, on the CPU, 24 kHz mono, one voice."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import CsmInput
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob, MadeFile, Outcome, Report
from worker_image.faults import InputFault
from worker_image.media.sound import write_mp3

MODEL = "hibari"
_MEANINGLESS = ("temperature", "topk", "reference_audio_url", "reference_text")


@dataclass(frozen=True, slots=True)
class _Speech:
    """Float32 arrays, in order, and whether more was asked for than fits."""

    parts: list[Any]
    samples: int
    truncated: bool


class Hibari:
    name = "hibari"
    engine = "csm"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._model: Any = None

    def probe(self) -> EngineOffer | str:
        missing = [package for package in ("hibari", "av") if find_spec(package) is None]
        if missing:
            return f"not installed: {', '.join(missing)} (pip install 'gpulease[demo]')"
        return EngineOffer(engine=self.engine, backend=self.name, models=(MODEL,))

    def load(self, model: str | None) -> str:
        if model not in (None, MODEL):
            raise InputFault("model_unknown", f"csm by hibari has the model {MODEL!r} only, not {model!r}")
        if self._model is None:
            from hibari import Hibari as Model  # noqa: PLC0415  Loading it takes a second.

            self._model = Model()
        return MODEL

    def unload(self) -> None:
        self._model = None

    def run(self, job: EngineJob, report: Report) -> Outcome:
        asked = CsmInput.model_validate(job.input)
        if asked.voice == "clone":
            raise InputFault("clone_unsupported", "hibari cannot clone voices; ask for another voice")
        if not any(letter.isalnum() for text in asked.sentences() for letter in text):
            raise InputFault("nothing_to_say", "the text holds nothing that can be spoken")
        seed = secrets.randbits(31) if asked.voice == "random" else 0
        speech = self._speak(asked, seed, report)
        report(0.0, "writing MP3", phase=Phase.ENCODING)
        path = job.out / "speech.mp3"
        write_mp3(speech.parts, self._model.sample_rate, path)
        return Outcome(
            model=MODEL,
            data=self._facts(asked, seed, speech),
            files=(MadeFile(path.name, str(path), "audio/mpeg"),),
            ignored=_ignored(asked),
        )

    def _speak(self, asked: CsmInput, seed: int, report: Report) -> _Speech:
        rate_hz = self._model.sample_rate
        samples_max = asked.max_audio_length * rate_hz // 1000
        parts: list[Any] = []
        samples = 0
        for part in self._sounds(asked, seed, report):
            kept = part[: samples_max - samples]
            if len(kept):
                parts.append(kept)
            samples += len(kept)
            if len(kept) < len(part):
                return _Speech(parts, samples, truncated=True)
        return _Speech(parts, samples, truncated=False)

    def _sounds(self, asked: CsmInput, seed: int, report: Report) -> Iterator[Any]:
        """Sentences with a pause between each two; progress goes by their length in letters."""
        import numpy as np  # noqa: PLC0415  It comes with the model.

        sentences = [one for text in asked.sentences() for one in self._model.split_sentences(text)]
        letters, done = sum(map(len, sentences)) or 1, 0
        pause = np.zeros(asked.pause_duration * self._model.sample_rate // 1000, np.float32)
        for number, sentence in enumerate(sentences):
            shown = f"sentence {number + 1} of {len(sentences)}"
            report(done / letters, shown, step=number, total_steps=len(sentences))
            sound = self._model(sentence, seed=seed + number)
            if number and len(sound):
                yield pause
            yield sound
            done += len(sentence)

    def _facts(self, asked: CsmInput, seed: int, speech: _Speech) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "seed": seed,
            "sample_rate_hz": self._model.sample_rate,
            "duration_s": round(speech.samples / self._model.sample_rate, 3),
            "truncated": speech.truncated,
        }
        if speech.truncated:
            facts["note"] = f"cut at max_audio_length, {asked.max_audio_length} ms; raise it to hear the rest"
        return facts


def _ignored(asked: CsmInput) -> tuple[str, ...]:
    """What was set away from its default and means nothing here; the only voice is not a conversational one."""
    defaults = CsmInput.model_fields
    named = [name for name in _MEANINGLESS if getattr(asked, name) != defaults[name].default]
    return (*named, *(["voice"] if asked.voice.startswith("conversational") else []))
