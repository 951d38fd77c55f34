"""One look: the queue placed, machines ordered for what would be late, and the rest kept or let go."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import itemgetter

from scaling.demand.blocked import no_machine
from scaling.demand.catalogue import Fit
from scaling.demand.rooms import Rooms
from scaling.demand.walk import Demand, Scene, claim_order
from scaling.place import Patience
from scaling.plan import Blocked
from scaling.snapshot import JobGroup, Need, Offer, WorkerView
from scaling.states import WorkerState
from scaling.whatif.drafts import Draft, New, Terms, machines, soonest
from scaling.whatif.forecast import clock, next_slot_in_s
from scaling.whatif.keep import Keeper, days_after, ranks_after, trends_after
from scaling.whatif.lanes import Lane, lanes_of
from scaling.whatif.learned import Kind, Learned, first_price_s, kind_of, late_share, recall, written
from scaling.whatif.orders import Orders
from scaling.whatif.target import target_of, usual_load_s
from scaling.whatif.tiers import Tiers
from scaling.whatif.walk import Ask, ask_of, oldest_late_s, place_in_time, place_late

STALE_TARGETS = 4.0
"""A job that is late waits no longer than so many targets for others to share a machine with."""
OVERFLOW_MAX = 50
SPARE_S = 0.5
"""Plans are for so much less than the target, since what is carried out takes its time too."""
W = WorkerState


class Look:
    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._snapshot = snapshot = scene.snapshot
        self._rooms = Rooms(snapshot.limits, snapshot.running)
        self._blocked: list[Blocked] = []
        groups = sorted([one for one in snapshot.groups if one.count > 0], key=claim_order)
        self._orders = Orders(scene)
        self._tiers = Tiers(scene, self._orders)
        self._groups = [part for one in groups for part in self._tiers.parted(one)]
        load_s = usual_load_s(snapshot)
        target = target_of(scene.policy, snapshot, scene.times, load_s)
        self._target_s = target.wait_s
        stays = self._tiers.stays()
        self._patience = Patience(target.wait_s, load_s, scene.policy.queue_wait_s, stays)
        self._ours = _by_kind(scene.supply)
        self._there = {
            kind: sum([one.state is not W.INTENDED for one in ours]) for kind, ours in self._ours.items()
        }
        # Without jobs nothing is given to any lane.
        supply = scene.supply if groups else ()
        apart = frozenset([avoided for group in groups for avoided in group.need.avoid]) | self._tiers.risky
        self._lanes = lanes_of(supply, scene.catalogue, scene.times, scene.policy, apart)
        learned = recall(snapshot.memory, first_price_s(target.start_s, target.hard))
        log_price = learned.steered(snapshot.waits_s, target.wait_s, late_share(target.hard))
        same = log_price == learned.log_price
        self._learned = learned if same else replace(learned, log_price=log_price)

    def demand(self) -> Demand:
        asks = [
            ask
            for group, fits in self._groups
            if not group.need.low_priority
            for ask in self._asks(group, fits)
        ]
        plan = self._in_time(asks)
        overflow_s = place_late(asks, self._lanes, self._horizon_s(asks), self._target_s)
        busy = [one for one in self._scene.supply if one.busy]
        needed = self._given().union([one.id for one in busy if not one.riding])
        self._ride()
        used = needed | self._given().union([one.id for one in busy])
        orders = self._orders
        for one in plan.due:
            orders.order(one.asks[0].fits, self._why(one.first, len(one.asks)))
        keeper = self._keep(used, needed)
        again = _again(plan.instant, self._lanes.lanes)
        learned = self._learn(plan, keeper, orders, again)
        ordered = self._order_again(again, keeper, orders)
        self._order_ahead(keeper, learned, orders)
        slot_s = self._order_by_the_day(keeper, orders)
        self._order_for_backlog(asks, machines(overflow_s, self._target_s) - ordered, orders)
        for one in plan.soon:
            orders.renew(one.asks[0].fits)
        return Demand(
            launches=tuple(orders.launches),
            used=used | keeper.kept | orders.renewed,
            blocked=(*self._blocked, *orders.blocked()),
            surplus=frozenset(keeper.surplus) | keeper.paused_too_long(),
            holds=self._tiers.holds(asks),
            look_again_s=soonest(
                (plan.next_s, keeper.next_s, *orders.delays_s(), self._stale_in_s(asks) or math.inf, slot_s)
            ),
            patience=self._patience,
            memory=written(learned),
        )

    def _given(self) -> frozenset[str]:
        """Machines that were given work so far."""
        return frozenset([one.worker_id for one in self._lanes.lanes if one.jobs])

    def _learn(self, plan: Draft, keeper: Keeper, due: Orders, again: Sequence[New]) -> Learned:
        """A rank is needed when its machine has work, or would have it if it were there."""
        instant = Counter([kind_of(one.fit.offer) for one in plan.instant])
        growing = keeper.at_work + Counter([kind_of(one.fit.offer) for one in again])
        now_s = self._snapshot.now_s
        needed = keeper.at_work + due.kinds + instant
        learned = replace(self._learned, ranks=ranks_after(self._learned, needed, now_s))
        trends = trends_after(self._learned, growing, self._scene.times, now_s)
        days = days_after(learned, needed, now_s)
        return replace(learned, unused=keeper.unused, trends=trends, days=days)

    def _asks(self, group: JobGroup, fits: Sequence[Fit]) -> Iterator[Ask]:
        """None where nothing that is there or for sale can run it, or no more of its jobs may begin."""
        task = self._lanes.task(group.need)
        if not self._lanes.first(task):
            if not fits:
                self._blocked.append(no_machine(group.need, self._snapshot, group.count))
                return
            if refusal := self._orders.refusal(fits):
                self._blocked.append(Blocked(refusal.code, refusal.reason, group.need, group.count))
                return
        count = self._rooms.admitted(group.need, group.count)
        self._rooms.take(group.need, count)
        if count < group.count:
            need = self._tiers.whole.get(group.need, group.need)
            self._blocked.append(self._rooms.held(need, group.count - count))
        if count:
            yield self._tiers.ask(group, task, fits, count) or ask_of(
                group, task, fits, count, self._patience.of(group.need).wait_s - SPARE_S
            )

    def _in_time(self, asks: Sequence[Ask]) -> Draft:
        shorts = place_in_time(asks, self._lanes)
        if not shorts:
            return Draft()
        return self._tiers.draft(shorts, Terms(self._scene.times, self._learned.price_s, self._patience))

    def _horizon_s(self, asks: Sequence[Ask]) -> float:
        starts_s = [
            fit.boot_s + self._scene.times.load(one.need, fit.offer.gpu_class).mean_s
            for one in asks
            if one.late and (fit := one.fit)
        ]
        return self._target_s + min(starts_s, default=0.0)

    def _ride(self) -> None:
        """Low priority takes what is left on machines that are bought, and asks for none."""
        for group, fits in self._groups:
            for ask in self._asks(group, fits) if group.need.low_priority else ():
                ask.dues, ask.late = [], ask.count
                place_late([ask], self._lanes, math.inf, self._target_s)
                if ask.backlog and not self._scene.supply:
                    reason = (
                        "Low priority never starts a machine; it runs when a machine for other jobs has time."
                    )
                    self._blocked.append(Blocked("low_priority", reason, group.need, ask.backlog))

    def _keep(self, used: frozenset[str], needed: frozenset[str]) -> Keeper:
        keeper = Keeper(self._scene, self._learned, self._target_s, self._patience.load_s, used, needed)
        for kind, workers in sorted(self._ours.items(), key=itemgetter(0)):
            keeper.sort(kind, workers)
        return keeper

    def _order_again(self, again: Sequence[New], keeper: Keeper, orders: Orders) -> int:
        """Machines that come too late for the jobs that need them now, where they will be needed again: how many."""
        needed, ordered = keeper.at_work.copy(), 0
        for one in again:
            kind = kind_of(one.fit.offer)
            needed[kind] += 1
            place = self._present(kind, orders) + 1
            if place <= needed[kind] and keeper.stays(kind) and keeper.pays_new(one.fit, place):
                ordered += orders.order(one.asks[0].fits, self._why(one.first, len(one.asks)))
        return ordered

    def _present(self, kind: Kind, orders: Orders) -> int:
        """Machines of a kind that there will be."""
        return orders.kinds[kind] + self._there.get(kind, 0)

    def _order_ahead(self, keeper: Keeper, learned: Learned, orders: Orders) -> None:
        """For jobs that will come while these machines boot, when more and more are needed."""
        for kind, trend in learned.trends.items():
            offer = self._scene.catalogue.sold(kind) if trend.last and keeper.stays(kind) else None
            if offer is None:
                continue
            wanted = trend.last + keeper.ahead(offer, trend)
            reason = f"{trend.last} are needed now, and {wanted} when it has booted, as needs grow"
            self._order_up_to(wanted, offer, reason, orders)

    def _order_by_the_day(self, keeper: Keeper, orders: Orders) -> float:
        """A boot before the time of day that needs more. Returns in how many seconds there may be more to order."""
        next_s, now_s = math.inf, self._snapshot.now_s
        for kind, day in self._learned.days.items():
            offer = self._scene.catalogue.sold(kind) if day.score.helps and keeper.stays(kind) else None
            lead_s = keeper.lead_s(kind, keeper.worth(kind, offer)) if offer else 0.0
            if offer is None or not lead_s:
                continue
            next_s = min(next_s, next_slot_in_s(now_s + lead_s))
            for starts_in_s, wanted in day.rises(now_s, lead_s):
                if starts_in_s > 0.0:
                    reason = (
                        f"{wanted} are needed from {clock(now_s + starts_in_s)} UTC on, by the days before"
                    )
                    self._order_up_to(wanted, offer, reason, orders)
        return next_s

    def _order_up_to(self, wanted: int, offer: Offer, reason: str, orders: Orders) -> None:
        """As many more as are wanted of a kind of which there are fewer."""
        missing = min(OVERFLOW_MAX, wanted - self._present(kind_of(offer), orders))
        if missing <= 0:
            return
        fit = self._scene.catalogue.alone(offer)
        for _ in range(missing):
            if not orders.order((fit,), reason):
                break

    def _order_for_backlog(self, asks: Sequence[Ask], wanted: int, orders: Orders) -> None:
        """So many more machines, which end a backlog; one for a job that has waited too long alone."""
        late = [one for one in asks if one.late and one.fits]
        if not late:
            return
        if wanted <= 0 and not orders.kinds and self._stale_in_s(asks) <= 0.0:
            wanted = 1
        for _ in range(min(OVERFLOW_MAX, wanted)):
            orders.order(late[0].fits, self._why(late[0].need, late[0].late))

    def _stale_in_s(self, asks: Sequence[Ask]) -> float:
        """Until a late job has waited so long that a machine is ordered for it alone; never, if one is on its way."""
        late_s = oldest_late_s([one for one in asks if one.fits])
        if late_s == -math.inf or any(one.state in (W.CREATING, W.STARTING) for one in self._scene.supply):
            return math.inf
        return max(0.0, STALE_TARGETS * self._target_s - late_s)

    def _why(self, need: Need, count: int) -> str:
        jobs = f"{count} {need.engine} job{'s' if count > 1 else ''}"
        if need in self._tiers.whole:
            return f"{jobs} must be done soon, and could not make up for another machine that is taken away"
        wait_s = self._patience.of(need).wait_s
        return f"{jobs} would wait longer than {wait_s:.0f} s on the machines there are"


def _by_kind(supply: Sequence[WorkerView]) -> dict[Kind, list[WorkerView]]:
    """Workers that are ours to keep or to end. An owner's machine is its owner's."""
    found: dict[Kind, list[WorkerView]] = {}
    for one in supply:
        if not one.owned:
            found.setdefault(kind_of(one), []).append(one)
    return found


def _again(instant: Sequence[New], lanes: Sequence[Lane]) -> Sequence[New]:
    """Without as many of each kind as are booting for jobs that will be late there."""
    under_way = Counter([kind_of(one.sort.host) for one in lanes if one.too_late and not one.ready])
    left = []
    for one in instant:
        kind = kind_of(one.fit.offer)
        if under_way[kind]:
            under_way[kind] -= 1
        else:
            left.append(one)
    return left
