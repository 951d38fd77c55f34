"""The store: domain verbs, one transaction each. Every implementation passes tests/contract/test_store.py.

A verb that moves a row is guarded by the row's state, its attempt and its worker's incarnation; where the guard
fails it changes nothing and says so. Every move of a job or worker writes one event in the same transaction.
`now` is epoch seconds, given by the caller: stores have no clock.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from gpulease.contract.jobs import Fault, Result
from orchestrator.store import rows
from orchestrator.store.accounts import Accounts
from orchestrator.store.past import PastJob, PlanRow
from orchestrator.store.people import By
from provider_clients.base import Receipt
from scaling.limits import NO_LIMITS, RunningLimits
from scaling.place import NO_HOLDS, Holds, Patience

GROUP_COUNT_MAX = 5_000
"""Groups are counted up to here: no decision differs above it, and reading a fleet stays cheap."""
AHEAD_MAX = 16
"""Among so many of a group a claim looks for the first in time, if those before it are late."""


class Store(Accounts, Protocol):
    async def aclose(self) -> None: ...

    # Jobs

    async def submit_jobs(self, jobs: Sequence[rows.NewJob], *, by: By | None = None) -> list[rows.Submitted]:
        """Queues all of them, or none. A known (owner, idempotency key) gives the job that it made."""
        ...

    async def get_job(self, job_id: str) -> rows.Job | None: ...

    async def find_submitted(self, owner: str, idempotency_key: str) -> rows.Job | None:
        """The job that this key stands for."""
        ...

    async def list_jobs(
        self, which: rows.JobFilter, *, before: tuple[float, str] | None, limit: int
    ) -> list[rows.Job]:
        """Newest first by (created_at, id); `before` is the last row of the page before."""
        ...

    async def list_attempts(self, job_id: str) -> list[rows.Attempt]: ...

    async def cancel_job(  # noqa: PLR0913
        self,
        job_id: str,
        *,
        who: str,
        reason: str,
        now: float,
        code: str = "cancelled",
        by: By | None = None,
    ) -> rows.Job | None:
        """Ends a queued or running job, and its attempt; a finished one is returned as it is. `code` is the fault's,
        for surfaces whose clients say more than that they cancel.
        """
        ...

    async def forget_job(self, job_id: str, *, now: float, by: By | None = None) -> rows.Purged | None:
        """Removes a finished job with all that hangs on it; None where there is none that has finished."""
        ...

    async def load_of(self, *, owner: str | None = None, project: str | None = None) -> rows.Load:
        """What the project's jobs are at, whoever's they are; without a project, the owner's."""
        ...

    async def spent_by(
        self, *, since: float, now: float, owner: str | None = None, project: str | None = None
    ) -> float:
        """USD: what the slots that their attempts held since then cost, at their workers' prices, to `now`; of the
        project, or without one of the owner. Jobs that are forgotten count on, for 40 days.
        """
        ...

    async def end_overdue_jobs(self, *, now: float) -> list[rows.Job]:
        """Ends what is past its limits, at most 1,000 at once: queued past `complete_by` or (never started)
        past `start_by` → expired; running past `complete_by`, or its attempt past `max_time_s` (while it
        holds its slot) → timed_out. The fault says which limit it was.
        """
        ...

    # Attempts

    async def claim_job(  # noqa: PLR0913
        self,
        worker_id: str,
        incarnation: str,
        nonce: str,
        *,
        resident: tuple[str, ...],
        now: float,
        limits: RunningLimits = NO_LIMITS,
        holds: Holds = NO_HOLDS,
        patience: Patience | None = None,
    ) -> rows.Claimed | None:
        """Gives the worker its next job by `scaling.place.choose`, or None: nothing fits, no free slot, not
        ready, paused, or another incarnation. A repeated nonce gives the same attempt while that runs,
        and nothing after. What is past its limits is not begun, nor what would break one of `limits`; jobs that
        `holds` names are left to workers that have their model. With a `patience`, a job that is late on this
        worker comes after those in time: of its need after the first of `AHEAD_MAX` that is, else the oldest.
        The attempt says whether it loads: the model of its job is not among `resident`.
        Also notes that the worker claimed at `now`. Cost does not grow with the queue.
        """
        ...

    async def peek_next(
        self,
        worker_id: str,
        *,
        limits: RunningLimits = NO_LIMITS,
        holds: Holds = NO_HOLDS,
        patience: Patience | None = None,
    ) -> rows.Job | None:
        """The job that a claim would likely get next, without taking it: the prefetch hint."""
        ...

    async def get_attempt(self, attempt_id: int) -> rows.Claimed | None: ...

    async def report_progress(self, held: rows.Held, progress: rows.Progress, *, now: float) -> rows.Verdict:
        """Phases and progress only go forward; entering `uploading` frees the slot (and counts as a finish
        for idleness). A new phase writes an event, mere progress does not.
        """
        ...

    async def finish_attempt(
        self, held: rows.Held, *, result: Result | None, fault: Fault | None, now: float
    ) -> rows.Verdict:
        """Ends the attempt and moves its job: a result → succeeded. A `job` fault → failed. A `host` fault →
        queued again (its need now avoids this worker) while `attempts <= retries` and `complete_by` allow,
        else failed; also failed when its fault code equals that of an earlier attempt on another worker and
        starts with `image`. A finished job with `notify_url` gets a delivery in the same transaction.
        """
        ...

    async def lose_attempts(
        self, worker_id: str, *, keep: tuple[int, ...], reason: str, now: float
    ) -> list[str]:
        """Ends the worker's running attempts but `keep` as `lost`; their jobs are queued again (avoiding the
        worker) or failed, as after a host fault. Returns the job ids.
        """
        ...

    async def lose_attempt(self, attempt_id: int, *, reason: str, now: float) -> rows.Job | None:
        """The same for one attempt (stalled, or held by nobody); None if it does not run any more."""
        ...

    # Workers

    async def intend_worker(self, worker: rows.NewWorker) -> None: ...

    async def move_worker(self, worker_id: str, move: rows.WorkerMove, *, now: float) -> bool:
        """Moves it if it is in one of `move.expected` (each of which the table must allow). Entering `creating`
        starts its lease unless boot is not billed, `ready` starts it otherwise; `gone` ends the lease,
        and voids it where nothing was created (no instance was ever seen, and it never was ready).
        Entering `stopping` also ends its running attempts as `lost`, as `lose_attempts` does.
        """
        ...

    async def enrol_worker(self, enrolment: rows.Enrolment) -> bool:
        """A new owned worker, in `starting`; one of the same id and provider that is gone begins anew. False
        where the id is alive already, or is no owned worker's of that provider. It has no lease: its owner's
        price is for the time in which it works. When it goes (`stopping`), it needs no provider to confirm that.
        """
        ...

    async def rekey_worker(self, worker_id: str, key_hash: str) -> None: ...

    async def note_instance(self, worker_id: str, facts: rows.InstanceFacts) -> None:
        """Notes what the provider says of a live worker's instance; what is None stays as it was."""
        ...

    async def known_instances(self, provider: str) -> dict[str, str]:
        """Worker ids by instance id, of all rows that are kept, gone ones too."""
        ...

    async def register_worker(self, worker_id: str, registration: rows.Registration, *, now: float) -> bool:
        """Creating | starting → ready, or ready | draining with a new incarnation, whose old attempts end as
        `lost`. The same incarnation again only refreshes. False where the worker is not to serve.
        """
        ...

    async def record_beats(self, beats: Sequence[rows.Beat]) -> dict[str, bool]:
        """Notes heartbeats in one transaction; whether each worker knows that incarnation and may serve."""
        ...

    async def note_claim(self, worker_id: str, *, now: float) -> None:
        """A claim is parked, or was just now."""
        ...

    async def pause_worker(
        self, worker_id: str, *, paused: bool, who: str, now: float, by: By | None = None
    ) -> bool: ...

    async def note_probe(self, worker_id: str, *, healthy: bool) -> None: ...

    async def record_host_fault(self, fault: rows.HostFault) -> None:
        """Once for a worker and a reason."""
        ...

    async def list_host_faults(self, *, since: float) -> list[rows.HostFault]:
        """Oldest first."""
        ...

    async def get_worker(self, worker_id: str) -> rows.Worker | None: ...

    async def list_worker_attempts(self, worker_id: str) -> list[rows.Attempt]:
        """All that it ran and that are kept, oldest first."""
        ...

    async def list_workers(self, *, include_gone: bool, limit: int) -> list[rows.Worker]:
        """Newest first."""
        ...

    async def read_fleet(self) -> rows.Fleet: ...

    # Events

    async def list_events(
        self, *, job_id: str | None = None, worker_id: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[rows.Event]:
        """Oldest first; `after` is a `seq` for one job's events, an `id` otherwise."""
        ...

    # Money

    async def list_leases(self, *, since: float) -> list[rows.Lease]:
        """Those that had not ended by `since`, oldest first."""
        ...

    async def get_lease(self, worker_id: str) -> rows.Lease | None: ...

    async def note_receipt(self, worker_id: str, receipt: Receipt) -> None:
        """The provider's own records of this worker's lease: its interval and its billed seconds become theirs,
        whether the lease ended already, ends later, or was voided.
        """
        ...

    async def record_lease(self, lease: rows.Lease) -> None:
        """A lease without a worker's row: an orphan that was swept. The same `worker_id` again replaces it."""
        ...

    # Webhooks

    async def due_deliveries(self, *, now: float, limit: int) -> list[rows.Delivery]: ...

    async def record_delivery(
        self, delivery_id: int, *, status: int | None, error: str | None, now: float, next_at: float | None
    ) -> None:
        """Keeps one try of a delivery. `error` None means that it arrived; otherwise it is due again at
        `next_at`, or given up where that is None.
        """
        ...

    async def put_off_deliveries(
        self, delivery_ids: Sequence[int], *, until: float | None, reason: str | None, now: float
    ) -> None:
        """Makes them due at `until`, or gives them up where that is None, and counts no try. A reason becomes their
        last error, and `held_since` says since when there has been one, without an answer in between.
        """
        ...

    async def list_deliveries(
        self,
        job_id: str | None = None,
        *,
        owner: str | None = None,
        state: rows.DeliveryState | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[rows.Delivery]:
        """By id, those above `after`."""
        ...

    async def get_delivery(self, delivery_id: int) -> rows.Delivery | None: ...

    async def list_delivery_tries(self, delivery_id: int) -> list[rows.DeliveryTry]:
        """Oldest first."""
        ...

    async def replay_delivery(self, delivery_id: int, *, by: By | None, now: float) -> rows.Delivery | None:
        """Makes it due now, with no tries counted yet, whatever became of it. Its tries stay listed."""
        ...

    # Policy, plans, retention

    async def read_setting(self, name: str) -> Any | None: ...

    async def write_setting(
        self, name: str, value: Any, *, who: str, now: float, by: By | None = None
    ) -> None: ...

    async def note(self, name: str, value: Any, *, now: float) -> None:
        """As `write_setting`, of what nobody asked for: it makes no event, and a power cut may undo it."""
        ...

    async def record_plan(self, record: dict[str, Any], *, at: float) -> int:
        """Keeps what a plan saw and decided, and of all only the latest `PLANS_MAX`. Returns its id."""
        ...

    async def list_plans(
        self, *, before: int | None = None, until: float | None = None, limit: int = 100
    ) -> list[PlanRow]:
        """Newest first: those whose id is below `before`, and that were made by `until`."""
        ...

    async def get_plan(self, plan_id: int) -> PlanRow | None: ...

    async def finished_work(self, *, since: float, limit: int) -> list[PastJob]:
        """Jobs that came since then and succeeded, in the order in which they came; of more, the latest."""
        ...

    async def purge(self, *, finished_before: float, now: float) -> rows.Purged:
        """Removes jobs that finished before then with all that hangs on them, expired uploads, and workers
        gone before then (their leases stay), and plans of more than `PLANS_KEPT_S` ago. At most 1,000 jobs at once.
        """
        ...
