"""What agents say, and what they are told: the verbs behind the agent protocol."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gpulease.contract import agent as wire
from gpulease.contract.jobs import Fault
from gpulease.contract.problems import ProblemError
from orchestrator.clock import Clock
from orchestrator.fleet.hosts import Hosts
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.inputs import Inputs
from orchestrator.jobs.logs import Logs
from orchestrator.settings import Settings
from orchestrator.storage.protocol import BadKey, PartedUpload, Storage, UploadGone
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Beat, Claimed, Held, Progress, Registration, Verdict, Worker
from scaling.snapshot import Capability
from scaling.states import AttemptState, WorkerState

SERVING = (WorkerState.READY, WorkerState.DRAINING)
FIRST_GENERATION = "first-generation"
"""The incarnation of a worker that only heartbeats, and so never says one."""
OWN_DOING = frozenset({"worker_stopped", "worker_orphaned"})
"""Faults that say nothing against the machine."""
UPLOAD_GRACE_S = 3600.0


@dataclass(frozen=True, slots=True)
class HeldList:
    """The attempts that a worker said it held, and when."""

    at: float
    attempts: frozenset[int]


class Agents:
    def __init__(
        self, store: Store, clock: Clock, settings: Settings, storage: Storage, dispatcher: Dispatcher
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._storage = storage
        self._dispatcher = dispatcher
        self._inputs = Inputs(store, storage)
        self._beats: list[tuple[Beat, asyncio.Future[bool]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self.feed = Feed()
        self.logs = Logs(settings.data / "logs")
        self.hosts = Hosts(store, clock)
        self.held: dict[str, HeldList] = {}
        self.hosted: frozenset[str] = frozenset()
        self.stop_with_us: frozenset[str] = frozenset()
        """Providers whose machines make no sense without this process; other agents outlive a restart of ours."""
        self._heard: dict[str, float] = {}
        self.origin: Callable[[], str] = lambda: ""
        self.on_change: Callable[[], None] = lambda: None
        self.on_register: Callable[[Worker, tuple[Capability, ...]], None] = lambda _worker, _said: None
        self.drain: Callable[[str, str], Awaitable[object]] = _nobody_drains

    async def register(self, worker: Worker, said: wire.RegisterRequest) -> wire.RegisterReply:
        registration = Registration(
            incarnation=said.incarnation,
            capabilities=tuple(
                Capability(one.engine, one.backend, one.models, one.features) for one in said.engines
            ),
            gpu_class=said.gpu_class,
            vram_gb=said.vram_gb,
            capacity=said.capacity,
            usd_per_hour=said.usd_per_hour,
            # A leased machine serves all queues: plans count on that when they order one.
            queues=said.queues if worker.owned else (),
        )
        cut_off = await self._cut_off(worker, said.incarnation)
        self._note_heard(worker)
        if not await self._store.register_worker(worker.id, registration, now=self._clock.now()):
            raise stale("This worker is not to serve: it was let go.")
        self.on_register(worker, registration.capabilities)
        if cut_off:
            await self.drain(worker.id, "its machine may still work for a job whose agent is gone")
        self.on_change()
        return wire.RegisterReply(
            heartbeat_s=self._settings.heartbeat_s,
            claim_wait_s=self._settings.claim_wait_s,
            orphan_after_s=self._settings.orphan_after_s,
            origin=self.origin(),
            origins=self._storage.origins(),
        )

    async def heartbeat(self, worker: Worker, said: wire.HeartbeatRequest) -> wire.HeartbeatReply:
        now = self._clock.now()
        if said.incarnation is None and worker.owned and worker.state is WorkerState.STARTING:
            await self._store.register_worker(worker.id, _first_generation(said), now=now)
        self._note_heard(worker)
        beat = Beat(worker.id, said.incarnation, now, said.resident, said.error, said.attempts)
        if not await self._record(beat):
            raise stale(
                "Another incarnation of this worker has registered, or it was let go. Register again."
            )
        self._dispatcher.rest(worker.id, on=said.status == "paused")
        if said.status == "leaving":
            await self._leave(worker, said)
        cancel: tuple[int, ...] = ()
        if said.attempts is not None:
            self.held[worker.id] = HeldList(now, frozenset(said.attempts))
            cancel = tuple([one for one in said.attempts if not await self._runs(one)])
        return wire.HeartbeatReply(
            cancel=cancel,
            drain=worker.state is WorkerState.DRAINING,
            pause=worker.paused,
            stop=worker.state not in SERVING or self._ends_with_us(worker),
            prefetch=await self._hint(worker) if said.attempts else None,
        )

    async def claim(self, worker: Worker, said: wire.ClaimRequest) -> wire.ClaimReply:
        if said.incarnation != worker.incarnation:
            raise stale("Another incarnation of this worker has registered. Register again.")
        claimed = await self._dispatcher.claim(worker, said)
        if claimed is not None:
            return wire.ClaimReply(assignment=await self._inputs.assignment(claimed, self._clock.now()))
        now_is = await self._store.get_worker(worker.id)
        state = now_is.state if now_is else WorkerState.GONE
        if self._dispatcher.closed and not self._ends_with_us(worker):
            raise ProblemError(503, "The orchestrator is stopping", "Claim again in a moment.")
        return wire.ClaimReply(
            drain=state is WorkerState.DRAINING, stop=state not in SERVING or self._ends_with_us(worker)
        )

    async def progress(self, held: Held, said: wire.ProgressReport) -> None:
        progress = Progress(said.phase, said.progress, said.message)
        verdict = await self._store.report_progress(held, progress, now=self._clock.now())
        await self._settle(held, verdict)

    async def finish(self, held: Held, said: wire.FinishReport) -> None:
        if (said.result is None) == (said.fault is None):
            raise ProblemError(422, "A finish is a result or a fault", "Send one of them, and not both.")
        await self._check_files(held, said)
        verdict = await self._store.finish_attempt(
            held, result=said.result, fault=said.fault, now=self._clock.now()
        )
        claimed = await self._settle(held, verdict)
        if said.fault is not None and verdict is Verdict.APPLIED:
            await self._blame(held.worker_id, said.fault)
        if claimed.job.attempt_id is None and claimed.job.finished_at is None:
            self._dispatcher.look_again()
        else:
            self._dispatcher.ended(claimed.job.need)
        self.on_change()

    async def grant(self, held: Held, said: wire.UploadRequest) -> wire.UploadGrant:
        """A signed place for one output, under a prefix that no other attempt shares."""
        claimed = await self._running(held)
        key = f"{prefix_of(claimed)}{safe_name(said.name)}"
        expires_s = max(UPLOAD_GRACE_S, claimed.job.complete_by - self._clock.now())
        size_bytes, content_type = said.size_bytes, said.content_type
        url, headers = await self._storage.presign_put(
            key, size_bytes=size_bytes, content_type=content_type, expires_s=expires_s
        )
        parted = await self._storage.start_parts(
            key, size_bytes=size_bytes, content_type=content_type, expires_s=expires_s
        )
        return wire.UploadGrant(
            key=key,
            url=url,
            headers=headers,
            bucket=self._storage.bucket,
            object_name=self._storage.object_name(key) if self._storage.bucket else None,
            **(_in_parts(parted, size_bytes) if parted else {}),
        )

    async def complete_upload(self, held: Held, said: wire.UploadComplete) -> None:
        claimed = await self._running(held)
        if not said.key.startswith(prefix_of(claimed)):
            raise ProblemError(422, "This is another attempt's", f"{said.key[:200]!r} was not granted to it.")
        try:
            await self._storage.complete_parts(said.key, said.upload_id, said.etags)
        except (UploadGone, BadKey) as error:
            raise ProblemError(
                410, "This upload is gone, or lacks a part", "Ask for a new one, and put the file again."
            ) from error

    async def log(self, held: Held, said: wire.LogChunk) -> None:
        claimed = await self._running(held)
        await self.logs.write(claimed.job.id, claimed.attempt.number, said.offset, said.text)
        self.feed.publish(claimed.job.id)

    def roster(self) -> dict[str, float]:
        """How long ago each owner's machine was heard, in seconds."""
        now = self._clock.now()
        return {worker_id: now - at for worker_id, at in self._heard.items()}

    async def _leave(self, worker: Worker, said: wire.HeartbeatRequest) -> None:
        """It takes no more jobs; with its last heartbeat, what it still had goes to others at once."""
        await self.drain(worker.id, "it said that it is leaving")
        if said.attempts != ():
            return
        lost = await self._store.lose_attempts(
            worker.id, keep=(), reason="its worker left", now=self._clock.now()
        )
        for job_id in lost:
            self.feed.publish(job_id)
        if lost:
            self._dispatcher.look_again()
            self.on_change()

    def _note_heard(self, worker: Worker) -> None:
        if worker.owned:
            self._heard[worker.id] = self._clock.now()

    def _ends_with_us(self, worker: Worker) -> bool:
        return self._dispatcher.closed and worker.provider in self.stop_with_us

    async def _cut_off(self, worker: Worker, incarnation: str) -> bool:
        """Whether an agent that is gone left work running on a leased machine that only it could have ended."""
        if worker.provider not in self.hosted or worker.owned or worker.incarnation in (None, incarnation):
            return False
        attempts = await self._store.list_worker_attempts(worker.id)
        return any(one.state is AttemptState.RUNNING for one in attempts)

    async def _blame(self, worker_id: str, fault: Fault) -> None:
        worker = await self._store.get_worker(worker_id)
        if worker is not None and fault.kind == "host" and fault.code not in OWN_DOING:
            await self.hosts.blame(worker, f"{fault.code}: {fault.message}"[:200])

    async def _check_files(self, held: Held, said: wire.FinishReport) -> None:
        """A result may name only what this attempt has stored, and whole."""
        claimed = await self._store.get_attempt(held.attempt_id)
        if claimed is None:
            raise stale("There is no such attempt.")
        for file in said.files():
            stored = await self._storage.stat(file.key) if file.key.startswith(prefix_of(claimed)) else None
            if stored is None or stored.size_bytes != file.size_bytes:
                raise ProblemError(
                    422,
                    "An output is not in storage",
                    f"{file.name!r} was not uploaded whole; upload it again.",
                )

    async def _running(self, held: Held) -> Claimed:
        claimed = await self._store.get_attempt(held.attempt_id)
        if claimed is None or not _is_current(claimed, held):
            raise stale("This attempt has ended, or is another worker's.")
        return claimed

    async def _settle(self, held: Held, verdict: Verdict) -> Claimed:
        claimed = await self._store.get_attempt(held.attempt_id)
        if verdict is Verdict.STALE or claimed is None:
            raise stale("This attempt has ended, or is another worker's. Nothing was changed.")
        self.feed.publish(claimed.job.id)
        return claimed

    async def _runs(self, attempt_id: int) -> bool:
        claimed = await self._store.get_attempt(attempt_id)
        return claimed is not None and claimed.attempt.state is AttemptState.RUNNING

    async def _hint(self, worker: Worker) -> wire.Prefetch | None:
        job = await self._store.peek_next(
            worker.id,
            limits=self._dispatcher.limits(),
            holds=self._dispatcher.holds.current(),
            patience=self._dispatcher.holds.patience(),
        )
        if job is None or not (urls := await self._inputs.urls(job)):
            return None
        return wire.Prefetch(job_id=job.id, inputs=urls)

    async def _record(self, beat: Beat) -> bool:
        """Folds heartbeats that arrive together into one transaction."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._beats.append((beat, future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return await future

    async def _flush(self) -> None:
        while self._beats:
            batch, self._beats = self._beats, []
            try:
                known = await self._store.record_beats([beat for beat, _ in batch])
            except Exception as error:  # noqa: BLE001  Whoever waits gets it.
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for beat, future in batch:
                if not future.done():
                    future.set_result(known.get(beat.worker_id, False))


def _first_generation(said: wire.HeartbeatRequest) -> Registration:
    """A worker that only heartbeats is seen, and gets no jobs: it says of nothing that it runs it."""
    return Registration(FIRST_GENERATION, (), said.gpu_class or "cpu", 0.0, said.capacity or 1)


async def _nobody_drains(_worker_id: str, _reason: str) -> None:
    return None


def _in_parts(parted: PartedUpload, size_bytes: int) -> dict[str, Any]:
    starts = range(0, size_bytes, parted.part_bytes)
    parts = tuple(
        wire.PartGrant(url=url, size_bytes=min(parted.part_bytes, size_bytes - start))
        for url, start in zip(parted.urls, starts, strict=True)
    )
    return {"upload_id": parted.upload_id, "part_bytes": parted.part_bytes, "parts": parts}


def prefix_of(claimed: Claimed) -> str:
    return f"jobs/{claimed.job.id}/{claimed.attempt.id}/"


def safe_name(name: str) -> str:
    """A file name that cannot leave its folder."""
    kept = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in name
    )
    return kept[-150:].lstrip(".") or "output"


def stale(detail: str) -> ProblemError:
    return ProblemError(409, "This report is stale", detail, type="/problems/stale")


def _is_current(claimed: Claimed, held: Held) -> bool:
    attempt = claimed.attempt
    return (
        attempt.state is AttemptState.RUNNING
        and attempt.worker_id == held.worker_id
        and attempt.incarnation == held.incarnation
    )
