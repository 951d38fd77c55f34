"""A number of workers for each pool, turned into launches, workers to keep, workers to let go, and why not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from scaling.demand.blocked import no_machine
from scaling.demand.budget import Ledger, Refusal
from scaling.demand.catalogue import Fit
from scaling.demand.pools import Pool, Pools
from scaling.demand.walk import Demand, Scene
from scaling.place import runnable
from scaling.plan import Blocked, Launch
from scaling.snapshot import JobGroup, Memory, Need, Offer
from scaling.states import WorkerState

LOOK_SOON_S = 1.0
"""When a plan was full, or waits for workers that leave."""
ANY = ""
"""The pool of a fleet that is kept although nobody asked for an engine yet."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a rule wants: workers by pool, and of the whole fleet the least, the most and how long an idle one stays."""

    rule: str
    wanted: Sequence[int]
    least: int
    most: float
    idle_s: float
    look_again_s: float | None


@dataclass(slots=True)
class Roll:
    """Who is kept so far, and what is ordered."""

    scene: Scene
    post: Post
    room: float
    ledger: Ledger | None = None
    """Made for the first launch."""
    taken: set[str] = field(default_factory=set)
    launches: list[Launch] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    refused: dict[str, tuple[Refusal, int]] = field(default_factory=dict)
    """By pool: why it gets no more launches, and how many."""
    look_soon: bool = False


def staff(scene: Scene, pools: Pools, post: Post, memory: Memory) -> Demand:
    present = sum(not one.owned for one in scene.supply)
    roll = Roll(scene, post, post.most - present)
    roll.taken.update(one.id for one in scene.supply if one.running)
    missing = _keep(roll, pools.pools)
    for pool, count in missing:
        if count > 0:
            _launch(roll, pool, count)
    surplus, wait_s = _surplus(roll)
    looks = (post.look_again_s, wait_s, LOOK_SOON_S if roll.look_soon else None)
    return Demand(
        launches=tuple(roll.launches),
        used=frozenset(roll.taken),
        blocked=(*pools.blocked, *_left(roll, pools)),
        surplus=surplus,
        look_again_s=min((one for one in looks if one is not None), default=None),
        memory=memory,
    )


def _keep(roll: Roll, pools: Sequence[Pool]) -> list[tuple[Pool, int]]:
    """Takes the workers that are wanted and there; returns how many each pool lacks. The least goes to the first."""
    lacks = [
        (pool, _take(roll, pool, wanted - len(pool.busy)))
        for pool, wanted in zip(pools, roll.post.wanted, strict=True)
    ]
    short = roll.post.least - len(roll.taken) - sum(count for _, count in lacks)
    if short <= 0:
        return lacks
    if not lacks:
        anyone = Pool(ANY, ANY, free=[one for one in roll.scene.supply if not one.running])
        return [(anyone, _take(roll, anyone, short))]
    first, count = lacks[0]
    return [(first, count + _take(roll, first, short)), *lacks[1:]]


def _take(roll: Roll, pool: Pool, wanted: int) -> int:
    """Keeps so many more of the workers that are free for a pool; returns how many there are too few."""
    for worker in pool.free:
        if wanted <= 0:
            break
        if worker.id not in roll.taken:
            roll.taken.add(worker.id)
            wanted -= 1
    return max(0, wanted)


def _launch(roll: Roll, pool: Pool, count: int) -> None:
    needs = _lacking(roll, pool)
    ledger = roll.ledger = roll.ledger or roll.scene.ledger()
    reason = (
        f"{roll.post.rule} asks for {count} more for {pool.engine or 'the fleet'}; {pool.waiting} jobs wait"
    )
    for done in range(count):
        fits = needs[min(done, len(needs) - 1)] if needs else ()
        fit, refusal = _admitted(roll, ledger, fits)
        if refusal:
            roll.refused[pool.key] = refusal, count - done
        if fit is None:
            return
        roll.launches.append(_order(roll, fit.offer, reason))
        roll.offers.append(fit.offer)
        ledger.add_launch(fit.offer, fit.cost_usd)
        roll.room -= 1


