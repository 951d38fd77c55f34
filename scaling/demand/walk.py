"""The what-if walk: the queue, in claim order, over the times at which slots are predicted to be free.

A job that finds no slot early enough asks for a machine. The walk is repeated with the machines it asked for as
supply until it asks for no more, so that deciding again on the state that its plan leads to buys nothing.

Its cost is bounded by groups and slots and not by the queue: jobs that are alike are taken in bundles, and what
nothing can serve soon is spread over all slots at once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from scaling.demand.blocked import no_machine
from scaling.demand.budget import Ledger, Refusal
from scaling.demand.catalogue import Catalogue, Fit
from scaling.demand.rooms import Rooms
from scaling.demand.supply import Bounds, Pool, Reach, Slots, launch_slots, slots_of
from scaling.estimate import Times
from scaling.place import Patience
from scaling.plan import Blocked, Hold, Launch
from scaling.policy import Policy
from scaling.snapshot import JobGroup, Memory, Need, Offer, Snapshot, WorkerView

BUNDLES_MAX = 2_000
"""A walk handles about so many bundles of jobs; below it, every job is a bundle of its own."""
FREE_OR_ORDERED = Bounds(math.inf, -math.inf)


Delay = Callable[[Policy, Offer], tuple[float, float]]
"""Least and most seconds between an intent and its second look."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a policy reads. `ledger` makes a fresh account of what is leased and ordered."""

    snapshot: Snapshot
    policy: Policy
    catalogue: Catalogue
    times: Times
    ledger: Callable[[], Ledger]
    supply: tuple[WorkerView, ...] = ()
    """Workers that jobs may count on, by their ids."""


@dataclass(frozen=True, slots=True)
class Order:
    """A launch, and the name under which its slots are in the pool."""

    name: str
    fit: Fit
    action: Launch


@dataclass(frozen=True, slots=True)
class Demand:
    """What the queue asks for. `used` are the workers that the policy wants; intents that it does not are withdrawn.

    `surplus` are those to let go; of them only what is idle and ours goes. None: what is idle for too long goes.
    """

    launches: tuple[Launch, ...]
    used: frozenset[str]
    blocked: tuple[Blocked, ...]
    surplus: frozenset[str] | None = None
    holds: tuple[Hold, ...] = ()
    look_again_s: float | None = None
    patience: Patience | None = None
    memory: Memory = field(default_factory=dict)


def claim_order(group: JobGroup) -> tuple[object, ...]:
    """The order in which groups are claimed, as far as it does not depend on who claims; then by what they are."""
    need = group.need
    return (
        need.low_priority,
        -need.priority,
        math.inf if group.slack_s is None else group.slack_s,
        -group.oldest_age_s,
        group.count,
        _identity(need),
    )


def _identity(need: Need) -> tuple[object, ...]:
    limit = math.inf if need.usd_per_hour_max is None else need.usd_per_hour_max
    host = (need.gpu_class or "", need.min_vram_gb, need.providers, limit)
    return (
        need.engine,
        need.model or "",
        need.features,
        need.queue,
        *host,
        need.owner,
        need.avoid,
        need.max_time_s,
        need.wait_s or 0.0,
    )


def demand(scene: Scene, delay_s: Delay) -> Demand:
    groups = sorted((one for one in scene.snapshot.groups if one.count > 0), key=claim_order)
    if not groups:
        return Demand((), frozenset(), ())
    slots = _slots(scene)
    orders: tuple[Order, ...] = ()
    while True:
        walk = Walk(scene, slots, delay_s, orders)
        for group in groups:
            walk.serve(group)
        if len(walk.orders) == len(orders):
            break
        orders = tuple(walk.orders)
    used = walk.pool.used_ids()
    return Demand(
        launches=tuple(one.action for one in orders if one.name in used), used=used, blocked=walk.blocked()
    )


def _slots(scene: Scene) -> list[Slots]:
    apart = frozenset([avoided for group in scene.snapshot.groups for avoided in group.need.avoid])
    return [slots_of(one, scene.catalogue, scene.times, scene.policy, apart) for one in scene.supply]


@dataclass(slots=True)
class Refused:
    """Jobs that have a machine and would be better off with another, by what stands in the way."""

    refusal: Refusal
    count: int = 0


@dataclass(slots=True)
class Ask:
    """One group on its way through the walk."""

    group: JobGroup
    fits: Sequence[Fit]
    reach: Reach
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.group.count


