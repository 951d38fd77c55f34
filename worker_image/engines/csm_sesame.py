"""`csm` by Sesame's conversational speech model, through transformers: voices from prompts, clones, 24 kHz mono.

Weights are a folder here (sesame/csm-1b as its hub has it). A voice is what a short recording and its words sound
like: `clone` brings its own, the named ones lie in a folder as NAME.wav and NAME.txt. Its interface:
huggingface.co/docs/transformers/model_doc/csm.
"""

import json
import secrets
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import CsmInput
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob, MadeFile, Outcome, Report
from worker_image.faults import HostFault, InputFault
from worker_image.media.probe import require_audio
from worker_image.media.sound import samples_of, write_mp3

FRAME_MS = 80
"""One step of the model is so much sound: its codec has 12.5 frames a second."""
VRAM_GB = 6.0
"""1.6 billion parameters as 16-bit floats, and room for the context."""
REFERENCE_S_MAX = 60.0
_NEEDED = ("torch", "transformers", "av")


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker by number, and what it sounds like: float32 samples at the model's rate, and their words."""

    speaker: str = "0"
    words: str | None = None
    samples: Any = None

    def turns(self, text: str) -> list[dict[str, Any]]:
        """The conversation that the model continues, in the form of its chat template."""
        said = {"role": self.speaker, "content": [{"type": "text", "text": text}]}
        if self.samples is None:
            return [said]
        heard = [{"type": "text", "text": self.words}, {"type": "audio", "audio": self.samples}]
        return [{"role": self.speaker, "content": heard}, said]