def _lacking(roll: Roll, pool: Pool) -> list[Sequence[Fit]]:
    """The offers for each launch: first for needs that nobody who stays can serve, then for the pool's first."""
    if pool.key == ANY:
        return [_anything(roll.scene)]
    if not pool.groups and pool.key != pool.engine:
        return []
    catalogue = roll.scene.catalogue
    found = [catalogue.fits(need) for need in (*_alone(roll, pool), pool.need)]
    return [fits for fits in found if fits]


def _alone(roll: Roll, pool: Pool) -> Iterator[Need]:
    if len(pool.groups) < 2:
        return
    hosts = [(roll.scene.catalogue.host(one), one.id) for one in roll.scene.supply if one.id in roll.taken]
    for group, _ in pool.groups:
        if not any(runnable(group.need, host, name) for host, name in hosts):
            yield group.need


def _anything(scene: Scene) -> Sequence[Fit]:
    """All offers, the cheapest hour first."""
    found = [scene.catalogue.alone(offer) for offer in scene.snapshot.offers]
    return sorted(found, key=lambda fit: (fit.offer.usd_per_hour, fit.offer.provider, fit.offer.gpu_class))


def _admitted(roll: Roll, ledger: Ledger, fits: Sequence[Fit]) -> tuple[Fit | None, Refusal | None]:
    """The first that may be leased now, or why none may; neither, when this plan is full or nothing fits."""
    if roll.room <= 0:
        return None, Refusal(
            "policy_max", f"{roll.post.rule} keeps at most {roll.post.most:g} workers; raise that."
        )
    if len(roll.launches) >= roll.scene.policy.launches_per_step_max:
        roll.look_soon = True
        return None, None
    return ledger.first(fits)


def _order(roll: Roll, offer: Offer, reason: str) -> Launch:
    between_s = roll.scene.policy.launch_delay_s(offer.provider, 0.0, 0.0)
    return Launch.of(offer, roll.scene.snapshot.drawn(len(roll.launches), between_s), reason)


def _surplus(roll: Roll) -> tuple[frozenset[str], float | None]:
    """Idle workers that nobody wants and that have been idle for long enough, and when the next will have been.

    A paused worker is no supply, and idles out as it does under other policies.
    """
    limit_s = roll.post.idle_s
    free = [one for one in roll.scene.supply if one.state is WorkerState.READY and one.id not in roll.taken]
    gone = {one.id for one in free if one.spare_s >= limit_s}
    gone.update(
        one.id
        for one in roll.scene.snapshot.workers
        if one.paused and one.spare_s > roll.scene.policy.idle_s_usual
    )
    waits = (limit_s - one.spare_s for one in free if one.id not in gone)
    return frozenset(gone), min(waits, default=None)


def _left(roll: Roll, pools: Pools) -> Iterator[Blocked]:
    """Groups that nobody there or on order can serve, and why; and launches that were refused though somebody can."""
    refused = dict(roll.refused)
    for pool in pools.pools:
        unserved = [(group, count) for group, count in pool.groups if not _served(roll, group.need)]
        refusal = refused.pop(pool.key, None) if unserved else None
        for group, count in unserved:
            yield _blocked(roll, group, count, refusal and refusal[0])
    for group in pools.others:
        if not _served(roll, group.need):
            yield _blocked(roll, group, group.count, None)
    for refused_for, count in refused.values():
        yield Blocked(refused_for.code, refused_for.reason, None, count)


def _served(roll: Roll, need: Need) -> bool:
    host = roll.scene.catalogue.host
    here = any(runnable(need, host(one), one.id) for one in roll.scene.supply)
    return here or any(runnable(need, one) for one in roll.offers)


def _blocked(roll: Roll, group: JobGroup, count: int, refusal: Refusal | None) -> Blocked:
    need = group.need
    if not roll.scene.catalogue.fits(need):
        return no_machine(need, roll.scene.snapshot, count)
    if refusal:
        return Blocked(refusal.code, refusal.reason, need, count)
    if need.low_priority:
        reason = "Low priority never starts a machine; it runs when a machine for other jobs has time."
        return Blocked("low_priority", reason, need, count)
    again_s = LOOK_SOON_S if roll.look_soon else roll.post.look_again_s
    when = "" if again_s is None else f"; it decides again in {again_s:.0f} s"
    return Blocked("policy_waits", f"{roll.post.rule} asks for no machine for it yet{when}.", need, count)