class Walk:
    """One pass over the queue. `orders` are the machines asked for by the passes before, then also by this one."""

    def __init__(self, scene: Scene, slots: Sequence[Slots], delay_s: Delay, orders: Sequence[Order]) -> None:
        self._scene = scene
        self._delay_s = delay_s
        self.orders = list(orders)
        self.pool = Pool(slots, scene.times)
        for order in orders:
            self._supply(order)
        self._rooms = Rooms(scene.snapshot.limits, scene.snapshot.running)
        queued = sum(self._rooms.admitted(group.need, group.count) for group in scene.snapshot.groups)
        self._bundle = max(1, queued // BUNDLES_MAX)
        self._blocked: list[Blocked] = []
        self._refused: dict[str, Refused] = {}

    def serve(self, group: JobGroup) -> None:
        """Jobs that a limit holds back ask for nothing, and neither do they stand in others' way."""
        ask = Ask(group, self._scene.catalogue.fits_for(group), self.pool.reach(group.need))
        if ask.fits or ask.reach.lanes:
            ask.left = self._rooms.admitted(group.need, group.count)
        admitted = ask.left
        if group.need.low_priority:
            self._ride(ask)
        else:
            self._cover(ask)
        self._rooms.take(group.need, admitted - ask.left)
        if admitted < group.count:
            self._blocked.append(self._rooms.held(group.need, group.count - admitted))

    def _cover(self, ask: Ask) -> None:
        refusal: Refusal | None = None
        while ask.left and ask.fits:
            self._absorb(ask, FREE_OR_ORDERED)
            if not ask.left:
                break
            fit, refusal = self._admitted(ask.fits)
            if fit is None:
                break
            self._order(ask, fit)
        self._settle(ask, refusal)

    @cached_property
    def _ledger(self) -> Ledger:
        """With what was ordered before it was first asked for."""
        ledger = self._scene.ledger()
        for order in self.orders:
            ledger.add_launch(order.fit.offer, order.fit.cost_usd)
        return ledger

    def blocked(self) -> tuple[Blocked, ...]:
        shared = (Blocked(code, one.refusal.reason, None, one.count) for code, one in self._refused.items())
        return (*self._blocked, *shared)

    def _absorb(self, ask: Ask, bounds: Bounds, most: int | None = None) -> None:
        """Gives the group's jobs to slots that are free within the bounds, at most `most` of them."""
        keep = max(0, ask.left - most) if most is not None else 0
        while ask.left > keep and (pick := self.pool.pick(ask.reach, bounds)):
            service_s = self.pool.service_s(ask.group.need, pick.lane.host)
            in_time = 1 + max(0.0, bounds.promised_s - pick.free_s) // service_s
            room = int(min(ask.left - keep, in_time))
            taken = min(room, self._bundle)
            pick.lane.promise(pick.entry, pick.free_s + taken * service_s)
            ask.left -= taken

    def _admitted(self, fits: Sequence[Fit]) -> tuple[Fit | None, Refusal | None]:
        """The first that may be leased now, or why none may; neither, when only this plan is full."""
        fit, refusal = self._ledger.first(fits)
        full = len(self.orders) >= self._scene.policy.launches_per_step_max
        return (None if full else fit), refusal

    def _order(self, ask: Ask, fit: Fit) -> None:
        action = self._launch(ask, fit)
        order = Order(f"launch:{len(self.orders)}", fit, action)
        self._ledger.add_launch(fit.offer, fit.cost_usd)
        self.orders.append(order)
        self._supply(order)
        ask.reach = self.pool.reach(ask.group.need)
        self._absorb(ask, FREE_OR_ORDERED, most=1)

    def _launch(self, ask: Ask, fit: Fit) -> Launch:
        between_s = self._delay_s(self._scene.policy, fit.offer)
        delay_s = self._scene.snapshot.drawn(len(self.orders), between_s)
        return Launch.of(fit.offer, delay_s, self._why(ask, fit))

    def _why(self, ask: Ask, fit: Fit) -> str:
        waiting = f"{ask.left} {ask.group.need.engine} job{'s' if ask.left > 1 else ''} waiting"
        free_s = self.pool.first_s(ask.reach)
        if math.isinf(free_s):
            return f"{waiting} and no worker for it; this one boots in about {fit.boot_s:.0f} s"
        return (
            f"{waiting}; the next slot is free in {free_s:.0f} s, this one boots in about {fit.boot_s:.0f} s"
        )

    def _supply(self, order: Order) -> None:
        free_s = order.action.delay_s + order.fit.boot_s
        self.pool.add(launch_slots(order.fit.offer, order.name, free_s))

    def _settle(self, ask: Ask, refusal: Refusal | None) -> None:
        """What is left waits for what there is; where there is nothing, it is blocked."""
        if not ask.left:
            return
        need = ask.group.need
        if ask.reach.lanes:
            if refusal:
                self._refused.setdefault(refusal.code, Refused(refusal)).count += ask.left
            self._spread(ask)
        elif refusal:
            self._blocked.append(Blocked(refusal.code, refusal.reason, need, ask.left))
        elif not ask.fits:
            self._blocked.append(no_machine(need, self._scene.snapshot, ask.left))

    def _ride(self, ask: Ask) -> None:
        """Low priority takes what is bought already, and asks for nothing."""
        if not ask.left:
            return
        ask.reach = self.pool.reach(ask.group.need, bought=True)
        if ask.reach.lanes:
            self._spread(ask)
        elif ask.fits:
            reason = "Low priority never starts a machine; it runs when a machine for other jobs has time."
            self._blocked.append(Blocked("low_priority", reason, ask.group.need, ask.left))
        else:
            self._blocked.append(no_machine(ask.group.need, self._scene.snapshot, ask.left))

    def _spread(self, ask: Ask) -> None:
        """Jobs that wait whatever is done: first on what is promised to nobody, the rest over all slots alike."""
        self._absorb(ask, FREE_OR_ORDERED)
        ask.reach.owed += ask.left
