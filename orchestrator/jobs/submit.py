"""A request becomes a job: checked whole, then stored, then offered to whoever idles."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import ValidationError

from gpulease.contract.base import Wire
from gpulease.contract.engines import CATALOGUE, EngineSpec
from gpulease.contract.jobs import JobRequest
from gpulease.contract.problems import FieldFault, ProblemError, invalid
from gpulease.guard import ForbiddenAddress, check_url
from orchestrator.access.quotas import QuotaBook
from orchestrator.clock import Clock
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.library.links import ASSET_SCHEME, asset_fault
from orchestrator.settings import Settings
from orchestrator.store.people import By
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Job, NewJob, Sight, Submitted
from scaling.place import own_wait_s
from scaling.snapshot import Need

UPLOAD_SCHEME = "upload://"
Model = TypeVar("Model", bound=Wire)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, what they may use, and the idempotency key that came with it."""

    owner: str = ""
    key: str | None = None
    by: By | None = None
    sight: Sight | None = None
    """Whose uploads and jobs may be used; None: everybody's."""
    writable: tuple[str, ...] | None = None
    """The projects that jobs may be put into; None: all."""


class Submitter:
    def __init__(
        self, store: Store, clock: Clock, settings: Settings, dispatcher: Dispatcher, quotas: QuotaBook
    ) -> None:
        self._quotas = quotas
        self._store = store
        self._clock = clock
        self._settings = settings
        self._dispatcher = dispatcher
        self.origin: Callable[[], str] = lambda: ""
        self.storage_origins: Callable[[], tuple[str, ...]] = tuple
        self.blocked: Callable[[Need], str | None] = lambda _need: None
        self.on_submit: Callable[[], None] = lambda: None

    async def submit(self, request: JobRequest, asked: Asked) -> Submitted:
        """Queues one job.

        Raises:
            ProblemError: 422 naming the fields, 409 for a key that stands for another request, or 503 under
                `strict` when nothing configured could run it.
        """
        return await self._submit_one(await self.prepare(request, asked), asked)

    async def _submit_one(self, job: NewJob, asked: Asked) -> Submitted:
        (submitted,) = await self.submit_all([job], asked)
        if submitted.conflict:
            raise conflict(job.idempotency_key)
        return submitted

    async def submit_all(self, jobs: list[NewJob], asked: Asked) -> list[Submitted]:
        """Stores them all, or none: 429 where a quota has no room. Parked workers are woken at once: the store does
        verbs in order, so that their claims come right behind, and find nothing where this is a repetition.
        """
        try:
            async with self._quotas.admit(job.need for job in jobs):
                submitted = await self._keep(jobs, asked)
        except ProblemError:
            # A request repeated because its reply was lost takes no room.
            if not all([await self._is_repeated(job) for job in jobs]):
                raise
            submitted = await self._keep(jobs, asked)
        if any(one.created for one in submitted):
            self.on_submit()
        return submitted

    async def _keep(self, jobs: list[NewJob], asked: Asked) -> list[Submitted]:
        storing = asyncio.ensure_future(self._store.submit_jobs(jobs, by=asked.by))
        counts = Counter(job.need for job in jobs)
        left = [need for need, count in counts.items() if self._dispatcher.offer(need, count)]
        try:
            return await storing
        finally:
            # Not before: the plan that is to see them must find them stored.
            self._dispatcher.leave_to_plan(left)

    async def _is_repeated(self, job: NewJob) -> bool:
        key = job.idempotency_key
        return key is not None and await self._store.find_submitted(job.need.owner, key) is not None

    async def retry(self, old: Job, asked: Asked) -> Submitted:
        """Submits the same request as a new job that names the old one and is whose that was.

        Raises:
            ProblemError: 409 while the job has not ended.
        """
        if old.finished_at is None:
            raise ProblemError(
                409, "The job has not ended", "Cancel it first, or wait.", type="/problems/not-ended"
            )
        now = self._clock.now()
        job = NewJob(
            id=str(uuid4()),
            need=replace(old.need, avoid=()),
            input=old.input,
            created_at=now,
            complete_by=now + (old.complete_by - old.created_at),
            max_time_s=old.max_time_s,
            retries=old.retries,
            start_by=None if old.start_by is None else now + (old.start_by - old.created_at),
            notify_url=old.notify_url,
            metadata=old.metadata,
            idempotency_key=asked.key,
            request_hash=f"retry:{old.id}",
            retry_of=old.id,
        )
        return await self._submit_one(job, asked)

    async def prepare(self, request: JobRequest, asked: Asked) -> NewJob:
        """Checks a request whole, and changes nothing."""
        spec = CATALOGUE.get(request.engine)
        if spec is None:
            known = ", ".join(CATALOGUE)
            raise invalid(
                [
                    FieldFault(
                        field="engine", message=f"there is no engine {request.engine!r}; use one of: {known}"
                    )
                ]
            )
        checked = parse(spec.input_model, request.input, "input.")
        await self._check_urls(spec, checked, request.notify_url, asked)
        _check_project(request.project, asked)
        cap = self._settings.max_render_time
        max_time_s = min(request.max_time, cap) if cap else float(request.max_time)
        need = _need(spec, checked, request, asked.owner, max_time_s)
        if request.strict and (reason := self.blocked(need)):
            raise ProblemError(503, "Nothing can run this job now", reason, type="/problems/blocked")
        return self._new_job(request, checked, need, asked.key)

    def _new_job(self, request: JobRequest, checked: Wire, need: Need, key: str | None) -> NewJob:
        now = self._clock.now()
        return NewJob(
            id=str(uuid4()),
            need=need,
            input=checked.model_dump(mode="json", exclude_unset=True),
            created_at=now,
            complete_by=now + request.complete_in,
            max_time_s=need.max_time_s,
            retries=request.retries,
            start_by=None if request.start_within is None else now + request.start_within,
            notify_url=request.notify_url,
            metadata=request.metadata,
            idempotency_key=key,
            request_hash=_hash(request) if key else "",
        )

    async def _check_urls(
        self, spec: EngineSpec, checked: Wire, notify_url: str | None, asked: Asked
    ) -> None:
        urls = spec.urls(checked.model_dump(mode="json"))
        named = {f"input.{name}": url for name, url in urls.items()}
        faults = []
        for field, url in {**named, "notify_url": notify_url}.items():
            if url and (message := await self._url_fault(field, url, asked, spec.name)):
                faults.append(FieldFault(field=field, message=message))
        if faults:
            raise invalid(faults)

    async def _url_fault(self, field: str, url: str, asked: Asked, engine: str) -> str | None:
        if url.startswith((UPLOAD_SCHEME, ASSET_SCHEME)) and field == "notify_url":
            return "a webhook needs an http:// or https:// URL"
        if url.startswith(ASSET_SCHEME):
            return await asset_fault(self._store, asked.sight, url, engine)
        if url.startswith(UPLOAD_SCHEME):
            return await self._upload_fault(url.removeprefix(UPLOAD_SCHEME), asked)
        # What we would tell ourselves nobody has to hear.
        ours = set() if field == "notify_url" else {self.origin(), *self.storage_origins()}
        try:
            await check_url(url, allow_hosts=self._settings.allow_private_hosts, allow_origins=ours)
        except (ForbiddenAddress, ValueError) as error:
            return str(error)
        return None

    async def _upload_fault(self, upload_id: str, asked: Asked) -> str | None:
        """Somebody else's upload does not exist for whoever asks."""
        upload = await self._store.get_upload(upload_id)
        theirs = upload is not None and asked.sight is not None and upload.owner != asked.sight.owner
        if upload is None or theirs or upload.expires_at <= self._clock.now():
            return "there is no such upload, or it has expired; send the file again"
        return None if upload.stored_at else "the upload is not complete; complete it first"


