"""What a world is made of, drawn from its seed: clouds, faults, policy, and who wants what when.

Each concern has a stream of its own, so that a change in one does not change the others' draws.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from rough_agent import Habits

from orchestrator.policy import LimitsBody, PolicyBody
from orchestrator.store.rows import NewJob
from provider_clients.fake import FakeCloud
from scaling.snapshot import Capability, Need, Offer

ENGINES = (Capability("csm", "rough"), Capability("whisper", "rough"))
PROBED = frozenset({"probe"})
BURST_EVERY_S = 3600.0
LULL_S = 600.0


@dataclass(frozen=True, slots=True)
class Rough:
    """Shares of calls. Creations that are `late` are answered "unknown" at once, and happen after that."""

    refused: float = 0.0
    limited: float = 0.0
    lost: float = 0.0
    """Half of them have happened."""
    late: float = 0.0
    late_s_max: float = 20.0
    latency_s_max: float = 2.0


CALM = Rough()


@dataclass(frozen=True, slots=True)
class CloudSpec:
    """One cloud: how it sells, how fast it boots, what it can do beside, and how bad it is."""

    name: str
    usd_per_hour: float
    boot_s: float
    boot_billed: bool = True
    tagged: bool = True
    hosted: bool = False
    lease_s: float | None = None
    capacity: int = 1
    count_max: int = 6
    beside: frozenset[str] = frozenset()
    list_lag_s: float = 0.0
    skew_s: float = 0.0
    never_boots: float = 0.0
    unwell_s: float | None = None
    bad_hosts: int = 0
    rough: Rough = CALM

    def offer(self) -> Offer:
        return Offer(
            self.name,
            f"{self.name}-gpu",
            self.usd_per_hour,
            ENGINES,
            boot_billed=self.boot_billed,
            capacity=self.capacity,
            count_max=self.count_max,
            lease_s_max=self.lease_s,
            replace_after_s=self.lease_s and self.lease_s / 2,
        )

    def made(self, now: Callable[[], float], later: Callable[..., None], hooks: dict[str, Any]) -> FakeCloud:
        return FakeCloud(
            name=self.name,
            tagged=self.tagged,
            hosted=self.hosted,
            offered=(self.offer(),),
            boot_s=self.boot_s,
            list_lag_s=self.list_lag_s,
            lease_s=self.lease_s,
            hosts=tuple(f"{'bad' if number < self.bad_hosts else 'host'}-{number}" for number in range(8)),
            clock=now,
            later=later,
            **hooks,
        )


@dataclass(frozen=True, slots=True)
class Arrival:
    number: int
    at: float
    need: Need
    cancel_after_s: float | None
    start_within_s: float | None
    retries: int

    def job(self, now: float) -> NewJob:
        """Each try of a submit has an id of its own; the key says that they are one job."""
        key = f"key-{self.number}"
        return NewJob(
            id=f"job-{self.number}-{now:.3f}",
            need=self.need,
            input={"text": "hello"}
            if self.need.engine == "csm"
            else {"audio_url": "https://a.example/b.wav"},
            created_at=now,
            complete_by=now + 3600.0,
            max_time_s=1200.0,
            retries=self.retries,
            start_by=None if self.start_within_s is None else now + self.start_within_s,
            idempotency_key=key,
            request_hash=key,
        )


@dataclass(frozen=True, slots=True)
class Scenario:
    """`crash_s` is an orchestrator's mean life, `crash_share` the share of its steps that are its last."""

    seed: int
    hours: float
    clouds: tuple[CloudSpec, ...]
    policy: dict[str, Any]
    habits: Habits = field(default_factory=Habits)
    crash_s: float | None = None
    crash_share: float = 0.0
    link_lost: float = 0.0
    machine_life_s: float | None = None
    owned: int = 0
    """How many owners' machines come and go."""
    period_s: float = 15.0

    def stream(self, concern: str) -> random.Random:
        return random.Random(f"{self.seed}/{concern}")

    def bursts(self) -> int:
        """How often somebody comes after a lull that no idle machine should outlast."""
        times = [-LULL_S, *(one.at for one in self.arrivals())]
        return sum(after - before >= LULL_S for before, after in itertools.pairwise(times))

    def arrivals(self) -> Iterator[Arrival]:
        """Lulls, and bursts of one to a dozen jobs within a minute or two."""
        dice = self.stream("arrivals")
        number, at = 0, 0.0
        while (at := at + dice.expovariate(1.0 / BURST_EVERY_S)) < self.hours * 3600.0:
            for _ in range(dice.choice([1, 1, 2, 4, 12])):
                at += dice.expovariate(1.0 / 8.0)
                number += 1
                yield self._arrival(number, at, dice)

    def _arrival(self, number: int, at: float, dice: random.Random) -> Arrival:
        need = dice.choice(
            [
                Need("csm"),
                Need("csm"),
                Need("whisper"),
                Need("csm", priority=5, owner="vip"),
                Need("whisper", low_priority=True),
            ]
        )
        cancel_after_s = dice.uniform(0.0, 300.0) if dice.random() < 0.08 else None
        start_within_s = dice.uniform(60.0, 600.0) if dice.random() < 0.1 else None
        return Arrival(number, at, need, cancel_after_s, start_within_s, dice.choice([0, 2, 2, 5]))


