"""A vision model's answer as it is written: a streamed HTTP reply, read without ever waiting blindly."""

import asyncio
import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from gpulease.contract.engines import AnalyzeInput
from worker_image.engines.base import EngineJob, Outcome, Report
from worker_image.faults import Faulted, HostFault
from worker_image.media.images import read_image

SIDE_PIXELS_MAX = 2048
TEXT_LETTERS_MAX = 200_000
CONNECT_S_MAX = 5.0
SILENCE_S_MAX = 600.0
"""A large model may take that long to load before its first word."""
LOOK_S = 0.4
_JPEG_QUALITY = 92


@dataclass(slots=True)
class Answer:
    """What was said so far. `facts` are the server's own figures."""

    text: str = ""
    complete: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


class Reads(Protocol):
    """Takes one line of the reply into the answer. Raises `Faulted` when the line tells of a failure."""

    def __call__(self, line: str, answer: Answer) -> None: ...


@dataclass(frozen=True, slots=True)
class Question:
    """One request, and how its reply is read."""

    url: str
    body: dict[str, Any]
    read: Reads
    refused: Callable[[int, str], Faulted]
    headers: dict[str, str] = field(default_factory=dict)


def picture_of(job: EngineJob) -> str:
    """The image as JPEG in base 64: upright, at most 2048 pixels wide and high, without metadata."""
    image = read_image(job.files["image_url"], "image_url")
    image.thumbnail((SIDE_PIXELS_MAX, SIDE_PIXELS_MAX))
    if image.mode != "RGB":
        from PIL import Image  # noqa: PLC0415  Only a worker with this engine needs it.

        paper = Image.new("RGB", image.size, "white")
        paper.paste(image, mask=image.getchannel("A"))
        image = paper
    written = io.BytesIO()
    image.save(written, "JPEG", quality=_JPEG_QUALITY)
    return base64.b64encode(written.getvalue()).decode("ascii")


def answer_to(question: Question, report: Report) -> Answer:
    """Asks, and follows the answer to its end; a job that is taken back hangs up, which stops the server.

    Raises:
        Faulted: the server is not there, refuses, or breaks off.
    """
    report(0.0, "waiting for the model")
    return asyncio.run(_asked(question, report))


def outcome_of(asked: AnalyzeInput, model: str, answer: Answer) -> Outcome:
    text = answer.text.strip()
    if not text:
        raise HostFault("engine_failed", f"{model} answered nothing")
    facts = {**answer.facts, "prompt": asked.prompt}
    if not answer.complete:
        facts["note"] = "the model's answer was cut at its length limit"
    return Outcome(model=model, text=text, data=facts)


async def _asked(question: Question, report: Report) -> Answer:
    answer = Answer()
    timeout = httpx.Timeout(SILENCE_S_MAX, connect=CONNECT_S_MAX)
    try:
        async with httpx.AsyncClient(timeout=timeout, trust_env=False, headers=question.headers) as client:
            request = client.build_request("POST", question.url, json=question.body)
            reply = await _unless_taken_back(client.send(request, stream=True), report, answer)
            try:
                await _follow(reply, question, answer, report)
            finally:
                await reply.aclose()
    except httpx.HTTPError as error:
        raise HostFault(
            "model_unreachable", f"{question.url}: {str(error) or type(error).__name__}"
        ) from error
    return answer


async def _follow(reply: httpx.Response, question: Question, answer: Answer, report: Report) -> None:
    if reply.status_code != httpx.codes.OK:
        text = (await reply.aread())[:2000].decode("utf-8", "replace")
        raise question.refused(reply.status_code, text)
    lines = reply.aiter_lines()
    while (line := await _unless_taken_back(anext(lines, None), report, answer)) is not None:
        question.read(line, answer)
        if len(answer.text) > TEXT_LETTERS_MAX:
            return
    if not answer.facts:
        raise HostFault("model_broke_off", "the model's server ended its answer in the middle")


async def _unless_taken_back(waiting: Any, report: Report, answer: Answer) -> Any:
    """Waits, and reports twice a second meanwhile; how long an answer will be nobody knows."""
    task = asyncio.ensure_future(waiting)
    try:
        while not task.done():
            words = len(answer.text.split())
            report(words / (words + 100), f"{words} words" if words else "waiting for the model")
            await asyncio.wait({task}, timeout=LOOK_S)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
