"""The sync client."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from tenacity import Retrying

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
from gpulease.client.parts_sync import send
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


class Client:
    """One server's API. Every call raises `ClientError`s only (see `gpulease.client.errors`).

    Reads, and submits by their Idempotency-Key, are repeated a few times where that may help.
    """

    def __init__(
        self, url: str | None = None, key: str | None = None, *, parting: Parting | None = None
    ) -> None:
        """`url` and `key` default to GPULEASE_URL and GPULEASE_API_KEY; `parting` says how large files go.

        Raises:
            ValueError: the URL is no URL of a server.
        """
        self.server = Server.find(url, key)
        self._http = httpx.Client(**self.server.options())
        self._parting = parting or Parting()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(self, request: JobRequest, *, idempotency_key: str | None = None) -> JobView:
        """Queues a job; the same key again gives the same job. Without one, this call makes its own."""
        return self._do(calls.submit(request, idempotency_key))

    def submit_batch(
        self, requests: Sequence[JobRequest], *, idempotency_key: str | None = None
    ) -> BatchReply:
        """Queues up to 1,000 jobs in one transaction; each item says what became of its job."""
        return self._do(calls.submit_batch(requests, idempotency_key))

    def job(self, job_id: JobId) -> JobView:
        return self._do(calls.job(job_id))

    def jobs(
        self, *, status: Status | None = None, engine: str | None = None, page: int = 100
    ) -> Iterator[JobView]:
        """Newest first, fetched `page` at a time as they are taken."""
        cursor: str | None = None
        while True:
            found = self._do(calls.jobs(status, engine, page, cursor))
            yield from found.items
            cursor = found.next_cursor
            if cursor is None:
                return

    def events(self, job_id: JobId) -> list[EventView]:
        """The moves until now."""
        return self._do(calls.events(job_id))

    def watch(self, job_id: JobId) -> Iterator[EventView | JobProgress]:
        """Moves from the first on, and progress, live until the job has ended; reconnects where it left off."""
        reader, reconnects = EventReader(), Reconnects()
        while True:
            try:
                for event in self._stream(job_id, reader):
                    reconnects.went_well()
                    yield event
                if self.job(job_id).status in TERMINAL:
                    return
                time.sleep(reconnects.ended_early())
            except httpx.ReadTimeout:
                continue
            except httpx.TransportError as error:
                time.sleep(reconnects.failed(self.server.unreachable(error)))
            except ClientError as error:
                time.sleep(reconnects.failed(error))

    def wait(self, job_id: JobId) -> JobView:
        """The job, once it has ended in whichever way."""
        for _ in self.watch(job_id):
            pass
        return self.job(job_id)

    def result(self, job_id: JobId) -> Result:
        """The result, with signed URLs of its files.

        Raises:
            Conflict: the job has not ended yet.
            Refused: the job has ended without one.
        """
        return self._do(calls.result(job_id))

    def logs(self, job_id: JobId, *, offset: int = 0) -> str:
        return self._do(calls.logs(job_id, offset))

    def cancel(self, job_id: JobId) -> JobView:
        return self._do(calls.cancel(job_id))

    def retry(self, job_id: JobId) -> JobView:
        """Queues a new job with the same input; it names this one in `retry_of`."""
        return self._do(calls.retry(job_id))

    def upload(self, path: Path, *, resume: str | None = None, progress: Told | None = None) -> UploadView:
        """Sends a file; its `url` may stand in any `*_url` field of an input.

        One above 64 MiB goes in parts, straight to the storage, each tried several times; `resume` is the id of
        such an upload that was broken off. `progress` hears the bytes sent and the bytes in all, from threads of
        ours but one at a time; the first fall back where a part has to be sent again.

        Raises:
            BrokenOff: not all got through; the error names the upload, to be resumed. Other exceptions that end it,
                KeyboardInterrupt too, say so in a note.
            OtherFile: the file has not the size of the upload to be resumed, or was changed meanwhile.
            NotFound: there is no such upload to be resumed, or no more.
            OSError: the file cannot be read.
        """
        source = Source.of(path)
        if resume is None and source.size_bytes <= self._parting.above_bytes:
            with path.open("rb") as file:
                sent = Counted(file, progress) if progress else file
                return self._do(calls.upload(), files=multipart(path, sent))
        call = calls.begin_upload(source.request()) if resume is None else calls.upload_plan(resume)
        upload = Parted(source, self._do(call), progress)
        with resumable(upload.id):
            send(upload, self._http.base_url, lambda: self._do(calls.upload_plan(upload.id)), self._parting)
            return self._do(calls.complete_upload(upload.id))

    def download(self, file: OutputFile, to: Path) -> Path:
        """Fetches an output to a path, or into a folder under its own name; returns where it is.

        Raises:
            Garbled: size or hash are wrong; nothing is left behind.
        """
        url = self._http.base_url.join(url_of(file))
        try:
            # A client of its own: the signed URL is enough, and our key is no business of a storage's.
            with httpx.stream("GET", url, timeout=timeouts(30.0), follow_redirects=True) as reply:
                if not reply.is_success:
                    reply.read()
                    raise error_for(reply)
                with Landing(file, to) as landing:
                    for chunk in reply.iter_bytes():
                        landing.take(chunk)
        except httpx.TransportError as error:
            raise self.server.unreachable(error) from error
        return landing.path

    def engines(self) -> list[JsonObject]:
        return self._do(calls.engines())

    def workers(self) -> list[JsonObject]:
        return self._do(calls.workers())

    def drain(self, worker_id: str) -> JsonObject:
        """Lets it finish what it runs, then lets it go."""
        return self._do(calls.order_worker(worker_id, "drain"))

    def stop(self, worker_id: str) -> JsonObject:
        """Lets it go now; what it runs is queued again."""
        return self._do(calls.order_worker(worker_id, "stop"))

    def pause(self, worker_id: str) -> JsonObject:
        return self._do(calls.order_worker(worker_id, "pause"))

    def resume(self, worker_id: str) -> JsonObject:
        return self._do(calls.order_worker(worker_id, "resume"))

    def plan(self) -> JsonObject:
        return self._do(calls.plan())

    def plans(self, **which: str | int) -> JsonObject:
        """Past plans, newest first; `which` names any of before, until (RFC 3339) and limit."""
        return self._do(calls.plans(which))

    def past_plan(self, plan_id: int) -> JsonObject:
        """With what it saw."""
        return self._do(calls.past_plan(plan_id))

    def costs(self) -> JsonObject:
        return self._do(calls.costs())

    def leases(self, *, hours: float = 24.0) -> JsonObject:
        """The ledger: leases that had not ended so many hours ago, whole, and what they cost in all."""
        return self._do(calls.leases(hours))

    def providers(self) -> list[JsonObject]:
        return self._do(calls.providers())

    def enable_provider(self, name: str) -> JsonObject:
        return self._do(calls.switch_provider(name, "enable"))

    def disable_provider(self, name: str) -> JsonObject:
        """Nothing more is leased from it; what is leased goes on."""
        return self._do(calls.switch_provider(name, "disable"))

    def policy(self) -> JsonObject:
        return self._do(calls.policy())

    def set_policy(self, policy: JsonObject) -> JsonObject:
        return self._do(calls.set_policy(policy))

    def try_policy(self, policy: JsonObject, *, hours: float = 24.0, seeds: int = 3) -> JsonObject:
        """What this policy and the one in force would have made of the jobs of the last hours."""
        return self._do(calls.try_policy(policy, hours, seeds))

    def projects(self) -> Iterator[JsonObject]:
        """Those that you are in; to operators, all."""
        return self._items(calls.projects)

    def create_project(self, name: str) -> JsonObject:
        return self._do(calls.create_project(name))

    def members(self, project_id: str) -> Iterator[JsonObject]:
        return self._items(lambda cursor: calls.members(project_id, cursor))

    def put_member(self, project_id: str, user_id: str, *, write: bool = False) -> JsonObject:
        return self._do(calls.put_member(project_id, user_id, "write" if write else "read"))

    def remove_member(self, project_id: str, user_id: str) -> None:
        self._do(calls.remove_member(project_id, user_id))

    def audit(self, **which: str) -> Iterator[JsonObject]:
        """Who changed what, oldest first; `which` names any of who, what, target, since and until."""
        return self._items(lambda cursor: calls.audit(which, cursor))

    def deliveries(self, **which: str) -> Iterator[JsonObject]:
        """Webhooks, oldest first; `which` names any of state, job_id and owner."""
        return self._items(lambda cursor: calls.deliveries(which, cursor))

    def delivery(self, number: int) -> JsonObject:
        return self._do(calls.delivery(number))

    def replay(self, number: int) -> JsonObject:
        """Sends a webhook again, whatever became of it."""
        return self._do(calls.replay(number))

    def replay_failed(self, **which: str) -> JsonObject:
        """Sends what was given up again; `which` names any of since, job_id and owner."""
        return self._do(calls.replay_failed(which))

    def webhook_secret(self) -> JsonObject:
        return self._do(calls.webhook_secret())

    def rotate_webhook_secret(self) -> JsonObject:
        return self._do(calls.rotate_webhook_secret())

    def check(self) -> None:
        """Returns if the server answers."""
        self._do(calls.live())

    def _do(self, call: Call[Reply], files: Any = None) -> Reply:
        reply: Reply = Retrying(**retrying(call))(self._once, call, files)
        return reply

    def _items(self, page: Callable[[str | None], Call[JsonObject]]) -> Iterator[JsonObject]:
        """Of all pages, each fetched when it is come to."""
        cursor: str | None = None
        while True:
            found = self._do(page(cursor))
            yield from calls.items_of(found)
            cursor = found.get("next_cursor")
            if cursor is None:
                return

    def _once(self, call: Call[Reply], files: Any) -> Reply:
        try:
            reply = self._http.send(request_for(self._http, call, files))
        except httpx.TransportError as error:
            raise self.server.unreachable(error) from error
        return read(call, reply)

    def _stream(self, job_id: JobId, reader: EventReader) -> Iterator[EventView | JobProgress]:
        reader.restart()
        path, timeout = calls.events(job_id).path, timeouts(STREAM_SILENT_S_MAX)
        with self._http.stream("GET", path, headers=reader.headers(), timeout=timeout) as reply:
            if not reply.is_success:
                reply.read()
                raise error_for(reply)
            for chunk in reply.iter_bytes():
                yield from reader.feed(chunk)
