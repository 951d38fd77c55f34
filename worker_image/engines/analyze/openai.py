"""`analyze` by any API like OpenAI's: `POST /chat/completions` with an image, as vLLM and llama.cpp speak it."""

import json

import httpx

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import AnalyzeInput
from worker_image.engines.analyze.answers import Answer, Question, answer_to, outcome_of, picture_of
from worker_image.engines.base import EngineConfig, EngineJob, Outcome, Report
from worker_image.faults import Faulted, HostFault, InputFault

PROBE_S_MAX = 4.0
TOKENS_MAX = 2048
_REFUSED_INPUT = (
    httpx.codes.BAD_REQUEST,
    httpx.codes.REQUEST_ENTITY_TOO_LARGE,
    httpx.codes.UNPROCESSABLE_ENTITY,
)


class OpenAiVision:
    name = "openai-vision"
    engine = "analyze"

    def __init__(self, config: EngineConfig) -> None:
        self._url = (config.vision_url or "").rstrip("/")
        self._headers = {"Authorization": f"Bearer {config.vision_key}"} if config.vision_key else {}
        self._wanted = config.vision_models

    def probe(self) -> EngineOffer | str:
        if not self._url:
            return "no OpenAI-compatible API is named in GPULEASE_VISION_URL"
        try:
            models = self._models()
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            return f"{self._url} does not list its models: {str(error) or type(error).__name__}"
        if not models:
            return f"{self._url} has none of the models of GPULEASE_VISION_MODELS"
        if len(models) > 1 and not self._wanted:
            return (
                f"{self._url} has {len(models)} models: name those that see images in GPULEASE_VISION_MODELS"
            )
        return EngineOffer(engine=self.engine, backend=self.name, models=models)

    def load(self, model: str | None) -> str:
        """The server keeps its models itself."""
        chosen = model or next(iter(self._wanted or self._models()), None)
        if chosen is None:
            raise HostFault("model_missing", f"{self._url} has no model")
        return chosen

    def unload(self) -> None:
        pass

    def run(self, job: EngineJob, report: Report) -> Outcome:
        asked = AnalyzeInput.model_validate(job.input)
        model = self.load(job.model)
        image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture_of(job)}"}}
        message = {"role": "user", "content": [{"type": "text", "text": asked.prompt}, image]}
        body = {"model": model, "messages": [message], "stream": True, "max_tokens": TOKENS_MAX}
        question = Question(f"{self._url}/chat/completions", body, _read, _refused, self._headers)
        return outcome_of(asked, model, answer_to(question, report))

    def _models(self) -> tuple[str, ...]:
        reply = httpx.get(f"{self._url}/models", headers=self._headers, timeout=PROBE_S_MAX, trust_env=False)
        listed = tuple(str(one["id"]) for one in reply.raise_for_status().json()["data"])
        return tuple(one for one in self._wanted if one in listed) if self._wanted else listed


def _read(line: str, answer: Answer) -> None:
    """Server-sent events; `[DONE]` is the last of them, and the end of one without it is an end in the middle."""
    data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
    if not data:
        return
    if data == "[DONE]":
        answer.facts.setdefault("done", True)
        return
    said = json.loads(data)
    if "error" in said:
        raise _refused(httpx.codes.OK, data)
    for choice in said.get("choices", ()):
        answer.text += (choice.get("delta") or {}).get("content") or ""
        if choice.get("finish_reason"):
            answer.complete = choice["finish_reason"] != "length"
            answer.facts.setdefault("done", True)
    if said.get("usage"):
        answer.facts["usage"] = said["usage"]


def _refused(status: int, text: str) -> Faulted:
    try:
        error = json.loads(text)["error"]
        why = str(error.get("message") if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, AttributeError):
        why = " ".join(text.split())[:300]
    if "memory" in why.lower():
        return HostFault("out_of_memory", f"the vision API: {why}")
    if status in _REFUSED_INPUT:
        return InputFault("input_refused", f"the vision API refused the image or the prompt: {why}")
    return HostFault("engine_failed", f"the vision API answered {status}: {why}")
