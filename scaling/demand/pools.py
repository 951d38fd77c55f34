"""Jobs and workers by pool: the jobs of one engine that ask the same of a machine, and the workers for them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from scaling.demand.rooms import Rooms
from scaling.demand.walk import Scene, claim_order
from scaling.place import runnable, warm
from scaling.plan import Blocked
from scaling.snapshot import JobGroup, Need, WorkerView
from scaling.states import WorkerState

POOLS_MAX = 64
"""Jobs of more pools than these wait until those before them have gone."""
ORDER = {
    WorkerState.READY: 0,
    WorkerState.STARTING: 1,
    WorkerState.CREATING: 2,
    WorkerState.INTENDED: 3,
}


@dataclass(slots=True)
class Pool:
    """`groups` wait for it and may begin, each with how many. `busy` run its engine, `free` could: idle or ordered."""

    key: str
    engine: str
    groups: list[tuple[JobGroup, int]] = field(default_factory=list)
    waiting: int = 0
    running: int = 0
    busy: list[WorkerView] = field(default_factory=list)
    free: list[WorkerView] = field(default_factory=list)

    @property
    def need(self) -> Need:
        """What its first job asks of a machine."""
        return self.groups[0][0].need if self.groups else Need(self.engine)

    @property
    def ready(self) -> int:
        return len(self.busy) + sum(one.state is WorkerState.READY for one in self.free)

    def recent(self, within_s: float) -> int:
        """How many of its jobs came no longer ago, as far as ages are known."""
        waiting = sum(count - older(group, count, within_s) for group, count in self.groups)
        return waiting + sum(run.run_s <= within_s for worker in self.busy for run in worker.running)


@dataclass(frozen=True, slots=True)
class Pools:
    """In the order in which their first jobs are claimed. `others` are waiting jobs that ask for no machine."""

    pools: Sequence[Pool]
    others: Sequence[JobGroup]
    blocked: Sequence[Blocked]


def older(group: JobGroup, count: int, than_s: float) -> int:
    """How many of the first `count` jobs of a group are older. The ages between those that are known are taken as
    evenly spread.
    """
    ages_s = group.ages_s or (group.oldest_age_s,)
    known = sum(one > than_s for one in ages_s)
    if group.count > len(ages_s):
        known = round(known * group.count / len(ages_s))
    return min(count, known)


def pool_key(need: Need) -> str:
    """The engine, and what the need asks of a machine beyond it."""
    if (
        need.gpu_class is None
        and not need.providers
        and not need.min_vram_gb
        and need.usd_per_hour_max is None
    ):
        return need.engine
    asked = (
        need.gpu_class or "",
        f"{need.min_vram_gb:g}",
        "+".join(need.providers),
        need.usd_per_hour_max or "",
    )
    return "|".join((need.engine, *map(str, asked)))


def gather(scene: Scene, remembered: Iterable[str]) -> Pools:
    """Pools with jobs that wait and may ask for machines, or that run, and those whose keys are remembered."""
    found: dict[str, Pool] = {}
    others: list[JobGroup] = []
    blocked: list[Blocked] = []
    rooms = Rooms(scene.snapshot.limits, scene.snapshot.running)
    for group in sorted((one for one in scene.snapshot.groups if one.count > 0), key=claim_order):
        need = group.need
        if need.low_priority:
            others.append(group)
            continue
        admitted = rooms.admitted(need, group.count)
        rooms.take(need, admitted)
        if admitted < group.count:
            blocked.append(rooms.held(need, group.count - admitted))
        if admitted and (pool := _pool(found, pool_key(need), need.engine)):
            pool.groups.append((group, admitted))
            pool.waiting += admitted
    _busy(found, scene.supply)
    for key in remembered:
        _pool(found, key, key.partition("|")[0])
    for pool in found.values():
        pool.free = free_workers(pool.need, scene)
    return Pools(tuple(found.values()), others, blocked)


def _pool(found: dict[str, Pool], key: str, engine: str) -> Pool | None:
    if key not in found:
        if len(found) >= POOLS_MAX:
            return None
        found[key] = Pool(key, engine)
    return found[key]


def _busy(found: dict[str, Pool], supply: Sequence[WorkerView]) -> None:
    """A worker that runs something is of the pool of what it runs first."""
    for worker in supply:
        for run in worker.running:
            if pool := _pool(found, run.engine, run.engine):
                pool.running += 1
        if worker.running and (pool := found.get(worker.running[0].engine)):
            pool.busy.append(worker)


def free_workers(need: Need, scene: Scene) -> list[WorkerView]:
    """Those that hold no job and could take one, the best first: an owner's, then idle ones by last use, then those
    that will be ready first.
    """
    host = scene.catalogue.host
    free = (one for one in scene.supply if not one.running)
    fitting = [one for one in free if runnable(need, host(one), one.id)]
    return sorted(fitting, key=lambda one: _order(need, one)) if len(fitting) > 1 else fitting


def _order(need: Need, worker: WorkerView) -> tuple[object, ...]:
    rank = ORDER.get(worker.state, 9)
    since_s = worker.spare_s if rank == 0 else -worker.state_age_s
    return (rank, not worker.owned, since_s, not warm(need, worker.resident), worker.id)
