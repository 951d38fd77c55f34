"""A whole world in virtual time from one seed: arrivals, boots, lost machines, refused and lost creations.

It drives the production `decide`, `check`, `choose` and `estimate`; around them it is as simple as it can be.
Each concern draws from a stream of its own, so that one policy's launches do not change another's arrivals.
"""

import heapq
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

from scaling.check import check
from scaling.decide import decide
from scaling.estimate import BOOT_PRIOR, SERVICE_PRIOR, estimate
from scaling.place import Candidate, choose
from scaling.plan import Buy, Drain, Launch, Stop, Withdraw
from scaling.policy import Policy
from scaling.snapshot import Estimates, JobGroup, Memory, Need, Offer, Running, Snapshot, WorkerView
from scaling.states import WORKER_MOVES, WorkerState, advance

W = WorkerState
PERIOD_S = 15.0
NUDGE_S = 0.05
DELETE_S = 3.0
END_S = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of creations, and the mean life of a machine in seconds."""

    refused: float = 0.0
    never_boots: float = 0.0
    reply_lost: float = 0.0
    life_s: float | None = None


@dataclass(slots=True)
class Job:
    need: Need
    at: float
    service_s: float
    began_at: float | None = None
    ended_at: float | None = None
    attempt: int = 0


@dataclass(slots=True)
class Machine:
    id: str
    offer: Offer
    state: WorkerState
    state_at: float
    buy_at: float
    leased_at: float | None = None
    gone_at: float | None = None
    ready_at: float | None = None
    free_at: float = 0.0
    jobs_done: int = 0
    dead_at: float | None = None
    running: list[tuple[Job, float]] = field(default_factory=list)


class World:
    def __init__(self, seed: int, policy: Policy, offers: tuple[Offer, ...], faults: Faults) -> None:
        self.now = 0.0
        self.policy = policy
        self.jobs: list[Job] = []
        self.machines: list[Machine] = []
        self.most = 0
        self.turns = 0
        self._offers = offers
        self._faults = faults
        self._streams = {
            name: random.Random(f"{seed}/{name}") for name in ("service", "boot", "fault", "life", "delay")
        }
        self._events: list[tuple[float, int, object]] = []
        self._count = 0
        self._waiting: list[Job] = []
        self._memory: Memory = {}
        self._waits: list[float] = []
        self._cooled: dict[str, float] = {}
        self._boots: dict[str, list[float]] = defaultdict(list)
        self._services: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._nudged = False

    # Time

    def at(self, when: float, act) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, act))

    def nudge(self) -> None:
        """A submit or a move is acted on at once, and many of them together."""
        if not self._nudged:
            self._nudged = True
            self.at(self.now + NUDGE_S, self.turn)

    def run(self) -> "World":
        self.at(0.0, self.tick)
        while self._events and self.now < END_S:
            self.now, _, act = heapq.heappop(self._events)
            act()
        return self

    def tick(self) -> None:
        self.turn()
        if self.now < 60 or any(not one.ended_at for one in self.jobs) or self.present():
            self.at(self.now + PERIOD_S, self.tick)

    # Demand

    def submit(self, when: float, need: Need, mean_s: float) -> None:
        job = Job(need, when, mean_s * self._streams["service"].uniform(0.5, 1.5))
        self.jobs.append(job)
        self.at(when, lambda: self._queue(job))

    def _queue(self, job: Job) -> None:
        self._waiting.append(job)
        for machine in sorted(self.present(), key=lambda one: -one.free_at):
            self._claim(machine)
        self.nudge()

    def _claim(self, machine: Machine) -> None:
        while (job := self._next(machine)) is not None:
            self._start(machine, job)

    def _next(self, machine: Machine) -> Job | None:
        full = len(machine.running) >= machine.offer.capacity
        if full or machine.state is not W.READY or machine.dead_at is not None:
            return None
        heads: dict[Need, Job] = {}
        for job in self._waiting:
            heads.setdefault(job.need, job)
        candidates = [Candidate(need, self.now - job.at, 3600.0) for need, job in heads.items()]
        chosen = choose(
            candidates, machine.offer, host_id=machine.id, resident=(), running_by_owner=Counter()
        )
        return None if chosen is None else heads[chosen]

    def _start(self, machine: Machine, job: Job) -> None:
        self._waiting.remove(job)
        if job.began_at is None:
            job.began_at = self.now
            self._waits.append(self.now - job.at)
        job.attempt += 1
        number = job.attempt
        machine.running.append((job, self.now))
        self.at(self.now + job.service_s, lambda: self._finish(machine, job, number))

    def _finish(self, machine: Machine, job: Job, number: int) -> None:
        if machine.dead_at is not None or job.attempt != number or job.ended_at is not None:
            return
        machine.running = [one for one in machine.running if one[0] is not job]
        job.ended_at = self.now
        machine.jobs_done += 1
        machine.free_at = self.now
        self._services[job.need.engine, machine.offer.gpu_class].append(job.service_s)
        self._claim(machine)
        self.nudge()

    # Supply

    def present(self) -> list[Machine]:
        return [one for one in self.machines if one.state is not W.GONE]

    def _move(self, machine: Machine, state: WorkerState) -> None:
        machine.state = advance(WORKER_MOVES, machine.state, state)
        machine.state_at = self.now
        self.nudge()

    def _create(self, machine: Machine) -> None:
        self._move(machine, W.CREATING)
        if machine.offer.boot_billed:
            machine.leased_at = self.now
        luck = self._streams["fault"].random()
        if luck < self._faults.refused:
            self._cooled[machine.offer.provider] = self.now + 180.0
            machine.leased_at = None
            self._move(machine, W.GONE)
            return
        boot_s = self._streams["boot"].uniform(0.5, 1.5) * BOOTS[machine.offer.provider]
        reply_lost = luck > 1.0 - self._faults.reply_lost
        if not reply_lost:
            self._move(machine, W.STARTING)
        if luck < self._faults.refused + self._faults.never_boots:
            return
        self.at(self.now + boot_s, lambda: self._boot(machine, boot_s))

    def _boot(self, machine: Machine, boot_s: float) -> None:
        if machine.state not in (W.CREATING, W.STARTING):
            return
        self._boots[machine.offer.provider].append(boot_s)
        machine.leased_at = self.now if machine.leased_at is None else machine.leased_at
        machine.ready_at = machine.free_at = self.now
        self._move(machine, W.READY)
        if self._faults.life_s is not None:
            self.at(
                self.now + self._streams["life"].expovariate(1 / self._faults.life_s),
                lambda: self._die(machine),
            )
        self._claim(machine)

    def _die(self, machine: Machine) -> None:
        if machine.state is not W.GONE:
            machine.dead_at = self.now

    def _stop(self, machine: Machine) -> None:
        self._move(machine, W.STOPPING)
        for job, _ in machine.running:
            job.attempt += 1
            self._queue(replace_need(job, machine.id))
        machine.running = []
        self.at(self.now + DELETE_S, lambda: self._gone(machine))

    def _gone(self, machine: Machine) -> None:
        self._move(machine, W.GONE)
        machine.gone_at = self.now

    # One turn: look, decide, check, act

    def turn(self) -> None:
        self._nudged = False
        self.turns += 1
        snapshot = self.observe()
        plan = decide(snapshot, self.policy)
        check(snapshot, self.policy, plan)
        self._memory, self._waits = plan.memory, []
        fleet = {one.id: one for one in self.machines}
        for action in plan.actions:
            match action:
                case Launch():
                    self._intend(action)
                case Buy():
                    self._create(fleet[action.worker_id])
                case Withdraw():
                    self._move(fleet[action.worker_id], W.GONE)
                case Drain():
                    self._move(fleet[action.worker_id], W.DRAINING)
                case Stop():
                    self._stop(fleet[action.worker_id])
        self.most = max(self.most, len(self.present()))

    def _intend(self, action: Launch) -> None:
        offer = next(one for one in self._offers if one.provider == action.provider)
        machine = Machine(f"w{len(self.machines):04}", offer, W.INTENDED, self.now, self.now + action.delay_s)
        self.machines.append(machine)
        self.at(machine.buy_at, self.nudge)

    def observe(self) -> Snapshot:
        waiting: dict[Need, list[Job]] = defaultdict(list)
        for job in self._waiting:
            waiting[job.need].append(job)
        return Snapshot(
            groups=tuple(
                JobGroup(
                    need, len(jobs), self.now - jobs[0].at, 3600.0, tuple(self.now - one.at for one in jobs)
                )
                for need, jobs in waiting.items()
            ),
            workers=tuple(self._view(one) for one in self.present()),
            offers=tuple(
                replace(one, cooled_s=max(0.0, self._cooled.get(one.provider, 0.0) - self.now))
                for one in self._offers
            ),
            estimates=self._estimates(),
            draws=tuple(self._streams["delay"].random() for _ in range(20)),
            now_s=self.now,
            memory=self._memory,
            waits_s=tuple(self._waits),
        )

    def _estimates(self) -> Estimates:
        return Estimates(
            service={
                (engine, "", gpu): estimate(s[-200:], SERVICE_PRIOR)
                for (engine, gpu), s in self._services.items()
            },
            boot={(p, "a10"): estimate(s[-50:], BOOT_PRIOR) for p, s in self._boots.items()},
        )

    def _view(self, machine: Machine) -> WorkerView:
        registered = machine.ready_at is not None
        silent_s = 0.0 if machine.dead_at is None else self.now - machine.dead_at
        return WorkerView(
            id=machine.id,
            provider=machine.offer.provider,
            state=machine.state,
            gpu_class=machine.offer.gpu_class,
            usd_per_hour=machine.offer.usd_per_hour,
            capacity=machine.offer.capacity if registered else 1,
            capabilities=machine.offer.capabilities if registered else (),
            running=tuple(
                Running(job.need.engine, None, self.now - at, 1200.0) for job, at in machine.running
            ),
            state_age_s=self.now - machine.state_at,
            buy_in_s=max(0.0, machine.buy_at - self.now),
            idle_s=self.now - machine.free_at if registered and not machine.running else None,
            jobs_done=machine.jobs_done,
            silent_s=silent_s if registered else None,
            claim_silent_s=silent_s if registered else None,
            lease_age_s=0.0 if machine.leased_at is None else self.now - machine.leased_at,
        )

    # Accounts

    def leased_s(self) -> float:
        leases = [(one.leased_at, one.gone_at) for one in self.machines if one.leased_at is not None]
        return sum((self.now if end is None else end) - start for start, end in leases)

    def busy_s(self) -> float:
        return sum(one.service_s for one in self.jobs)

    def wait_s(self, share: float) -> float:
        """The wait that this share of the jobs did not exceed."""
        waits = sorted(one.began_at - one.at for one in self.jobs if one.began_at is not None)
        return waits[min(len(waits) - 1, int(share * len(waits)))]


BOOTS = {"cloud": 60.0, "salad": 180.0, "fast": 20.0}


def replace_need(job: Job, worker_id: str) -> Job:
    """The job goes back to the queue, and not to the machine that lost it."""
    job.need = replace(job.need, avoid=(*job.need.avoid, worker_id))
    return job


def arrivals(seed: int, hours: float) -> list[tuple[float, Need, float]]:
    """When, what, and its mean service time: a slow stream of jobs, and now and then a burst."""
    stream = random.Random(f"{seed}/arrivals")
    kinds = [(Need("csm"), 30.0), (Need("whisper"), 15.0), (Need("csm", priority=5, owner="vip"), 30.0)]
    found: list[tuple[float, Need, float]] = []
    when = 0.0
    while when < hours * 3600:
        when += stream.expovariate(1 / 90.0)
        for _ in range(stream.choice([1, 1, 1, 1, 2, 12])):
            need, mean_s = stream.choice(kinds)
            found.append((when, need, mean_s))
    return found
