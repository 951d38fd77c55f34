"""A form becomes a task: its file goes straight to the storage, and is deleted again where nothing comes of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

from fastapi import Request
from pydantic import ValidationError

from gpulease.contract.jobs import JobRequest
from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.callers import Caller
from orchestrator.api.sight import asked
from orchestrator.compat.farm.arguments import checked, request_of
from orchestrator.compat.farm.bodies import EnqueueRequest
from orchestrator.compat.farm.engines import Engine, Farm
from orchestrator.compat.farm.form import Form, Part
from orchestrator.compat.farm.tasks import RENDER, SURFACE, TASK, Render
from orchestrator.compat.farm.template import expand
from orchestrator.fleet.agents import safe_name
from orchestrator.jobs.submit import UPLOAD_SCHEME, faults_of
from orchestrator.parts import Parts
from orchestrator.storage.protocol import StorageUnavailable
from orchestrator.store.people import Upload

REQUEST_BYTES_MAX = 256 * 1024
FORM_BYTES_MAX = REQUEST_BYTES_MAX + 64 * 1024
"""All of the form but the file."""
READ_ON_BYTES_MAX = 64 * 1024**2
"""What is left of a refused form is read so far: many clients listen only once they have sent all."""
NAME_LETTERS_MAX = 200
MAX_TIME_S = 7200
COMPLETE_IN_S = 86_400
"""The farm has no deadlines: ours are as late as they can be."""


@dataclass(frozen=True, slots=True)
class Order:
    """The part `request`, checked."""

    engine: Engine
    values: Mapping[str, str]
    asked: tuple[str, dict[str, Any]]
    """Which of our engines, and its input."""


async def enqueue(parts: Parts, caller: Caller, farm: Farm, request: Request) -> int:
    """Returns the number of the new task.

    Raises:
        ProblemError: 403 where the queue limit is reached, 413, or what is wrong with the form. Nothing is kept.
    """
    await _check_limit(parts, caller)
    bytes_max = parts.settings.upload_bytes_max + FORM_BYTES_MAX
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > bytes_max:
        raise _too_large(parts)
    body = _capped(request.stream(), bytes_max, parts)
    coming = Coming(parts, caller, farm)
    try:
        await coming.take(Form(body, request.headers.get("content-type", "")))
        return await coming.submit()
    except BaseException as error:
        await asyncio.shield(coming.drop())
        if isinstance(error, ProblemError) and error.problem.status != 413:
            await _read_on(body)
        raise


class Coming:
    """One form on its way in; its two parts may come in either order."""

    def __init__(self, parts: Parts, caller: Caller, farm: Farm) -> None:
        self._parts = parts
        self._caller = caller
        self._farm = farm
        self._order: Order | None = None
        self._upload: Upload | None = None
        self._upload_id = uuid4().hex

    async def take(self, form: Form) -> None:
        while part := await form.next_part():
            if part.filename is not None:
                await self._take_file(part, form)
            elif part.name == "request":
                self._order = await self._checked(await form.read(REQUEST_BYTES_MAX))
                self._check_extension(self._upload.name if self._upload else None)

    async def submit(self) -> int:
        order, upload = self._order, self._upload
        if order is None or upload is None:
            missing = "request" if order is None else "file"
            raise invalid([FieldFault(field=missing, message="this part of the form is missing")])
        parts, caller = self._parts, self._caller
        engine, asked_for = order.asked
        shown = expand(order.engine.render_argument, order.values, upload.name)
        render = Render(
            engine_id=order.engine.engine_id,
            file_name=upload.name,
            file_size=upload.size_bytes,
            arguments=shown,
        )
        request = JobRequest(
            engine=engine,
            input=asked_for,
            max_time=MAX_TIME_S,
            complete_in=COMPLETE_IN_S,
            metadata={SURFACE: render.model_dump()},
        )
        await parts.store.add_upload(upload, by=caller.by)
        submitted = await parts.submitter.submit(request, await asked(parts, caller))
        await parts.store.alias(SURFACE, RENDER, submitted.job.id, caller.owner)
        return await parts.store.alias(SURFACE, TASK, submitted.job.id, caller.owner)

    async def drop(self) -> None:
        """What the storage cannot delete now goes with the expired uploads, where it has a row already."""
        if self._upload is None:
            return
        await self._parts.store.remove_upload(
            self._upload.id, by=self._caller.by, now=self._parts.clock.now()
        )
        try:
            await self._parts.storage.delete([self._upload.key])
        except StorageUnavailable:
            return

    async def _checked(self, body: bytes) -> Order:
        if self._order is not None:
            raise invalid([FieldFault(field="request", message="send it once")])
        try:
            said = EnqueueRequest.model_validate_json(body)
        except ValidationError as error:
            raise invalid(faults_of(error, "request.")) from error
        engine = self._farm.engines.get(said.engine_id)
        if engine is None:
            known = ", ".join(f"{one.engine_id} ({one.name})" for one in self._farm.engines.values())
            message = f"there is no engine {said.engine_id}; use one of: {known}"
            raise invalid([FieldFault(field="EngineId", message=message)])
        values = await checked(self._farm, engine, said.arguments)
        return Order(engine, values, request_of(engine, values, UPLOAD_SCHEME + self._upload_id))

    def _check_extension(self, name: str | None) -> None:
        wanted = self._order.engine.extension if self._order else ""
        if name is None or not wanted:
            return
        extension = PurePosixPath(name).suffix
        if extension.lower() != wanted.lower():
            message = (
                f"the engine takes {wanted} files, and this one is {extension or 'without an extension'}"
            )
            raise invalid([FieldFault(field="file", message=message)])

    async def _take_file(self, part: Part, form: Form) -> None:
        if self._upload is not None:
            raise invalid([FieldFault(field="file", message="send one file only")])
        name = plain_name(part.filename or "")
        self._check_extension(name)
        parts = self._parts
        key = f"uploads/{self._upload_id}/{safe_name(name)}"
        content = _capped(form.content(), parts.settings.upload_bytes_max, parts)
        stored = await parts.storage.put_stream(key, content)
        now = parts.clock.now()
        self._upload = Upload(
            id=self._upload_id,
            owner=self._caller.owner,
            name=name,
            key=key,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256 or "",
            content_type=part.content_type[:200],
            created_at=now,
            expires_at=now + parts.settings.retention_s,
            stored_at=now,
        )
        if stored.size_bytes == 0:
            raise invalid([FieldFault(field="file", message="the file is empty")])


def plain_name(filename: str) -> str:
    """Of whatever path a client sent the last name, without what no screen shows.

    Raises:
        ProblemError: nothing is left of it.
    """
    last = filename.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(letter for letter in last if letter.isprintable())[-NAME_LETTERS_MAX:].strip()
    if not name.strip("."):
        raise invalid([FieldFault(field="file", message="send the file with its name")])
    return name


async def _check_limit(parts: Parts, caller: Caller) -> None:
    """A task counts until it has ended, as in the farm's own queue."""
    number = caller.user.subscription_id
    known = {one.id: one.quota.queued_max for one in await parts.store.list_subscriptions()}
    limit = known.get(number)
    if limit is None:
        return
    load = await parts.store.load_of(owner=caller.owner)
    if load.queued + load.running >= limit:
        detail = f"Queue limit {limit} reached for your subscription. Wait for a task to end, or dequeue one."
        raise ProblemError(403, "The queue limit is reached", detail, type="/problems/queue-limit")


async def _capped(chunks: AsyncIterator[bytes], bytes_max: int, parts: Parts) -> AsyncIterator[bytes]:
    left = bytes_max
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise _too_large(parts)
        yield chunk


def _too_large(parts: Parts) -> ProblemError:
    detail = f"The file may have at most {parts.settings.upload_bytes_max} bytes."
    return ProblemError(413, "The file is too large", detail, type="/problems/too-large")


async def _read_on(body: AsyncIterator[bytes]) -> None:
    left = READ_ON_BYTES_MAX
    async for chunk in body:
        left -= len(chunk)
        if left < 0:
            return
