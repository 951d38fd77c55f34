"""`csm` by the CSM app of a media node."""

import asyncio
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import CsmInput
from gpulease.contract.jobs import Phase
from worker_image.engines.base import MadeFile, Outcome, Report
from worker_image.execute import Made
from worker_image.faults import HostFault, InputFault
from worker_image.hosted.gradio.client import Gradio, counting_life
from worker_image.hosted.remote import RemoteJob

ENDPOINT = "generate_monologue_audio"
INPUTS = 8
MODEL = "csm"
"""The app has one model, and does not say which."""
SOUND_BYTES_MAX = 512 * 1024 * 1024
_VOICES = {"random": "random_voice", "clone": "upload_voice"}
_KINDS = ((b"ID3", "mp3", "audio/mpeg"), (b"\xff", "mp3", "audio/mpeg"), (b"RIFF", "wav", "audio/wav"))


@dataclass(frozen=True, slots=True)
class _Range:
    """What the app takes; its form has these bounds."""

    low: float
    high: float
    unit: str = ""


_RANGES = {
    "temperature": _Range(0.1, 2.0),
    "topk": _Range(1, 100),
    "max_audio_length": _Range(1_000, 30_000, " ms"),
    "pause_duration": _Range(0, 1_000, " ms"),
}


class CsmGradio:
    name = "csm-gradio"
    fetches = True

    def __init__(self, gradio: Gradio) -> None:
        self._gradio = gradio

    async def probe(self) -> tuple[EngineOffer, ...] | str:
        try:
            (await self._gradio.app()).inputs(ENDPOINT, INPUTS)
        except HostFault as fault:
            return fault.message
        return (EngineOffer(engine="csm", backend=self.name, features=("clone",)),)

    async def run(self, job: RemoteJob, report: Report) -> Made:
        asked = CsmInput.model_validate(job.input)
        _check(asked)
        data = [one.default for one in (await self._gradio.app()).inputs(ENDPOINT, INPUTS)]
        data[:INPUTS] = await self._data(asked, job)
        alive = counting_life(report, f"speaking {len(asked.sentences())} sentence(s)")
        outputs = await self._gradio.call(ENDPOINT, data, alive)
        report(0.0, "fetching the sound", phase=Phase.ENCODING)
        sound = await self._sound(outputs, job.out)
        return Made(self.name, Outcome(model=MODEL, files=(sound,), ignored=_ignored(asked)))

    async def stop(self, attempt: int) -> None:
        """The app cannot be asked to stop."""

    async def _data(self, asked: CsmInput, job: RemoteJob) -> list[Any]:
        """In the order of the app's inputs."""
        reference = None
        if asked.voice == "clone":
            field = "reference_audio_url"
            path = await asyncio.to_thread(_mono, Path(job.files[field]))
            reference = await self._gradio.upload(path, path.name if path.suffix else job.inputs[field])
        return [
            _VOICES.get(asked.voice, asked.voice),
            asked.reference_text or "" if reference else "",
            reference,
            json.dumps(asked.sentences()),
            asked.temperature,
            asked.topk,
            asked.max_audio_length,
            asked.pause_duration,
        ]

    async def _sound(self, outputs: list[Any], out: Path) -> MadeFile:
        path = out / "speech"
        await self._gradio.fetch(outputs[0] if outputs else None, path, SOUND_BYTES_MAX)
        with path.open("rb") as file:
            start = file.read(4)
        for mark, suffix, kind in _KINDS:
            if start.startswith(mark):
                named = path.rename(path.with_suffix(f".{suffix}"))
                return MadeFile(named.name, str(named), kind)
        raise HostFault("output_invalid", "what the app made is not sound")


def _check(asked: CsmInput) -> None:
    for field, fits in _RANGES.items():
        value = getattr(asked, field)
        if not fits.low <= value <= fits.high:
            raise InputFault(
                "parameter_out_of_range",
                f"{field}: the CSM app takes {fits.low:g} to {fits.high:g}{fits.unit}, not {value:g}",
            )
    if not any(letter.isalnum() for text in asked.sentences() for letter in text):
        raise InputFault("nothing_to_say", "the text holds nothing that can be spoken")


def _ignored(asked: CsmInput) -> tuple[str, ...]:
    if asked.voice == "clone":
        return ()
    return tuple(name for name in ("reference_audio_url", "reference_text") if getattr(asked, name))


def _mono(path: Path) -> Path:
    """The app takes one channel only. Without PyAV here the file goes as it is.

    Raises:
        InputFault: it is no sound.
    """
    if find_spec("av") is None:
        return path
    import av  # noqa: PLC0415  Only hosts with the engines' extras have it.

    target = path.with_suffix(".wav")
    try:
        with av.open(str(path), metadata_errors="ignore") as source, av.open(str(target), "w") as sink:
            rate_hz = source.streams.audio[0].codec_context.sample_rate
            stream = sink.add_stream("pcm_s16le", rate=rate_hz, layout="mono")
            mix = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
            for frame in source.decode(audio=0):
                for mixed in mix.resample(frame):
                    sink.mux(stream.encode(mixed))
            sink.mux(stream.encode(None))
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise InputFault("input_not_audio", f"reference_audio_url is no sound: {error}") from error
    return target
