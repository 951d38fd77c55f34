"""What agents say, and what they are told: the verbs behind the agent protocol."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gpulease.contract import agent as wire
from gpulease.contract.problems import ProblemError
from orchestrator.clock import Clock
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.inputs import Inputs
from orchestrator.jobs.logs import Logs
from orchestrator.settings import Settings
from orchestrator.storage.protocol import Storage
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Beat, Claimed, Held, Progress, Registration, Verdict, Worker
from scaling.snapshot import Capability
from scaling.states import AttemptState, WorkerState

SERVING = (WorkerState.READY, WorkerState.DRAINING)
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
        self.held: dict[str, HeldList] = {}
        self.origin: Callable[[], str] = lambda: ""
        self.on_change: Callable[[], None] = lambda: None

    async def register(self, worker: Worker, said: wire.RegisterRequest) -> wire.RegisterReply:
        registration = Registration(
            incarnation=said.incarnation,
            capabilities=tuple(
                Capability(one.engine, one.backend, one.models, one.features) for one in said.engines
            ),
            gpu_class=said.gpu_class,
            vram_gb=said.vram_gb,
            capacity=said.capacity,
        )
        if not await self._store.register_worker(worker.id, registration, now=self._clock.now()):
            raise stale("This worker is not to serve: it was let go.")
        self.on_change()
        return wire.RegisterReply(
            heartbeat_s=self._settings.heartbeat_s,
            claim_wait_s=self._settings.claim_wait_s,
            orphan_after_s=self._settings.orphan_after_s,
            origin=self.origin(),
        )

    async def heartbeat(self, worker: Worker, said: wire.HeartbeatRequest) -> wire.HeartbeatReply:
        now = self._clock.now()
        beat = Beat(worker.id, said.incarnation, now, said.resident, said.error, said.attempts)
        if not await self._record(beat):
            raise stale(
                "Another incarnation of this worker has registered, or it was let go. Register again."
            )
        cancel: tuple[int, ...] = ()
        if said.attempts is not None:
            self.held[worker.id] = HeldList(now, frozenset(said.attempts))
            cancel = tuple([one for one in said.attempts if not await self._runs(one)])
        return wire.HeartbeatReply(
            cancel=cancel,
            drain=worker.state is WorkerState.DRAINING,
            pause=worker.paused,
            stop=worker.state not in SERVING or self._dispatcher.closed,
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
        return wire.ClaimReply(
            drain=state is WorkerState.DRAINING, stop=state not in SERVING or self._dispatcher.closed
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
        if claimed.job.attempt_id is None and claimed.job.finished_at is None:
            self._dispatcher.look_again()
        self.on_change()

    async def grant(self, held: Held, said: wire.UploadRequest) -> wire.UploadGrant:
        """A signed place for one output, under a prefix that no other attempt shares."""
        claimed = await self._running(held)
        key = f"{prefix_of(claimed)}{safe_name(said.name)}"
        url, headers = await self._storage.presign_put(
            key, size_bytes=said.size_bytes, content_type=said.content_type, expires_s=UPLOAD_GRACE_S
        )
        return wire.UploadGrant(key=key, url=url, headers=headers)

    async def log(self, held: Held, said: wire.LogChunk) -> None:
        claimed = await self._running(held)
        await self.logs.write(claimed.job.id, claimed.attempt.number, said.offset, said.text)
        self.feed.publish(claimed.job.id)

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
        job = await self._store.peek_next(worker.id)
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


def prefix_of(claimed: Claimed) -> str:
    return f"jobs/{claimed.job.id}/{claimed.attempt.id}/"


def safe_name(name: str) -> str:
    """A file name that cannot leave its folder."""
    kept = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).lstrip(".")
    return kept[-150:] or "output"


def stale(detail: str) -> ProblemError:
    return ProblemError(409, "This report is stale", detail, type="/problems/stale")


def _is_current(claimed: Claimed, held: Held) -> bool:
    attempt = claimed.attempt
    return (
        attempt.state is AttemptState.RUNNING
        and attempt.worker_id == held.worker_id
        and attempt.incarnation == held.incarnation
    )
