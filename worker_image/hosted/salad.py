"""Containers that take their jobs from a Salad queue: one queue, of its group's name, a worker.

What the queue says of a job is about its delivery; how the job ended is in the status of its output. A running job
cannot be cancelled. Files are stored by the container itself, with what our agent would store them with.
"""

import re
from typing import Any, Literal
from urllib.parse import quote

from pydantic import Field, ValidationError

from gpulease.contract.agent import EngineOffer
from gpulease.contract.base import Lenient
from gpulease.contract.engines import CATALOGUE
from gpulease.contract.hosts import Duty
from gpulease.contract.jobs import OutputFile
from provider_clients.errors import ProviderError
from provider_clients.http import ProviderHttp
from provider_clients.salad.account import SaladAccount
from provider_clients.salad.queue import QueueJob, SaladQueue
from provider_clients.salad.replies import Replicas, read_as
from worker_image.engines.base import Outcome, Report
from worker_image.execute import Made
from worker_image.faults import HostFault, InputFault
from worker_image.hosted.duties import News
from worker_image.hosted.remote import RemoteBackend, RemoteJob
from worker_image.hosted.salad_queue import QueueDesk
from worker_image.hosted.settings import HostSettings
from worker_image.upload import Handover

JOBS_PER_MINUTE, LOOKS_PER_MINUTE = 90.0, 30.0
"""Half of what one key may ask; the other half is the leasing side's."""
_JOB_FAULT_STATUS = 422
_CODE = re.compile(r"[a-z][a-z0-9_]*")


class _Problem(Lenient):
    title: str = "failed"
    status: int = 500


class _Output(Lenient):
    """What a container's `/generate` answers."""

    status: Literal["ok", "failed"]
    error: str = ""
    problem: _Problem = _Problem()
    backend: str | None = None
    model: str | None = None
    text: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    files: tuple[OutputFile, ...] = ()
    metrics: dict[str, float | int | str] = Field(default_factory=dict)
    ignored: tuple[str, ...] = ()


class SaladNodes:
    """All of them share what the key may ask a minute."""

    def __init__(self, settings: HostSettings, news: News) -> None:
        self.delay_s = 0.0
        self._settings = settings
        self._news = news
        self._account = _account(settings, JOBS_PER_MINUTE)
        self._http = _account(settings, LOOKS_PER_MINUTE).http()
        self._queue = SaladQueue(self._account)
        self._offers = offers_of(settings.salad_engines)

    def node(self, duty: Duty, incarnation: str) -> "SaladNode":
        handover = Handover(
            orchestrator=self._settings.public_url or self._settings.orchestrator_url,
            worker_id=duty.worker_id,
            worker_key=duty.worker_key,
            attempt=0,
            incarnation=incarnation,
        )
        desk = QueueDesk(self._queue, duty.address, self._news, self._settings.salad_webhook_url)
        instances = f"{self._account.group_path(quote(duty.address, safe=''))}/instances"
        return SaladNode(self._http, instances, SaladBackend(desk, handover, self._offers))

    async def aclose(self) -> None:
        await self._queue.aclose()
        await self._http.aclose()


class SaladNode:
    def __init__(self, http: ProviderHttp, instances: str, backend: RemoteBackend) -> None:
        self._http = http
        self._instances = instances
        self.backends: tuple[RemoteBackend, ...] = (backend,)

    async def answers(self) -> bool:
        """Whether a container of the group runs, and says that it is ready."""
        try:
            found = read_as(Replicas, await self._http.read("GET", self._instances)).instances
        except ProviderError:
            return False
        return any(one.state == "running" and one.ready is not False for one in found)

    async def aclose(self) -> None:
        pass


class SaladBackend:
    name = "salad-queue"
    fetches = False

    def __init__(self, desk: QueueDesk, handover: Handover, offers: tuple[EngineOffer, ...]) -> None:
        self._desk = desk
        self._handover = handover
        self._offers = offers
        self._posted: dict[int, str] = {}

    async def probe(self) -> tuple[EngineOffer, ...] | str:
        return self._offers or "GPULEASE_SALAD_ENGINES names no engine"

    async def run(self, job: RemoteJob, report: Report) -> Made:
        our_id = f"{job.id}-{job.attempt}"
        handover = self._handover.model_copy(update={"attempt": job.attempt})
        body = {
            "engine": job.engine,
            "job_id": our_id,
            "input": {**job.input, **job.inputs},
            "handover": handover.model_dump(),
        }
        job_id = self._posted[job.attempt] = await self._desk.post(body, our_id)
        try:
            ended = await self._desk.ended(job_id, report)
        finally:
            del self._posted[job.attempt]
        return _made(ended)

    async def stop(self, attempt: int) -> None:
        """Helps where no container has taken the job yet."""
        if job_id := self._posted.get(attempt):
            await self._desk.cancel(job_id)


def _account(settings: HostSettings, per_minute: float) -> SaladAccount:
    key = settings.salad_api_key.get_secret_value() if settings.salad_api_key else ""
    names = (settings.salad_organization or "", settings.salad_project or "")
    return SaladAccount(key, *names, base_url=settings.salad_base_url, per_minute=per_minute)


def offers_of(engines: tuple[str, ...]) -> tuple[EngineOffer, ...]:
    """From "engine" and "engine/model", one offer an engine.

    Raises:
        ValueError: the catalogue has no such engine.
    """
    models: dict[str, list[str]] = {}
    for one in engines:
        engine, _, model = one.partition("/")
        if engine not in CATALOGUE:
            raise ValueError(f"GPULEASE_SALAD_ENGINES: there is no engine {engine!r}")
        models.setdefault(engine, []).extend([model] if model else [])
    return tuple(
        EngineOffer(
            engine=engine,
            backend=SaladBackend.name,
            models=tuple(found),
            features=_features(engine, found),
        )
        for engine, found in models.items()
    )


def _features(engine: str, models: list[str]) -> tuple[str, ...]:
    many = engine == "whisper" and any(not model.endswith(".en") for model in models)
    return ("multilingual", "translate") if many else ()


def _made(ended: QueueJob) -> Made:
    if ended.status != "succeeded":
        raise HostFault("queue_failed", f"Salad could not have the job done: it is {ended.status}")
    try:
        output = _Output.model_validate(ended.output)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"]) or "all of it"
        raise HostFault("output_invalid", f"the container's answer is not a worker's: {where}") from None
    if output.status == "failed":
        kind = InputFault if output.problem.status == _JOB_FAULT_STATUS else HostFault
        title = output.problem.title
        raise kind(title if _CODE.fullmatch(title) else "job_refused", output.error or title)
    outcome = Outcome(
        model=output.model,
        text=output.text,
        data=output.data,
        metrics=output.metrics,
        ignored=output.ignored,
    )
    return Made(output.backend or SaladBackend.name, outcome, output.files)
