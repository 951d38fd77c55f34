"""`analyze` by an Ollama server: `POST /api/generate` with images. Its API: github.com/ollama/ollama, docs/api.md."""

import json
from typing import Any

import httpx

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import AnalyzeInput
from worker_image.engines.analyze.answers import Answer, Question, answer_to, outcome_of, picture_of
from worker_image.engines.base import EngineConfig, EngineJob, Outcome, Report
from worker_image.faults import Faulted, HostFault

KEEP_ALIVE = "10m"
PORT_DEFAULT = 11434
PROBE_S_MAX = 3.0
MODELS_MAX = 50
LOAD_S_MAX = 300.0
_FACTS = ("total_duration", "load_duration", "prompt_eval_count", "eval_count", "eval_duration")


class Ollama:
    name = "ollama"
    engine = "analyze"

    def __init__(self, config: EngineConfig) -> None:
        self._url = address(config.ollama_url or "")
        self._wanted = config.vision_models
        self._loaded: str | None = None

    def probe(self) -> EngineOffer | str:
        if not self._url:
            return "no Ollama server is named in GPULEASE_OLLAMA_URL"
        try:
            models = self._models()
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            return f"{self._url} does not answer as Ollama does: {str(error) or type(error).__name__}"
        if not models:
            return f"{self._url} has no model that sees images: `ollama pull llava`, or set GPULEASE_VISION_MODELS"
        return EngineOffer(engine=self.engine, backend=self.name, models=models)

    def load(self, model: str | None) -> str:
        """An empty request makes a model resident."""
        chosen = model or next(iter(self._models()), None)
        if chosen is None:
            raise HostFault("model_missing", f"{self._url} has no model that sees images")
        if chosen != self._loaded:
            body = {"model": chosen, "keep_alive": KEEP_ALIVE, "stream": False}
            reply = self._post("/api/generate", body, LOAD_S_MAX)
            if reply.status_code != httpx.codes.OK:
                raise _refused(reply.status_code, reply.text)
            self._loaded = chosen
        return chosen

    def unload(self) -> None:
        if self._loaded is not None:
            self._post(
                "/api/generate", {"model": self._loaded, "keep_alive": 0, "stream": False}, PROBE_S_MAX
            )
            self._loaded = None

    def run(self, job: EngineJob, report: Report) -> Outcome:
        asked = AnalyzeInput.model_validate(job.input)
        model = self._loaded or self.load(job.model)
        body = {
            "model": model,
            "prompt": asked.prompt,
            "images": [picture_of(job)],
            "stream": True,
            "keep_alive": KEEP_ALIVE,
        }
        question = Question(f"{self._url}/api/generate", body, _read, _refused)
        return outcome_of(asked, model, answer_to(question, report))

    def _post(self, path: str, body: dict[str, Any], timeout_s: float) -> httpx.Response:
        try:
            return httpx.post(f"{self._url}{path}", json=body, timeout=timeout_s, trust_env=False)
        except httpx.HTTPError as error:
            raise HostFault("model_unreachable", f"{self._url}: {error}") from error

    def _models(self) -> tuple[str, ...]:
        """Those that see images; those that the operator named, in that order, if any."""
        with httpx.Client(base_url=self._url, timeout=PROBE_S_MAX, trust_env=False) as client:
            listed = client.get("/api/tags").raise_for_status().json()["models"]
            names = tuple(str(one["name"]) for one in listed[:MODELS_MAX])
            if self._wanted:
                return tuple(one for one in self._wanted if one in names or f"{one}:latest" in names)
            return tuple(name for name in names if self._sees(client, name))

    @staticmethod
    def _sees(client: httpx.Client, name: str) -> bool:
        """Servers before 0.6 tell no capabilities, but the projector of a model that sees."""
        told = client.post("/api/show", json={"model": name}).raise_for_status().json()
        return "vision" in told.get("capabilities", ()) or bool(told.get("projector_info"))


def address(url: str) -> str:
    """OLLAMA_HOST may be `host`, `host:port` or a URL."""
    if not url or "://" in url:
        return url.rstrip("/")
    port = url.rpartition("]")[2].partition(":")[2]
    return f"http://{url}" if port else f"http://{url}:{PORT_DEFAULT}"


def _read(line: str, answer: Answer) -> None:
    """A line is a JSON object; a failure comes with status 200, too."""
    if not line.strip():
        return
    said = json.loads(line)
    if "error" in said:
        raise _refused(httpx.codes.OK, line)
    answer.text += said.get("response", "")
    if said.get("done"):
        answer.complete = said.get("done_reason", "stop") != "length"
        answer.facts = {"done": True} | {name: said[name] for name in _FACTS if name in said}


def _refused(status: int, text: str) -> Faulted:
    try:
        why = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        why = " ".join(text.split())[:300]
    lowered = why.lower()
    if "memory" in lowered:
        return HostFault("out_of_memory", f"Ollama: {why}")
    if status == httpx.codes.NOT_FOUND:
        return HostFault("model_missing", f"Ollama: {why}")
    return HostFault("engine_failed", f"Ollama answered {status}: {why}")