class Sesame:
    name = "sesame"
    engine = "csm"

    def __init__(self, config: EngineConfig) -> None:
        self._folder = Path(config.csm_models) if config.csm_models else None
        self._voices = Path(config.csm_voices) if config.csm_voices else None
        self._wanted = config.device
        self._device = "cpu"
        self._model: Any = None
        self._processor: Any = None
        self._loaded: str | None = None

    def probe(self) -> EngineOffer | str:
        if self._folder is None:
            return "no folder of speech models is set (GPULEASE_CSM_MODELS)"
        missing = [name for name in _NEEDED if find_spec(name) is None]
        if missing:
            return f"not installed: {', '.join(missing)} (pip install 'gpulease[video]')"
        models = tuple(self._models())
        if not models:
            return f"{self._folder} has no folder with a CSM (a config.json with model_type csm)"
        vram_gb = VRAM_GB if self._wanted == "cuda" else 0.0
        return EngineOffer(
            engine=self.engine, backend=self.name, models=models, features=("clone",), vram_gb=vram_gb
        )

    def load(self, model: str | None) -> str:
        models = self._models()
        chosen = model or next(iter(models), "none")
        if chosen not in models:
            raise HostFault("model_missing", f"this worker has no csm model {chosen!r}")
        if chosen != self._loaded:
            import torch  # noqa: PLC0415  Seconds, and only this backend wants them.
            from transformers import AutoProcessor, CsmForConditionalGeneration  # noqa: PLC0415  As above.

            self.unload()
            there = torch.cuda.is_available()
            self._device = "cuda" if self._wanted == "cuda" or (self._wanted == "auto" and there) else "cpu"
            self._processor = AutoProcessor.from_pretrained(models[chosen], local_files_only=True)
            dtype = torch.bfloat16 if self._device == "cuda" else torch.float32
            found = CsmForConditionalGeneration.from_pretrained(
                models[chosen], dtype=dtype, local_files_only=True
            )
            self._model = found.to(self._device).eval()
            self._loaded = chosen
        return chosen

    def unload(self) -> None:
        self._model = self._processor = self._loaded = None

    def run(self, job: EngineJob, report: Report) -> Outcome:
        asked = CsmInput.model_validate(job.input)
        seed = secrets.randbits(31) if asked.voice == "random" else 0
        voice, ignored = self._voice(asked, job)
        rate_hz = int(self._processor.feature_extractor.sampling_rate)
        parts, truncated = self._speak(asked, voice, seed, report)
        if not any(len(part) for part in parts):
            raise InputFault("nothing_to_say", "the model made no sound of that text")
        report(0.0, "writing MP3", phase=Phase.ENCODING)
        path = job.out / "speech.mp3"
        write_mp3(parts, rate_hz, path)
        facts = {
            "seed": seed,
            "sample_rate_hz": rate_hz,
            "duration_s": round(sum(map(len, parts)) / rate_hz, 3),
            "truncated": truncated,
            "device": self._device,
        }
        files = (MadeFile(path.name, str(path), "audio/mpeg"),)
        return Outcome(model=self._loaded, data=facts, files=files, ignored=ignored)

    def _speak(self, asked: CsmInput, voice: Voice, seed: int, report: Report) -> tuple[list[Any], bool]:
        """Sentences with a pause between each two, and whether the length that was asked for cut the last one."""
        import numpy as np  # noqa: PLC0415  It comes with torch.
        import torch  # noqa: PLC0415  It is loaded by now.

        rate_hz = int(self._processor.feature_extractor.sampling_rate)
        pause = np.zeros(asked.pause_duration * rate_hz // 1000, np.float32)
        steps_left = max(1, asked.max_audio_length // FRAME_MS)
        sentences = asked.sentences()
        torch.manual_seed(seed)
        parts: list[Any] = []
        for number, sentence in enumerate(sentences):
            told = _Told(report, number, len(sentences), steps_left)
            sound = self._sentence(voice.turns(sentence), asked, told)
            parts += [pause, sound] if parts else [sound]
            if told.steps >= steps_left:
                return parts, True
            steps_left -= told.steps
        return parts, False

    def _sentence(self, turns: list[dict[str, Any]], asked: CsmInput, told: "_Told") -> Any:
        import torch  # noqa: PLC0415  As above.

        prompt = self._processor.apply_chat_template(turns, tokenize=True, return_dict=True).to(self._device)
        warm = asked.temperature > 0
        sampling = {"temperature": asked.temperature, "top_k": asked.topk} if warm else {}
        deep = {f"depth_decoder_{name}": value for name, value in {"do_sample": warm, **sampling}.items()}
        with torch.inference_mode():
            made = self._model.generate(
                **prompt,
                output_audio=True,
                max_new_tokens=told.steps_max,
                do_sample=warm,
                streamer=told,
                **sampling,
                **deep,
            )
        return made[0].reshape(-1).float().cpu().numpy()

    def _voice(self, asked: CsmInput, job: EngineJob) -> tuple[Voice, tuple[str, ...]]:
        """The voice, and the parameters that mean nothing here."""
        rate_hz = int(self._processor.feature_extractor.sampling_rate)
        if asked.voice == "clone":
            path = job.files["reference_audio_url"]
            require_audio(path, "reference_audio_url")
            samples = samples_of(path, rate_hz, REFERENCE_S_MAX)
            return Voice(words=asked.reference_text, samples=samples), ()
        given = tuple(name for name in ("reference_audio_url", "reference_text") if getattr(asked, name))
        speaker = "1" if asked.voice == "conversational_b" else "0"
        recording = self._voices / f"{asked.voice}.wav" if self._voices else None
        if asked.voice == "random" or recording is None or not recording.is_file():
            return Voice(speaker), given
        words = recording.with_suffix(".txt").read_text(encoding="utf-8").strip()
        return Voice(speaker, words, samples_of(str(recording), rate_hz, REFERENCE_S_MAX)), given

    def _models(self) -> dict[str, Path]:
        found = {}
        for path in sorted(self._folder.glob("*/config.json")) if self._folder else ():
            try:
                kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
            except (OSError, ValueError, AttributeError):
                continue
            if kind == "csm":
                found[path.parent.name] = path.parent
        return found


class _Told:
    """The model's streamer: called once with the prompt, then after each step. It tells, and may raise."""

    def __init__(self, report: Report, number: int, sentences: int, steps_max: int) -> None:
        self._report = report
        self._number = number
        self._sentences = sentences
        self.steps_max = steps_max
        self.steps = -1

    def put(self, _tokens: Any) -> None:
        self.steps += 1
        share = (self._number + self.steps / (self.steps + 40)) / self._sentences
        shown = f"sentence {self._number + 1} of {self._sentences}, {self.steps * FRAME_MS / 1000:.1f} s"
        self._report(share, shown, step=self._number, total_steps=self._sentences)

    def end(self) -> None:
        pass
