"""Drives a worker that speaks one of the two video services, in any language, from request to file.

A stream that breaks means nothing: the same id is asked for again, which joins the job or repeats its result. The
service of the first kind, which only takes a job and is asked how it is, is used where the other one is missing.
"""

import asyncio
import contextlib
import math
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from gpulease.contract import video_generator_pb2 as wire
from gpulease.contract.engines import VideoInput
from worker_image.engines.base import Report
from worker_image.engines.video.found import Place, Told
from worker_image.engines.video.replies import Patience, failed, fault_of, fault_of_event
from worker_image.engines.video.target import Line
from worker_image.engines.video.telling import Telling
from worker_image.faults import Cancelled, HostFault

STREAM_S_MAX = 7200.0
CALL_S_MAX = 10.0
CANCEL_S_MAX = 1.0
POLL_S = 1.0
STREAMS_MAX = 50
"""So often a stream may end without an end before the worker counts as broken."""


@dataclass(frozen=True, slots=True)
class Order:
    """`job_id` is one that no other attempt uses, since results are repeated by it."""

    job_id: str
    model: str | None
    asked: VideoInput
    place: Place


@dataclass(frozen=True, slots=True)
class Delivered:
    """`ignored` are parameters that the service used has no field for."""

    told: Told
    gpu_util: float = 0.0
    ignored: tuple[str, ...] = ()


class Driver:
    def __init__(self, line: Line, patience: Patience | None = None) -> None:
        self._line = line
        self._patience = patience or Patience()

    async def make(self, order: Order, report: Report) -> Delivered:
        """Has it made. When it is taken back (by what `report` raises, or by a cancel) the job there is ended.

        Raises:
            Faulted: whose fault it was is in its kind.
        """
        telling = Telling(report)
        try:
            told = await self._streamed(order, telling)
            if told is not None:
                return Delivered(told, telling.gpu_util)
            return Delivered(await self._submitted(order, telling), ignored=_ignored(order))
        except (Cancelled, asyncio.CancelledError):
            await asyncio.shield(self.cancel(order.job_id))
            raise
        except grpc.aio.AioRpcError as error:
            raise fault_of(error) from error

    async def cancel(self, job_id: str) -> None:
        """Asks for its end; a worker of the first generation cannot be asked, and its stream is closed anyway."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._call(self._line.generator.Cancel, wire.CancelRequest(job_id=job_id), CANCEL_S_MAX)

    async def _streamed(self, order: Order, telling: Telling) -> Told | None:
        """None: the worker has not that service."""
        for _ in range(STREAMS_MAX):
            try:
                told = await self._one_stream(order, telling) or await self._polled(order.job_id, telling)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return None
                await telling.sleep(self._patience.bear(error))
                continue
            if told is not None:
                return told
        raise HostFault("generator_failed", "the video worker ends its streams without a result")

    async def _one_stream(self, order: Order, telling: Telling) -> Told | None:
        """What it ended with; None: with nothing."""
        call = self._line.generator.Generate(
            request_of(order), timeout=STREAM_S_MAX, metadata=self._line.target.metadata
        )
        try:
            while (event := await telling.during(call.read())) is not grpc.aio.EOF:
                self._patience.heard()
                if event.HasField("error"):
                    raise fault_of_event(event.error)
                if event.HasField("result"):
                    said = event.result
                    return Told(said.artifact_path, said.s3_url, said.etag, said.bytes)
                telling.progress(event.progress)
            return None
        finally:
            call.cancel()

    async def _polled(self, job_id: str, telling: Telling) -> Told | None:
        """How a job stands whose stream said nothing at its end; None: it is not known there."""
        statuses = wire.GetJobResponse
        while True:
            job = await self._job(job_id, telling)
            match job.status:
                case statuses.SUCCEEDED:
                    return Told(s3_url=job.s3_url)
                case statuses.FAILED:
                    raise failed(job.error)
                case statuses.QUEUED | statuses.RUNNING:
                    telling(job.progress / 100, "making the video", step=job.progress, total_steps=100)
                    await telling.sleep(POLL_S)
                case _:
                    await telling.sleep(POLL_S)
                    return None

    async def _job(self, job_id: str, telling: Telling) -> wire.GetJobResponse:
        call = self._call(self._line.generator.GetJob, wire.GetJobRequest(job_id=job_id))
        try:
            job: wire.GetJobResponse = await telling.during(call)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise failed("its stream ended without a result") from error
            raise
        self._patience.heard()
        return job

    async def _submitted(self, order: Order, telling: Telling) -> Told:
        try:
            reply = await telling.during(self._call(self._line.submissions.Generate, submission_of(order)))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise HostFault(
                    "service_missing", "the video worker has neither of the two services"
                ) from error
            raise
        if not reply.accepted:
            raise HostFault(
                "generator_refused", f"the video worker did not accept the job: {reply.message[:500]}"
            )
        while (told := await self._status(order.job_id, telling)) is None:
            await telling.sleep(POLL_S)
        return told

    async def _status(self, job_id: str, telling: Telling) -> Told | None:
        """What is told of the finished video; None while it is made."""
        try:
            said = await telling.during(
                self._call(self._line.submissions.GetStatus, wire.StatusRequest(job_id=job_id))
            )
        except grpc.aio.AioRpcError as error:
            await telling.sleep(self._patience.bear(error))
            return None
        self._patience.heard()
        match said.state:
            case "completed":
                return _located(said.output_path)
            case "failed":
                raise failed(said.error_message)
            case "pending" | "processing":
                telling(0.0, said.state)
                return None
            case other:
                raise HostFault("generator_failed", f"the video worker tells of a state {other[:100]!r}")

    async def _call(self, rpc: Any, request: Any, timeout_s: float = CALL_S_MAX) -> Any:
        return await rpc(request, timeout=timeout_s, metadata=self._line.target.metadata)


def request_of(order: Order) -> wire.GenerateRequest:
    """Every parameter goes as an option, those with a default too: other workers have others."""
    options = order.asked.model_dump(exclude={"prompt", "model"}, exclude_none=True)
    return wire.GenerateRequest(
        job_id=order.job_id,
        prompt=order.asked.prompt,
        model=order.model or "",
        scratch_dir=order.place.there,
        options={name: str(value) for name, value in options.items()},
    )


def submission_of(order: Order) -> wire.SubmitRequest:
    """Durations are whole seconds there, and are rounded up."""
    return wire.SubmitRequest(
        job_id=order.job_id,
        prompt=order.asked.prompt,
        resolution_width=order.asked.width,
        resolution_height=order.asked.height,
        duration_seconds=math.ceil(order.asked.duration),
        quality=order.asked.quality,
    )


def _ignored(order: Order) -> tuple[str, ...]:
    fields = ("model", "fps", "seed", "steps", "negative_prompt")
    return tuple(name for name in fields if name in order.asked.model_fields_set)


def _located(output_path: str) -> Told:
    return Told(s3_url=output_path) if "://" in output_path else Told(path=output_path)