def _check_project(project: str | None, asked: Asked) -> None:
    if project is not None and asked.writable is not None and project not in asked.writable:
        message = f"there is no project {project!r} that you may write to"
        raise invalid([FieldFault(field="project", message=message)])


def conflict(key: str | None) -> ProblemError:
    return ProblemError(
        409,
        "This idempotency key stands for another request",
        f"The key {key!r} came with a different body before; send a new key with a new request.",
        type="/problems/idempotency-conflict",
    )


def not_found(job_id: str) -> ProblemError:
    return ProblemError(
        404, "There is no such job", f"No job has the id {job_id!r}.", type="/problems/not-found"
    )


def _need(spec: EngineSpec, checked: Wire, request: JobRequest, owner: str, max_time_s: float) -> Need:
    wanted = request.requirements
    return Need(
        engine=spec.name,
        model=spec.model_of(checked),
        features=spec.features_of(checked),
        queue=request.queue,
        priority=request.priority,
        low_priority=request.low_priority,
        gpu_class=wanted.gpu_class,
        min_vram_gb=wanted.min_vram_gb or 0.0,
        providers=wanted.providers,
        usd_per_hour_max=wanted.usd_max,
        owner=owner,
        project=request.project or "",
        max_time_s=max_time_s,
        wait_s=own_wait_s(request.start_within),
    )


def parse(model: type[Model], body: Mapping[str, Any], prefix: str = "") -> Model:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise invalid(faults_of(error, prefix)) from error


def faults_of(error: ValidationError, prefix: str = "") -> list[FieldFault]:
    """What pydantic found, by field, in words."""
    return [
        FieldFault(
            field=(prefix + ".".join(str(part) for part in fault["loc"])).rstrip(".") or "body",
            message=fault["msg"].removeprefix("Value error, "),
        )
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _hash(request: JobRequest) -> str:
    return hashlib.sha256(json.dumps(request.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
