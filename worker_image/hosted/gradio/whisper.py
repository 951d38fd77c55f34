"""`whisper` by the WhisperX app of a media node.

The app answers its own failures like successes: a transcript that begins with "Error: ", and no files.
"""

import json
import re
from pathlib import Path
from typing import Any

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import WhisperInput
from gpulease.contract.jobs import Phase
from worker_image.engines.base import MadeFile, Outcome, Report
from worker_image.execute import Made
from worker_image.faults import HostFault, InputFault
from worker_image.hosted.gradio.app import Component
from worker_image.hosted.gradio.client import Gradio, counting_life
from worker_image.hosted.remote import RemoteJob

ENDPOINT = "transcribe_audio"
INPUTS = 4
FILE_BYTES_MAX = 64 * 1024 * 1024
WORDS_IN_DATA_MAX = 5_000
_FAILED = "Error: "
_MODEL = 1
_OF_INPUT = re.compile(
    r"failed to load audio|invalid data found|no (audio|sound)|does not contain any stream|could not find codec"
    r"|unsupported language|not a valid language|no default align-model|no active speech",
    re.IGNORECASE,
)
_KINDS = {
    "txt": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "json": "application/json",
}


class WhisperGradio:
    name = "whisperx-gradio"
    fetches = True

    def __init__(self, gradio: Gradio) -> None:
        self._gradio = gradio

    async def probe(self) -> tuple[EngineOffer, ...] | str:
        try:
            form = (await self._gradio.app()).inputs(ENDPOINT, INPUTS)
        except HostFault as fault:
            return fault.message
        models = _models(form)
        if not models:
            return "the WhisperX app lists no model"
        many = any(not name.endswith(".en") for name in models)
        features = ("multilingual", "translate") if many else ()
        return (EngineOffer(engine="whisper", backend=self.name, models=models, features=features),)

    async def run(self, job: RemoteJob, report: Report) -> Made:
        asked = WhisperInput.model_validate(job.input)
        form = (await self._gradio.app()).inputs(ENDPOINT, INPUTS)
        model = asked.model or _models(form)[0]
        _refuse_foreign(asked, model)
        data = [one.default for one in form]
        audio = await self._gradio.upload(Path(job.files["audio_url"]), job.inputs["audio_url"])
        data[:INPUTS] = [audio, model, asked.task, asked.language]
        outputs = await self._gradio.call(ENDPOINT, data, counting_life(report, "listening"))
        text, listed = _understood(outputs)
        report(0.0, "fetching the transcript", phase=Phase.ENCODING)
        files = await self._files(listed, job.out)
        facts = {"task": asked.task, **({"language": asked.language} if asked.language else {})}
        data_out = facts | _shown(files.get("json"))
        return Made(self.name, Outcome(model, text, data_out, tuple(map(_made, files.values()))))

    async def stop(self, attempt: int) -> None:
        """The app cannot be asked to stop."""

    async def _files(self, listed: list[Any], out: Path) -> dict[str, Path]:
        """By suffix; those of other kinds are left there."""
        files = {}
        for one in listed:
            suffix = Path(str(one.get("path"))).suffix[1:] if isinstance(one, dict) else ""
            if suffix in _KINDS and suffix not in files:
                files[suffix] = out / f"transcript.{suffix}"
                await self._gradio.fetch(one, files[suffix], FILE_BYTES_MAX)
        return {suffix: files[suffix] for suffix in _KINDS if suffix in files}


def _models(form: tuple[Component, ...]) -> tuple[str, ...]:
    """The default first: it is what runs where a job names none."""
    field = form[_MODEL]
    first = (field.default,) if isinstance(field.default, str) and field.default else ()
    return tuple(dict.fromkeys((*first, *field.choices)))


def _refuse_foreign(asked: WhisperInput, model: str) -> None:
    if not model.endswith(".en"):
        return
    if asked.language not in ("", "en"):
        raise InputFault("language_unsupported", f"language: the model {model} knows English only")
    if asked.task == "translate":
        raise InputFault("translate_unsupported", f"task: the model {model} cannot translate")


def _understood(outputs: list[Any]) -> tuple[str, list[Any]]:
    """The transcript and the files, where there are both."""
    said = outputs[0] if outputs else None
    files = outputs[1] if len(outputs) > 1 and isinstance(outputs[1], list) else []
    if not isinstance(said, str):
        raise HostFault("app_failed", "the WhisperX app answered without a transcript")
    if said.startswith(_FAILED) and not files:
        why = said.removeprefix(_FAILED).strip()[:500]
        if _OF_INPUT.search(why):
            raise InputFault("input_not_understood", f"WhisperX could not take the audio: {why}")
        raise HostFault("app_error", f"WhisperX failed: {why}")
    if not files:
        raise HostFault("output_missing", "the WhisperX app made no files")
    return said.strip(), files


def _shown(path: Path | None) -> dict[str, Any]:
    """Segments with their words, unless those are too many for a reply; the JSON file has them all."""
    if path is None:
        return {}
    try:
        full = json.loads(path.read_text(encoding="utf-8"))
        segments = full["segments"]
        words = sum(len(one.get("words", ())) for one in segments)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostFault("output_invalid", f"transcript.json is not a transcript: {error!r}") from error
    language = {"language": full["language"]} if full.get("language") else {}
    if words > WORDS_IN_DATA_MAX:
        return {**language, "note": "segments and words are in transcript.json"}
    return {**language, "segments": segments}


def _made(path: Path) -> MadeFile:
    return MadeFile(path.name, str(path), _KINDS[path.suffix[1:]])
