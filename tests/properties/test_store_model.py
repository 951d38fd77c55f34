"""Whatever is asked, in whatever order, SQLite answers as the model does, and remembers the same."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from two_stores import TwoStores

from gpulease.contract.jobs import Fault, OutputFile, Phase, Result
from orchestrator.store import people, rows
from orchestrator.store.errors import Duplicate
from orchestrator.store.protocol import Store
from provider_clients.base import Receipt
from scaling.limits import NO_LIMITS, RunningLimits, count, has_room
from scaling.place import Patience
from scaling.snapshot import Capability, Need
from scaling.states import (
    ATTEMPT_MOVES,
    JOB_MOVES,
    WORKER_MOVES,
    AttemptState,
    IllegalMove,
    JobState,
    WorkerState,
)

JOBS = st.integers(0, 12).map("job-{}".format)
WORKERS = st.sampled_from(["w1", "w2", "w3"])
INSTANCES = st.sampled_from(["i-1", "i-2"])
INCARNATIONS = st.sampled_from(["i1", "i2"])
ATTEMPTS = st.integers(1, 8)
NEEDS = st.builds(
    Need,
    engine=st.sampled_from(["csm", "whisper"]),
    model=st.sampled_from([None, "small", "huge"]),
    owner=st.sampled_from(["", "ann"]),
    project=st.sampled_from(["", "", "film"]),
    queue=st.sampled_from(["default", "default", "long"]),
    priority=st.sampled_from([0, 0, 5]),
    low_priority=st.booleans(),
    max_time_s=st.sampled_from([10, 10.0, 1200.0]),
)
LIMITS = st.just(NO_LIMITS) | st.builds(
    RunningLimits,
    owners=st.dictionaries(st.sampled_from(["", "ann"]), st.integers(0, 2)),
    projects=st.dictionaries(st.sampled_from(["film"]), st.integers(0, 2)),
    queues=st.dictionaries(st.sampled_from(["default", "long"]), st.integers(0, 2)),
)
HOLDS = st.dictionaries(NEEDS, st.integers(1, 3), max_size=3)
PATIENCES = st.none() | st.builds(
    Patience, st.sampled_from([2.0, 5.0, 30.0]), st.sampled_from([0.0, 4.0, 20.0])
)
FAULTS = st.builds(
    Fault,
    kind=st.sampled_from(["job", "host", "host"]),
    code=st.sampled_from(["oom", "image_broken"]),
    message=st.just("why"),
)
RESULTS = st.sampled_from(
    [
        Result(backend="a", files=(OutputFile(name="f", key="k/f", size_bytes=1),)),
        Result(backend="b", text="said", metrics={"MODEL_LOAD_SEC": 2.5}),
    ]
)
BY = people.By("user:ann", "k1", "127.0.0.1")
SPOKEN = (Capability("csm", "x", ("small",)), Capability("whisper", "y", ("small",)))


@st.composite
def new_jobs(draw: st.DrawFn) -> rows.NewJob:
    """Some with an id or a key that is taken already."""
    return rows.NewJob(
        id=draw(JOBS),
        need=draw(NEEDS),
        input={"text": "hello"},
        created_at=float(draw(st.integers(0, 20))),
        complete_by=float(draw(st.integers(30, 300))),
        max_time_s=float(draw(st.sampled_from([10, 100]))),
        retries=draw(st.integers(0, 3)),
        start_by=draw(st.sampled_from([None, None, 40.0, 500.0])),
        notify_url=draw(st.sampled_from([None, "https://example.org"])),
        idempotency_key=draw(st.sampled_from([None, None, "k1", "k2"])),
        request_hash=draw(st.sampled_from(["h1", "h2"])),
    )


class StoresAgree(TwoStores):
    answers = (Duplicate, IllegalMove)

    def __init__(self) -> None:
        super().__init__()
        self.now = 20.0
        self.nonces = 0
        self.before: dict[str, JobState] = {}

    @initialize()
    def two_workers_serve(self) -> None:
        for worker_id in ("w1", "w2"):
            self.intend(worker_id, True)
            self.move(worker_id, WorkerState.CREATING, [WorkerState.INTENDED], False)
            self.register(worker_id, "i1", 2)

    @rule(seconds=st.sampled_from([1, 1, 5, 20, 60, -10]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(jobs=st.lists(new_jobs(), min_size=1, max_size=4))
    def submit(self, jobs: list[rows.NewJob]) -> None:
        self.both(lambda store: store.submit_jobs(jobs, by=BY))

    @rule(
        worker_id=WORKERS,
        incarnation=INCARNATIONS,
        again=st.booleans(),
        warm=st.booleans(),
        bounds=st.tuples(LIMITS, HOLDS, PATIENCES),
    )
    def claim(
        self,
        worker_id: str,
        incarnation: str,
        again: bool,
        warm: bool,
        bounds: tuple[RunningLimits, dict[Need, int], Patience | None],
    ) -> None:
        limits, holds, patience = bounds
        bound: dict[str, Any] = {"limits": limits, "holds": holds, "patience": patience}
        self.nonces += not again
        resident = ("csm/small",) if warm else ()
        asked = (worker_id, incarnation, f"n{self.nonces}")
        fleet = self.both(lambda store: store.read_fleet())
        claimed = self.both(lambda store: store.claim_job(*asked, resident=resident, now=self.now, **bound))
        if claimed is not None and not any(claimed.attempt.id == one.id for one, _ in fleet.attempts):
            assert has_room(claimed.job.need, limits, count((job.need, 1) for _, job in fleet.attempts))

    @rule(
        number=ATTEMPTS,
        worker_id=WORKERS,
        phase=st.sampled_from(list(Phase)),
        part=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def report(self, number: int, worker_id: str, phase: Phase, part: float) -> None:
        held = self.held(number, worker_id)
        self.both(lambda store: store.report_progress(held, rows.Progress(phase, part, "m"), now=self.now))

    @rule(number=ATTEMPTS, worker_id=WORKERS, end=st.one_of(RESULTS, FAULTS))
    def finish(self, number: int, worker_id: str, end: Result | Fault) -> None:
        held = self.held(number, worker_id)
        result = end if isinstance(end, Result) else None
        fault = end if isinstance(end, Fault) else None
        self.both(lambda store: store.finish_attempt(held, result=result, fault=fault, now=self.now))

    @rule(number=ATTEMPTS)
    def lose(self, number: int) -> None:
        self.both(lambda store: store.lose_attempt(number, reason="silent", now=self.now))

    @rule(worker_id=WORKERS, keep=st.lists(ATTEMPTS, max_size=3))
    def lose_all(self, worker_id: str, keep: list[int]) -> None:
        kept = tuple(keep)
        self.both(lambda store: store.lose_attempts(worker_id, keep=kept, reason="x", now=self.now))

    @rule(job_id=JOBS)
    def cancel(self, job_id: str) -> None:
        self.both(lambda store: store.cancel_job(job_id, who="ann", reason="enough", now=self.now, by=BY))

    @rule(job_id=JOBS)
    def forget(self, job_id: str) -> None:
        self.both(lambda store: store.alias("farm", "task", job_id, "ann"))
        self.both(lambda store: store.forget_job(job_id, now=self.now, by=BY))

    @rule()
    def end_overdue(self) -> None:
        self.both(lambda store: store.end_overdue_jobs(now=self.now))

    @rule(worker_id=WORKERS, boot_billed=st.booleans())
    def intend(self, worker_id: str, boot_billed: bool) -> None:
        worker = rows.NewWorker(
            worker_id, "local", "cpu", 1.0, self.now, self.now, "h", "demand", boot_billed=boot_billed
        )
        self.both(lambda store: store.intend_worker(worker))

    @rule(
        worker_id=WORKERS,
        to=st.sampled_from(list(WorkerState)),
        expected=st.lists(st.sampled_from(list(WorkerState)), min_size=1, max_size=2),
        named=st.booleans(),
    )
    def move(self, worker_id: str, to: WorkerState, expected: list[WorkerState], named: bool) -> None:
        instance = rows.InstanceFacts(f"i-{worker_id}") if named else None
        move = rows.WorkerMove(to, tuple(expected), "ops", "because", instance)
        self.both(lambda store: store.move_worker(worker_id, move, now=self.now))

    @rule(worker_id=WORKERS, price=st.sampled_from([0.0, 0.5]), local=st.booleans())
    def enrol(self, worker_id: str, price: float, local: bool) -> None:
        provider = "local" if local else "buffer"
        enrolment = rows.Enrolment(worker_id, provider, f"h{self.now}", self.now, usd_per_hour=price)
        self.both(lambda store: store.enrol_worker(enrolment))

    @rule(worker_id=WORKERS)
    def let_go(self, worker_id: str) -> None:
        """Rare by single moves, and what an owner's machine must be before it begins anew."""
        alive = [WorkerState.READY, WorkerState.DRAINING, WorkerState.STARTING]
        self.move(worker_id, WorkerState.STOPPING, alive, False)
        self.move(worker_id, WorkerState.GONE, [WorkerState.STOPPING], False)

    @rule(
        worker_id=WORKERS,
        instance=INSTANCES,
        left_s=st.sampled_from([None, 60, 80, 2000]),
        host=st.booleans(),
    )
    def note_instance(self, worker_id: str, instance: str, left_s: float | None, host: bool) -> None:
        ends_at = None if left_s is None else self.now + left_s
        facts = rows.InstanceFacts(instance, ends_at, host_id="m1" if host else None)
        self.both(lambda store: store.note_instance(worker_id, facts))
        self.both(lambda store: store.rekey_worker(worker_id, f"k{self.now}"))

    @rule(worker_id=WORKERS, used_s=st.sampled_from([0.0, 7.5]))
    def note_receipt(self, worker_id: str, used_s: float) -> None:
        receipt = Receipt(self.now - used_s, self.now, used_s)
        self.both(lambda store: store.note_receipt(worker_id, receipt))

    @rule(worker_id=st.sampled_from(["w1", "w3", "orphan"]), ended=st.booleans())
    def record_lease(self, worker_id: str, ended: bool) -> None:
        end = self.now if ended else None
        lease = rows.Lease(worker_id, "salad", "l4", 0.5, self.now - 9, end, 1.0, 0.0, 0.0, instance_id="i-9")
        self.both(lambda store: store.record_lease(lease))

    @rule(worker_id=WORKERS, reason=st.sampled_from(["died", "slow"]))
    def fault_of_host(self, worker_id: str, reason: str) -> None:
        fault = rows.HostFault("salad", "m1", worker_id, reason, self.now)
        self.both(lambda store: store.record_host_fault(fault))

    @rule(
        worker_id=WORKERS,
        incarnation=INCARNATIONS,
        capacity=st.integers(1, 3),
        price=st.sampled_from([None, 0.25]),
        queues=st.sampled_from([(), (), ("long",)]),
    )
    def register(
        self,
        worker_id: str,
        incarnation: str,
        capacity: int,
        price: float | None = None,
        queues: tuple[str, ...] = (),
    ) -> None:
        said = rows.Registration(incarnation, SPOKEN, "cpu", 8.0, capacity, price, queues)
        self.both(lambda store: store.register_worker(worker_id, said, now=self.now))

    @rule(worker_id=WORKERS, incarnation=st.one_of(st.none(), INCARNATIONS))
    def beat(self, worker_id: str, incarnation: str | None) -> None:
        beats = [rows.Beat(worker_id, incarnation, self.now, ("csm/small",))]
        self.both(lambda store: store.record_beats(beats))

    @rule(worker_id=WORKERS, paused=st.booleans(), healthy=st.booleans())
    def pause_and_probe(self, worker_id: str, paused: bool, healthy: bool) -> None:
        self.both(lambda store: store.pause_worker(worker_id, paused=paused, who="ops", now=self.now, by=BY))
        self.both(lambda store: store.note_probe(worker_id, healthy=healthy))

    @rule(number=st.integers(1, 6), arrived=st.booleans(), again=st.booleans())
    def deliver(self, number: int, arrived: bool, again: bool) -> None:
        error = None if arrived else "no answer"
        next_at = self.now + 5 if again else None
        self.both(
            lambda store: store.record_delivery(
                number, status=None, error=error, now=self.now, next_at=next_at
            )
        )

    @rule(number=st.integers(1, 6))
    def replay(self, number: int) -> None:
        self.both(lambda store: store.replay_delivery(number, by=BY, now=self.now))
        self.both(lambda store: store.list_delivery_tries(number))

    @rule(age_s=st.sampled_from([0, 30]))
    def purge(self, age_s: int) -> None:
        self.both(lambda store: store.purge(finished_before=self.now - age_s, now=self.now))

    @invariant()
    def the_same_is_remembered(self) -> None:
        self.both(lambda store: store.list_events(limit=10_000))
        self.both(lambda store: store.read_fleet())
        self.both(lambda store: store.list_workers(include_gone=True, limit=100))
        self.both(lambda store: store.list_leases(since=0.0))
        self.both(lambda store: store.due_deliveries(now=1e9, limit=100))
        self.both(lambda store: store.list_host_faults(since=self.now - 30))
        self.both(lambda store: store.known_instances("local"))
        for worker_id in ("w1", "w2"):
            self.both(lambda store, of=worker_id: store.peek_next(of))
            self.both(lambda store, of=worker_id: store.peek_next(of, patience=Patience(10.0, 4.0)))
            self.both(lambda store, of=worker_id: store.list_worker_attempts(of))

    @invariant()
    def the_same_is_owed_and_audited(self) -> None:
        self.both(lambda store: store.list_audit(people.AuditFilter(), limit=10_000))
        self.both(lambda store: store.list_deliveries(limit=10_000))
        self.both(lambda store: store.aliases("farm", "task", [f"job-{number}" for number in range(13)]))
        for of in ({"owner": "ann"}, {"project": "film"}):
            self.both(lambda store, of=of: store.load_of(**of))
            self.both(lambda store, of=of: spent(store, self.now, **of))

    @invariant()
    def the_same_is_seen(self) -> None:
        for projects in ((), ("film",), ("film", "p1")):
            which = rows.JobFilter(seen_by=rows.Sight("ann", projects))
            page = self.both(lambda store, of=which: store.list_jobs(of, before=None, limit=3))
            if page:
                last = (page[-1].created_at, page[-1].id)
                self.both(lambda store, of=which, at=last: store.list_jobs(of, before=at, limit=3))

    @invariant()
    def what_is_lent_is_not_billed(self) -> None:
        """Unless an orphan bore its id, which `record_lease` does not look at."""
        workers = self.both(lambda store: store.list_workers(include_gone=False, limit=100))
        owned = {one.id for one in workers if one.owned}
        leases = self.both(lambda store: store.list_leases(since=0.0))
        assert not [one for one in leases if one.worker_id in owned and one.provider == "buffer"]

    @invariant()
    def jobs_follow_their_table(self) -> None:
        jobs = self.both(lambda store: store.list_jobs(rows.JobFilter(), before=None, limit=100))
        for job in jobs:
            attempts = self.both(lambda store, of=job.id: store.list_attempts(of))
            running = [one for one in attempts if one.state is AttemptState.RUNNING]
            assert len(running) == (job.state is JobState.RUNNING)
            assert len(attempts) == job.attempts <= job.retries + 1
            was = self.before.get(job.id, job.state)
            assert was == job.state or job.state in reachable(was)
        self.before = {job.id: job.state for job in jobs}

    def held(self, number: int, worker_id: str) -> rows.Held:
        """Mostly who really holds it."""
        claimed = self.runner.run(self.model.get_attempt(number))
        if claimed is None or claimed.attempt.worker_id != worker_id:
            return rows.Held(number, worker_id, "i1")
        return rows.Held(number, worker_id, claimed.attempt.incarnation)


async def spent(store: Store, now: float, **of: str) -> float:
    """Summed in another order, it differs in the last digits."""
    return round(await store.spent_by(since=30.0, now=now, **of), 9)


def reachable(state: JobState) -> set[JobState]:
    """One verb may make several moves, such as those of a batch."""
    found: set[JobState] = set()
    fresh = {state}
    while fresh:
        found |= fresh
        fresh = {after for one in fresh for after in JOB_MOVES[one]} - found
    return found


def test_terminal_states_are_terminal() -> None:
    assert all(not after for state, after in ATTEMPT_MOVES.items() if state is not AttemptState.RUNNING)
    assert not WORKER_MOVES[WorkerState.GONE]


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
