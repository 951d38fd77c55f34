"""Quotas: what users and projects may have queued, running and spent, and how many jobs of a queue run at once."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from gpulease.contract.problems import ProblemError
from orchestrator.access.queues import QueueBounds
from orchestrator.clock import Clock
from orchestrator.settings import Settings
from orchestrator.store.people import By, Quota, Subscription
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Fleet
from scaling.limits import NO_LIMITS, Kind, RunningLimits
from scaling.snapshot import Need

DAY_S = 86_400.0
FRESH_S = 5.0
"""So old may be what is known of subscriptions, projects and spending; whoever changes them calls `refresh`."""
QUEUED_RETRY_S = 10
SPENT_RETRY_S = 900
LOCKS = 64
"""Submits of users and projects with a `queued_max` go one by one, by so many locks."""

Party = tuple[Kind, str]
"""A user or a project, by id."""
Bounds = dict[Party, tuple[int, str]]
"""How many jobs of theirs may run, and why, where that is not the number itself."""
WHOSE: Mapping[Kind, tuple[str, str]] = {
    "owner": ("This user", "the user's subscription"),
    "project": ("This project", "the project"),
}
"""Who has the quota, and whose it is to be raised at."""


class QuotaBook:
    """`on_change` is called when a bound on running jobs has risen, so that held jobs may begin."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._queues = QueueBounds(store, settings)
        self._subscriptions: dict[int, Subscription] = {}
        self._quotas: dict[Party, Quota] = {}
        self._spent: dict[Party, float] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._refreshing = asyncio.Lock()
        self._submitting = tuple(asyncio.Lock() for _ in range(LOCKS))
        self._met: set[Party] = set()
        self._bounds: Bounds = {}
        self._limits = NO_LIMITS
        self.on_change: Callable[[], None] = lambda: None

    def limits(self) -> RunningLimits:
        """As of the last refresh, and of the submits since."""
        return self._limits

    async def refresh(self, fleet: Fleet | None = None) -> None:
        """Takes up what was changed. A turn of the loop passes the fleet that it has read, and then only what
        is older than 5 s is read again.
        """
        async with self._refreshing:
            if fleet is None:
                self._read_at = float("-inf")
                fleet = await self._store.read_fleet()
            await self._read()
            met, self._met = self._met.union(_parties(_needs(fleet))), set()
            known = await self._bounds_of(met)
            self._put({**_only(self._bounds, self._met), **known}, met)

    @asynccontextmanager
    async def admit(self, needs: Iterable[Need]) -> AsyncIterator[None]:
        """Within it, one job for each of the needs may be stored: all fit, and nobody else takes their places.

        Raises:
            ProblemError: 429, with the quota, its bound, the present number and what helps.
        """
        asked = Counter(_parties(needs))
        await self._read()
        bound = [one for one in asked if (await self._quota(one)).queued_max is not None]
        async with AsyncExitStack() as held:
            for number in sorted({hash(one) % LOCKS for one in bound}):
                await held.enter_async_context(self._submitting[number])
            await self._check(asked)
            yield

    @property
    def queues(self) -> Mapping[str, int]:
        """The bounds of queues that have one."""
        return self._queues.current

    async def put_queue(self, name: str, running_max: int | None, by: By) -> None:
        """Sets the bound of a queue or, with None, lifts it. It wins over what the settings say.

        Raises:
            ProblemError: 422 where there are too many names.
        """
        await self._queues.put(name, running_max, by, self._clock.now())
        await self.refresh()

    async def _read(self) -> None:
        async with self._reading:
            now = self._clock.now()
            if 0 <= now - self._read_at < FRESH_S:
                return
            self._subscriptions = {one.id: one for one in await self._store.list_subscriptions()}
            await self._queues.load()
            self._quotas.clear()
            self._spent.clear()
            self._read_at = now

    async def _quota(self, party: Party) -> Quota:
        if party not in self._quotas:
            self._quotas[party] = await self._read_quota(*party)
        return self._quotas[party]

    async def _read_quota(self, kind: Kind, name: str) -> Quota:
        """Of a user, that of the subscription; it is looked up only where any subscription has one."""
        if kind == "project":
            project = await self._store.get_project(name)
            return project.quota if project is not None else Quota()
        if all(one.quota == Quota() for one in self._subscriptions.values()):
            return Quota()
        user = await self._store.get_user(name)
        subscription = self._subscriptions.get(user.subscription_id) if user is not None else None
        return subscription.quota if subscription is not None else Quota()

    async def _overspent(self, party: Party, quota: Quota) -> str | None:
        """Why nothing more of theirs begins, once the last 24 hours' budget is spent."""
        most = quota.usd_per_day_max
        if most is None:
            return None
        usd = await self._usd(party)
        if usd < most:
            return None
        whose, of = WHOSE[party[0]]
        spent = f"{whose} has spent {usd:.2f} of {most:.2f} USD in the last 24 hours"
        return f"{spent}; wait until it is less, or raise usd_per_day_max of {of}."

    async def _usd(self, party: Party) -> float:
        if party not in self._spent:
            now = self._clock.now()
            self._spent[party] = await self._store.spent_by(since=now - DAY_S, now=now, **_named(party))
        return self._spent[party]

    async def _bounds_of(self, parties: Iterable[Party]) -> Bounds:
        """On what runs of these."""
        bounds: Bounds = {}
        for party in sorted(parties):
            quota = await self._quota(party)
            if reason := await self._overspent(party, quota):
                bounds[party] = (0, reason)
            elif quota.running_max is not None:
                bounds[party] = (quota.running_max, "")
        return bounds

    def _put(self, bounds: Bounds, looked_at: Iterable[Party]) -> None:
        """`looked_at` are those of whom something is known now; if they have no bound, they have none any more."""
        queues = self._queues.current
        looser = _higher(self._limits.queues, queues) or any(
            party in self._bounds and self._bounds[party][0] < bounds.get(party, (math.inf,))[0]
            for party in looked_at
        )
        self._bounds = bounds
        self._limits = RunningLimits(
            {name: most for (kind, name), (most, _) in bounds.items() if kind == "owner"},
            {name: most for (kind, name), (most, _) in bounds.items() if kind == "project"},
            queues,
            {party: reason for party, (_, reason) in bounds.items() if reason},
        )
        if looser:
            self.on_change()

    async def _check(self, asked: Mapping[Party, int]) -> None:
        await self._read()
        for party, count in sorted(asked.items()):
            quota = await self._quota(party)
            await self._check_queued(party, quota, count)
            if reason := await self._overspent(party, quota):
                facts = {"bound": quota.usd_per_day_max, "present": await self._usd(party)}
                raise _refusal(party, "usd_per_day_max", reason, SPENT_RETRY_S, **facts)
        self._met |= asked.keys()
        known = await self._bounds_of(asked)
        if known != _only(self._bounds, asked):
            others = {party: one for party, one in self._bounds.items() if party not in asked}
            self._put({**others, **known}, asked)

    async def _check_queued(self, party: Party, quota: Quota, count: int) -> None:
        most = quota.queued_max
        if most is None:
            return
        present = (await self._store.load_of(**_named(party))).queued
        if present + count <= most:
            return
        whose, of = WHOSE[party[0]]
        facts = f"{whose} may have {most} jobs waiting and has {present}, so {count} more do not fit"
        helps = "send fewer at once" if count > most else "wait until some have started, cancel some"
        reason = f"{facts}; {helps}, or raise queued_max of {of}."
        raise _refusal(party, "queued_max", reason, QUEUED_RETRY_S, bound=most, present=present)


def _refusal(party: Party, quota: str, reason: str, retry_s: int, **facts: Any) -> ProblemError:
    """Trying again helps where there is any room at all."""
    if facts["bound"]:
        facts["retry_after_s"] = retry_s
    title = f"The quota {quota} of this {'user' if party[0] == 'owner' else 'project'} is used up"
    return ProblemError(429, title, reason, type="/problems/quota", quota=quota, of=party[0], **facts)


def _needs(fleet: Fleet) -> Iterator[Need]:
    yield from (one.need for one in fleet.groups)
    yield from (job.need for _, job in fleet.attempts)


def _parties(needs: Iterable[Need]) -> Iterator[Party]:
    for need in needs:
        yield "owner", need.owner
        if need.project:
            yield "project", need.project


def _only(bounds: Bounds, parties: Iterable[Party]) -> Bounds:
    return {party: bounds[party] for party in parties if party in bounds}


def _named(party: Party) -> dict[str, Any]:
    """The party as a keyword of store verbs."""
    return {party[0]: party[1]}


def _higher(before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    return any(now.get(name, math.inf) > most for name, most in before.items())