def calm(seed: int, hours: float) -> Scenario:
    """Nothing fails: what it costs is what the policy wants it to cost."""
    return Scenario(
        seed,
        hours,
        clouds=(
            CloudSpec("cheap", 0.5, boot_s=120.0, boot_billed=False),
            CloudSpec("fast", 1.0, boot_s=40.0),
        ),
        policy=PolicyBody(limits=LimitsBody(workers_max=8), idle_s=120.0).model_dump(),
    )


def rough(seed: int, hours: float) -> Scenario:
    """Everything fails now and then; how often each thing does is drawn too."""
    dice = random.Random(f"{seed}/scenario")
    clouds = tuple(_worn(one, dice) for one in _clouds(dice))
    policy = PolicyBody(
        name=dice.choice(["whatif", "whatif", "fixed"]),
        limits=LimitsBody(
            workers_max=dice.choice([3, 6, 10]), usd_per_hour_max=dice.choice([None, 2.5, 5.0])
        ),
        provider_limits=dice.choice(
            [{}, {"cheap": LimitsBody(workers_max=2), "nodes": LimitsBody(workers_max=1)}]
        ),
        idle_s=dice.choice([60.0, 120.0, 300.0]),
        boot_s_max=dice.choice([400.0, 900.0]),
        create_s_max=dice.choice([120.0, 600.0]),
        usd_per_day_max=dice.choice([None, None, 0.4]),
    )
    return Scenario(
        seed,
        hours,
        clouds=clouds,
        policy=policy.model_dump(),
        habits=_habits(dice),
        crash_s=dice.choice([None, 1200.0, 4000.0]),
        crash_share=dice.choice([0.0, 0.0002, 0.001]),
        link_lost=dice.choice([0.0, 0.02, 0.1]),
        machine_life_s=dice.choice([None, 3600.0, 14400.0]),
        owned=dice.choice([0, 0, 2]),
        period_s=dice.choice([15.0, 30.0, 45.0]),
    )


def storm(seed: int, hours: float) -> Scenario:
    """Everything fails all the time: for hunts by hand."""
    dice = random.Random(f"{seed}/storm")
    usual = rough(seed, hours)
    clouds = tuple(
        replace(one, never_boots=0.2, unwell_s=1500.0, bad_hosts=3, rough=_at_worst(one.rough))
        for one in usual.clouds
    )
    return replace(
        usual,
        clouds=clouds,
        habits=Habits(0.05, 0.1, 0.03, 2000.0, 600.0, restart_s=1500.0, leave_s=1500.0),
        crash_s=dice.choice([300.0, 900.0]),
        crash_share=dice.choice([0.001, 0.005]),
        link_lost=0.2,
        machine_life_s=2000.0,
        owned=dice.choice([0, 3]),
    )


def _at_worst(usual: Rough) -> Rough:
    return replace(usual, refused=0.1, limited=0.1, lost=0.2, late=0.2)


def _clouds(dice: random.Random) -> list[CloudSpec]:
    known = [
        CloudSpec(
            "cheap",
            0.5,
            boot_s=180.0,
            boot_billed=False,
            capacity=2,
            beside=frozenset({"exchange", "protect"}),
        ),
        CloudSpec("fast", 1.0, boot_s=40.0),
        CloudSpec("nodes", 0.8, boot_s=60.0, tagged=False, hosted=True, lease_s=3600.0, beside=PROBED),
        CloudSpec("local", 0.1, boot_s=2.0, count_max=1),
    ]
    return [one for one in known if dice.random() < 0.6] or [dice.choice(known[:3])]


def _worn(spec: CloudSpec, dice: random.Random) -> CloudSpec:
    bad = dice.choice([0.0, 0.03, 0.15])
    # Without tags, what appears later than a provider's list lags is a stranger's, but for the clocks' differences.
    late_s_max = dice.choice([20.0, 100.0, 300.0]) if spec.tagged else 8.0
    latency_s_max = 2.0 if spec.tagged else dice.choice([2.0, 20.0])
    return replace(
        spec,
        skew_s=dice.choice([0.0, 0.0, 7.0, -20.0]),
        list_lag_s=dice.choice([0.0, 0.0, 5.0, 20.0]),
        never_boots=dice.choice([0.0, 0.1]),
        unwell_s=dice.choice([None, 4000.0]),
        bad_hosts=dice.choice([0, 2]),
        rough=Rough(bad, bad / 2, bad, bad, late_s_max, latency_s_max),
    )


def _habits(dice: random.Random) -> Habits:
    def life(mean_s: float) -> float | None:
        return mean_s if dice.random() < 0.5 else None

    return Habits(
        job_fault=dice.choice([0.0, 0.03]),
        host_fault=dice.choice([0.0, 0.05]),
        hang=dice.choice([0.0, 0.02]),
        silent_death_s=life(3000.0),
        freeze_s=life(1500.0),
        restart_s=life(2500.0),
        leave_s=life(2500.0),
    )


KINDS = {"calm": calm, "rough": rough, "storm": storm}
