"""Policies that say a number of workers for each pool: the seam of such rules, and what their numbers come to."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from scaling.demand.pools import Pool, Pools, gather
from scaling.demand.staff import Post, staff
from scaling.demand.walk import Demand, Scene
from scaling.place import Host
from scaling.policies.knobs import Knob, Values, values
from scaling.policies.remembered import count, number
from scaling.snapshot import Memory


@dataclass(frozen=True, slots=True)
class Load:
    """What a rule sees of one pool. `memory` is what it remembers of it: of its last look, and perhaps nothing."""

    now_s: float
    waiting: int
    running: int
    ready: int
    """Workers that run its jobs, or could."""
    least: int
    """How much of the fleet's least number falls to this pool: all of it, where it is the only one."""
    arrived: int
    """Jobs that came since the last look; of a rule that counts arrivals."""
    memory: Memory
    pool: Pool
    scene: Scene

    @property
    def jobs(self) -> int:
        return self.waiting + self.running

    @property
    def target(self) -> int:
        """What the rule said last, as far as it remembers."""
        return max(self.least, count(self.memory, "target"))

    def clipped(self, workers: float, most: float) -> int:
        """From the least to `most` (0: no bound)."""
        return int(min(max(workers, self.least), ceiling(most)))

    def slots(self) -> int:
        """Jobs that one worker runs at a time."""
        fits = self.scene.catalogue.fits(self.pool.need)
        if fits:
            return max(1, fits[0].offer.capacity)
        return max((one.capacity for one in (*self.pool.busy, *self.pool.free)), default=1)

    def service_s(self) -> float:
        """What a job takes on average, on the machine that it would get."""
        need = self.pool.need
        fits = (one.offer for one in self.scene.catalogue.fits(need)[:1])
        hosts: list[Host] = [*fits, *self.pool.busy[:1], *self.pool.free[:1]]
        return self.scene.times.service(need, hosts[0].gpu_class if hosts else "").mean_s


@dataclass(frozen=True, slots=True)
class Target:
    """How many workers, and what to remember. Nothing to remember and no worker: the pool is forgotten at rest."""

    workers: int
    memory: Memory = field(default_factory=dict)
    look_again_s: float | None = None


@dataclass(frozen=True, slots=True)
class CountRule:
    """`least`, `most` and `idle` are names of its knobs: the fleet has at least and at most so many workers (0: no
    bound), and lets an idle one go only after so many seconds (none named: at once).
    """

    name: str
    knobs: tuple[Knob, ...]
    step: Callable[[Load, Values], Target]
    least: str
    most: str
    idle: str | None = None
    arrivals: bool = False

    def __call__(self, scene: Scene) -> Demand:
        given = values(self.knobs, scene.policy.knobs)
        before = Before.read(scene.snapshot.memory, self.name)
        pools = gather(scene, before.pools)
        targets = self._targets(scene, pools, before, given)
        post = Post(
            rule=self.name,
            wanted=[targets[one.key].workers for one in pools.pools],
            least=int(given[self.least]),
            most=ceiling(given[self.most]),
            idle_s=given[self.idle] if self.idle else 0.0,
            look_again_s=min(
                (one.look_again_s for one in targets.values() if one.look_again_s), default=None
            ),
        )
        return staff(scene, pools, post, _memory(self, scene, targets))

    def _targets(self, scene: Scene, pools: Pools, before: "Before", given: Values) -> Mapping[str, Target]:
        arrived = before.arrivals(scene, pools.pools) if self.arrivals else {}
        least = int(given[self.least]) if len(pools.pools) == 1 else 0
        return {
            pool.key: self.step(
                Load(
                    now_s=scene.snapshot.now_s,
                    waiting=pool.waiting,
                    running=pool.running,
                    ready=pool.ready,
                    least=least,
                    arrived=arrived.get(pool.key, 0),
                    memory=before.pools.get(pool.key, {}),
                    pool=pool,
                    scene=scene,
                ),
                given,
            )
            for pool in pools.pools
        }


@dataclass(frozen=True, slots=True)
class Before:
    """What the last plan of the same rule remembered. Anything else counts as nothing."""

    pools: Mapping[str, Memory]
    arrived: int
    at_s: float

    @classmethod
    def read(cls, memory: Memory, rule: str) -> "Before":
        pools = memory.get("pools")
        if memory.get("rule") != rule or not isinstance(pools, Mapping):
            return cls({}, -1, 0.0)
        known = {str(key): one for key, one in pools.items() if isinstance(one, Mapping)}
        return cls(known, int(number(memory, "arrived", -1)), number(memory, "at_s", 0.0))

    def arrivals(self, scene: Scene, pools: Sequence[Pool]) -> Mapping[str, int]:
        """Jobs that came since, by pool: as those that are still there and came since then are spread.

        A pool that is new has what is there.
        """
        since_s = max(0.0, scene.snapshot.now_s - self.at_s)
        recent = {one.key: one.recent(since_s) for one in pools}
        if self.arrived < 0 or not pools:
            return {one.key: one.waiting + one.running for one in pools}
        left, whole = max(0, scene.snapshot.arrived - self.arrived), sum(recent.values())
        found = {key: left * part // whole if whole else 0 for key, part in recent.items()}
        first = max(recent, key=lambda key: recent[key])
        found[first] += left - sum(found.values())
        return found


def ceiling(most: float) -> float:
    """A bound of which 0 means none."""
    return most or math.inf


def whole_up(workers: float) -> int:
    """Rounded up; what is only a rounding error above a whole number is that number."""
    return math.ceil(workers - 1e-9)


def _memory(rule: CountRule, scene: Scene, targets: Mapping[str, Target]) -> Memory:
    kept = {key: one.memory for key, one in targets.items() if one.memory}
    if not kept:
        return {}
    seen = {"arrived": scene.snapshot.arrived, "at_s": scene.snapshot.now_s} if rule.arrivals else {}
    return {"rule": rule.name, "pools": kept, **seen}
