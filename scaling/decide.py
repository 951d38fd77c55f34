"""Snapshot in, plan out. What the demand is, a named policy says; health, intents and idling are the same for all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from scaling.demand.budget import Ledger
from scaling.demand.catalogue import ORDERED, Catalogue
from scaling.demand.walk import Demand, Scene
from scaling.estimate import Times
from scaling.health import idle_out, is_supply, let_go, must_end
from scaling.plan import Action, Buy, Drain, Plan, Stop, Withdraw
from scaling.policies import POLICIES
from scaling.policy import Policy
from scaling.snapshot import Snapshot, WorkerView
from scaling.states import WorkerState

__all__ = ["POLICIES", "decide"]
_ID = attrgetter("id")


def decide(snapshot: Snapshot, policy: Policy) -> Plan:
    """The plan for this picture: endings first, then intents, then launches; each in a stable order.

    Raises:
        ValueError: no policy of that name.
    """
    if policy.name not in POLICIES:
        raise ValueError(f"no policy is called {policy.name!r}; there are {', '.join(sorted(POLICIES))}")
    times = Times(snapshot.estimates)
    catalogue = Catalogue(snapshot, times)
    workers = sorted([one for one in snapshot.workers if one.state is not WorkerState.GONE], key=_ID)
    intents = [one for one in workers if one.state is WorkerState.INTENDED]
    endings = {one.id: end for one in workers if (end := must_end(one, policy, times))}
    refused = _refused_intents(workers, intents, catalogue, policy, snapshot.usd_today) if intents else {}
    supply = [one for one in workers if one.id not in endings and one.id not in refused]
    standing = tuple([one for one in supply if is_supply(one, policy)])
    scene = Scene(
        snapshot=snapshot,
        policy=policy,
        catalogue=catalogue,
        times=times,
        ledger=lambda: _ledger(workers, catalogue, policy, snapshot.usd_today),
        supply=standing,
    )
    wanted = _keep_intents(POLICIES[policy.name](scene), intents, refused)
    return Plan(
        actions=(
            *_endings(supply, endings, wanted, policy, catalogue),
            *_second_look(intents, refused, wanted),
            *wanted.launches,
        ),
        blocked=wanted.blocked,
        holds=wanted.holds,
        look_again_s=wanted.look_again_s,
        patience=wanted.patience,
        memory=wanted.memory,
    )


def _keep_intents(wanted: Demand, intents: Sequence[WorkerView], refused: Mapping[str, str]) -> Demand:
    """An intent in hand is as good as a launch of its kind: the walk may have given its jobs to either, and to
    withdraw the one and order the other would go on for ever.
    """
    if not intents or not wanted.launches:
        return wanted
    launches, kept = list(wanted.launches), set(wanted.used)
    for worker in intents:
        if worker.id in refused or worker.id in kept:
            continue
        kind = (worker.provider, worker.gpu_class, worker.usd_per_hour)
        same = (one for one in launches if (one.provider, one.gpu_class, one.usd_per_hour) == kind)
        if (launch := next(same, None)) is not None:
            launches.remove(launch)
            kept.add(worker.id)
    return replace(wanted, launches=tuple(launches), used=frozenset(kept))


def _ledger(workers: Sequence[WorkerView], catalogue: Catalogue, policy: Policy, usd_today: float) -> Ledger:
    """All that we pay or may have to pay. Today's bill does not show yet what is on order."""
    ledger = Ledger(policy, usd_today)
    for worker in workers:
        if not worker.owned:
            ledger.add_worker(worker, catalogue.order_usd(worker) if worker.state in ORDERED else 0.0)
    return ledger


def _refused_intents(
    workers: Sequence[WorkerView],
    intents: Sequence[WorkerView],
    catalogue: Catalogue,
    policy: Policy,
    usd_today: float,
) -> Mapping[str, str]:
    """Intents that may not be bought any more, with why: the limits came down, or the offer is not to be had."""
    refused: dict[str, str] = {}
    ledger = Ledger(policy, usd_today)
    for worker in workers:
        if worker.state is not WorkerState.INTENDED and not worker.owned:
            ledger.add_worker(worker)
    for worker in sorted(intents, key=lambda one: (one.buy_in_s, one.id)):
        offer = catalogue.of(worker)
        if offer is None:
            refused[worker.id] = f"{worker.provider}/{worker.gpu_class} is not for sale any more"
        elif offer.cooled_s > 0:
            refused[worker.id] = f"{worker.provider}/{worker.gpu_class} refused a launch a moment ago"
        elif refusal := ledger.limit_refusal(worker.provider, worker.usd_per_hour):
            refused[worker.id] = refusal.reason
        else:
            ledger.add_worker(worker)
    return refused


def _endings(
    supply: Sequence[WorkerView],
    endings: Mapping[str, Stop | Drain],
    wanted: Demand,
    policy: Policy,
    catalogue: Catalogue,
) -> Sequence[Action]:
    """What must end, and then what is idle and either named by the policy or, if it names none, given no work."""
    surplus: Sequence[Action | None] = ()
    if wanted.surplus is None:
        surplus = [idle_out(one, policy, catalogue.of(one)) for one in supply if one.id not in wanted.used]
    elif wanted.surplus:
        surplus = [let_go(one) for one in supply if one.id in wanted.surplus]
    return [*endings.values(), *(end for end in surplus if end)]


def _second_look(
    intents: Sequence[WorkerView], refused: Mapping[str, str], wanted: Demand
) -> Sequence[Buy | Withdraw]:
    """Buys the intents whose delay is over and that the demand still uses; the unused ones go at once."""
    looks: list[Buy | Withdraw] = []
    for worker in intents:
        if worker.id in refused:
            looks.append(Withdraw(worker.id, refused[worker.id]))
        elif worker.id not in wanted.used:
            looks.append(Withdraw(worker.id, "no job needs it any more"))
        elif worker.buy_in_s <= 0:
            looks.append(Buy(worker.id, "still needed at the second look"))
    return looks
