"""The loop of a run: the production decision on a frozen picture, and its plan carried out."""

import math
from random import Random

from scaling.check import check
from scaling.decide import decide
from scaling.plan import Action, Buy, Drain, Launch, Plan, Stop, Withdraw
from scaling.policy import Policy
from scaling.simulate.machine import Machine
from scaling.simulate.report import paid
from scaling.simulate.world import World
from scaling.snapshot import Memory, Snapshot

DRAWS = 64
LOOKS_AT_ONCE_MAX = 8
"""A plan may ask for a second look at once; it does not get more than so many."""
LOOK_AGAIN_S_MIN = 0.05
"""As in production, where nudges so close together are one look; and time goes on."""
DAY_S = 86_400.0


class Looks:
    """When the next look is due (`due_s`), and what a look does."""

    def __init__(self, world: World, policy: Policy, dice: Random) -> None:
        self._world = world
        self._policy = policy
        self._dice = dice
        self._draws: tuple[float, ...] = ()
        self._memory: Memory = {}
        self.due_s = math.inf

    def nudge(self) -> None:
        """Something happened: there is a look soon, one for all that happens until then."""
        self._world.changed = False
        self.due_s = min(self.due_s, self._world.now_s + self._world.scenario.loop.nudge_s)

    def look(self) -> None:
        """Looks now, and again at once while a launch without a delay waits for its second look.

        What ends by the plan nudges the loop, as in production.
        """
        world = self._world
        world.now_s, world.changed = max(world.now_s, self.due_s), False
        for _ in range(LOOKS_AT_ONCE_MAX):
            plan = self._step()
            if not any(isinstance(one, Launch) and one.delay_s <= 0 for one in plan.actions):
                break
        world.follow(plan)
        self.due_s = self._next_s(plan)

    def _next_s(self, plan: Plan) -> float:
        """With nobody waiting and nothing leased, only a policy that asks for it looks before something happens."""
        world, again_s = self._world, math.inf
        if plan.look_again_s is not None:
            again_s = max(LOOK_AGAIN_S_MIN, plan.look_again_s)
        if world.waiting or world.machines:
            again_s = min(again_s, world.scenario.loop.period_s)
        return world.now_s + again_s

    def _step(self) -> Plan:
        world = self._world
        snapshot = self._snapshot()
        plan = decide(snapshot, self._policy)
        if plan.actions or plan.blocked:
            check(snapshot, self._policy, plan)
        self._memory = plan.memory
        for action in plan.actions:
            self._act(action)
        world.tally.looks += 1
        world.tally.events += 1
        return plan

    def _snapshot(self) -> Snapshot:
        world = self._world
        now_s = world.now_s
        if not self._draws:
            self._draws = tuple([self._dice.random() for _ in range(DRAWS)])
        return Snapshot(
            groups=world.waiting.groups(now_s),
            workers=tuple([one.view(now_s) for one in world.machines.values()]),
            offers=world.knowledge.offers(),
            estimates=world.knowledge.estimates(),
            usd_today=self._usd_today() if self._policy.usd_per_day_max is not None else 0.0,
            draws=self._draws,
            now_s=now_s,
            memory=self._memory,
            arrived=world.arrived,
            waits_s=world.begun.until(now_s, world.claims.patience),
        )

    def _usd_today(self) -> float:
        """Summed up only for a budget, since it goes over all leases of a day."""
        world, since_s = self._world, self._world.now_s - DAY_S
        usd = world.tally.usd_since(since_s)
        for one in world.machines.values():
            if one.leased:
                paid_s = paid(one, world.knowledge.sold(one.terms), world.now_s)
                usd += min(paid_s, DAY_S) * one.terms.usd_per_hour / 3600
        return usd

    def _act(self, action: Action) -> None:
        match action:
            case Launch():
                self._draws = ()  # What was drawn has been used.
                self._world.intend(action)
            case Buy():
                self._world.buy(self._machine(action))
            case Withdraw():
                self._world.withdraw(self._machine(action))
            case Drain():
                self._world.drain(self._machine(action))
            case Stop():
                self._world.stop(self._machine(action))

    def _machine(self, action: Buy | Withdraw | Drain | Stop) -> Machine:
        return self._world.machines[action.worker_id]
