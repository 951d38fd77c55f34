"""The async client: the same calls as `Client`, awaited."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from tenacity import AsyncRetrying

from gpulease.client import calls
from gpulease.client.calls import Call, JobId, JsonObject
from gpulease.client.core import (
    STREAM_SILENT_S_MAX,
    Reconnects,
    Server,
    read,
    request_for,
    retrying,
    timeouts,
)
from gpulease.client.errors import ClientError, error_for
from gpulease.client.files import Counted, Landing, Source, Told, multipart, url_of
from gpulease.client.parts import Parted, Parting, resumable
from gpulease.client.parts_aio import send
from gpulease.client.stream import EventReader, JobProgress
from gpulease.contract.jobs import (
    TERMINAL,
    BatchReply,
    EventView,
    JobRequest,
    JobView,
    OutputFile,
    Result,
    Status,
    UploadView,
)

Reply = TypeVar("Reply")


class AsyncClient:
    """See `Client`: what each call does, and what it raises, stands there."""

    def __init__(
        self, url: str | None = None, key: str | None = None, *, parting: Parting | None = None
    ) -> None:
        self.server = Server.find(url, key)
        self._http = httpx.AsyncClient(**self.server.options())
        self._parting = parting or Parting()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def submit(self, request: JobRequest, *, idempotency_key: str | None = None) -> JobView:
        return await self._do(calls.submit(request, idempotency_key))

    async def submit_batch(
        self, requests: Sequence[JobRequest], *, idempotency_key: str | None = None
    ) -> BatchReply:
        return await self._do(calls.submit_batch(requests, idempotency_key))

    async def job(self, job_id: JobId) -> JobView:
        return await self._do(calls.job(job_id))

    async def jobs(
        self, *, status: Status | None = None, engine: str | None = None, page: int = 100
    ) -> AsyncIterator[JobView]:
        cursor: str | None = None
        while True:
            found = await self._do(calls.jobs(status, engine, page, cursor))
            for item in found.items:
                yield item
            cursor = found.next_cursor
            if cursor is None:
                return

    async def events(self, job_id: JobId) -> list[EventView]:
        return await self._do(calls.events(job_id))

    async def watch(self, job_id: JobId) -> AsyncIterator[EventView | JobProgress]:
        reader, reconnects = EventReader(), Reconnects()
        while True:
            try:
                async for event in self._stream(job_id, reader):
                    reconnects.went_well()
                    yield event
                if (await self.job(job_id)).status in TERMINAL:
                    return
                await asyncio.sleep(reconnects.ended_early())
            except httpx.ReadTimeout:
                continue
            except httpx.TransportError as error:
                await asyncio.sleep(reconnects.failed(self.server.unreachable(error)))
            except ClientError as error:
                await asyncio.sleep(reconnects.failed(error))

    async def wait(self, job_id: JobId) -> JobView:
        async for _ in self.watch(job_id):
            pass
        return await self.job(job_id)

    async def result(self, job_id: JobId) -> Result:
        return await self._do(calls.result(job_id))

    async def logs(self, job_id: JobId, *, offset: int = 0) -> str:
        return await self._do(calls.logs(job_id, offset))

    async def cancel(self, job_id: JobId) -> JobView:
        return await self._do(calls.cancel(job_id))

    async def retry(self, job_id: JobId) -> JobView:
        return await self._do(calls.retry(job_id))

    async def upload(
        self, path: Path, *, resume: str | None = None, progress: Told | None = None
    ) -> UploadView:
        source = Source.of(path)
        if resume is None and source.size_bytes <= self._parting.above_bytes:
            with path.open("rb") as file:
                sent = Counted(file, progress) if progress else file
                return await self._do(calls.upload(), files=multipart(path, sent))
        call = calls.begin_upload(source.request()) if resume is None else calls.upload_plan(resume)
        upload = Parted(source, await self._do(call), progress)
        with resumable(upload.id):
            renew = calls.upload_plan(upload.id)
            await send(upload, self._http.base_url, lambda: self._do(renew), self._parting)
            return await self._do(calls.complete_upload(upload.id))

    async def download(self, file: OutputFile, to: Path) -> Path:
        url = self._http.base_url.join(url_of(file))
        try:
            async with (
                httpx.AsyncClient(timeout=timeouts(30.0), follow_redirects=True) as plain,
                plain.stream("GET", url) as reply,
            ):
                if not reply.is_success:
                    await reply.aread()
                    raise error_for(reply)
                with Landing(file, to) as landing:
                    async for chunk in reply.aiter_bytes():
                        landing.take(chunk)
        except httpx.TransportError as error:
            raise self.server.unreachable(error) from error
        return landing.path

    async def engines(self) -> list[JsonObject]:
        return await self._do(calls.engines())

    async def workers(self) -> list[JsonObject]:
        return await self._do(calls.workers())

    async def drain(self, worker_id: str) -> JsonObject:
        return await self._do(calls.order_worker(worker_id, "drain"))

    async def stop(self, worker_id: str) -> JsonObject:
        return await self._do(calls.order_worker(worker_id, "stop"))

    async def pause(self, worker_id: str) -> JsonObject:
        return await self._do(calls.order_worker(worker_id, "pause"))

    async def resume(self, worker_id: str) -> JsonObject:
        return await self._do(calls.order_worker(worker_id, "resume"))

    async def plan(self) -> JsonObject:
        return await self._do(calls.plan())

    async def plans(self, **which: str | int) -> JsonObject:
        return await self._do(calls.plans(which))

    async def past_plan(self, plan_id: int) -> JsonObject:
        return await self._do(calls.past_plan(plan_id))

    async def costs(self) -> JsonObject:
        return await self._do(calls.costs())

    async def leases(self, *, hours: float = 24.0) -> JsonObject:
        """The ledger: leases that had not ended so many hours ago, whole, and what they cost in all."""
        return await self._do(calls.leases(hours))

    async def providers(self) -> list[JsonObject]:
        return await self._do(calls.providers())

    async def enable_provider(self, name: str) -> JsonObject:
        return await self._do(calls.switch_provider(name, "enable"))

    async def disable_provider(self, name: str) -> JsonObject:
        """Nothing more is leased from it; what is leased goes on."""
        return await self._do(calls.switch_provider(name, "disable"))

    async def policy(self) -> JsonObject:
        return await self._do(calls.policy())

    async def set_policy(self, policy: JsonObject) -> JsonObject:
        return await self._do(calls.set_policy(policy))

    async def try_policy(self, policy: JsonObject, *, hours: float = 24.0, seeds: int = 3) -> JsonObject:
        return await self._do(calls.try_policy(policy, hours, seeds))

    def projects(self) -> AsyncIterator[JsonObject]:
        return self._items(calls.projects)

    async def create_project(self, name: str) -> JsonObject:
        return await self._do(calls.create_project(name))

    def members(self, project_id: str) -> AsyncIterator[JsonObject]:
        return self._items(lambda cursor: calls.members(project_id, cursor))

    async def put_member(self, project_id: str, user_id: str, *, write: bool = False) -> JsonObject:
        return await self._do(calls.put_member(project_id, user_id, "write" if write else "read"))

    async def remove_member(self, project_id: str, user_id: str) -> None:
        await self._do(calls.remove_member(project_id, user_id))

    def audit(self, **which: str) -> AsyncIterator[JsonObject]:
        return self._items(lambda cursor: calls.audit(which, cursor))

    def deliveries(self, **which: str) -> AsyncIterator[JsonObject]:
        return self._items(lambda cursor: calls.deliveries(which, cursor))

    async def delivery(self, number: int) -> JsonObject:
        return await self._do(calls.delivery(number))

    async def replay(self, number: int) -> JsonObject:
        return await self._do(calls.replay(number))

    async def replay_failed(self, **which: str) -> JsonObject:
        return await self._do(calls.replay_failed(which))

    async def webhook_secret(self) -> JsonObject:
        return await self._do(calls.webhook_secret())

    async def rotate_webhook_secret(self) -> JsonObject:
        return await self._do(calls.rotate_webhook_secret())

    async def check(self) -> None:
        await self._do(calls.live())

    async def _do(self, call: Call[Reply], files: Any = None) -> Reply:
        reply: Reply = await AsyncRetrying(**retrying(call))(self._once, call, files)
        return reply

    async def _items(self, page: Callable[[str | None], Call[JsonObject]]) -> AsyncIterator[JsonObject]:
        cursor: str | None = None
        while True:
            found = await self._do(page(cursor))
            for item in calls.items_of(found):
                yield item
            cursor = found.get("next_cursor")
            if cursor is None:
                return

    async def _once(self, call: Call[Reply], files: Any) -> Reply:
        try:
            reply = await self._http.send(request_for(self._http, call, files))
        except httpx.TransportError as error:
            raise self.server.unreachable(error) from error
        return read(call, reply)

    async def _stream(self, job_id: JobId, reader: EventReader) -> AsyncIterator[EventView | JobProgress]:
        reader.restart()
        path, timeout = calls.events(job_id).path, timeouts(STREAM_SILENT_S_MAX)
        async with self._http.stream("GET", path, headers=reader.headers(), timeout=timeout) as reply:
            if not reply.is_success:
                await reply.aread()
                raise error_for(reply)
            async for chunk in reply.aiter_bytes():
                for event in reader.feed(chunk):
                    yield event
