"""A fleet in virtual time, as small as it can be: pictures are made from it, plans are applied to it at once."""

import json
from dataclasses import dataclass, field, replace

from pictures import CLOUD, SERVICE_S, drains, jobs, launches, ordered, picture, planned, ready

from scaling.policy import Limits, Policy
from scaling.snapshot import Running

ROOMY = Limits(workers_max=10_000)


def counted(name, **knobs):
    return Policy(name=name, knobs=knobs, limits=ROOMY, launches_per_step_max=1000)


@dataclass
class Machine:
    ready_s: float
    free_s: float = 0.0
    until_s: float = 0.0
    jobs_done: int = 0


@dataclass
class Clockwork:
    """`count` is how many workers there were after each look, by its time."""

    policy: Policy
    boot_s: float = 60.0
    service_s: float = SERVICE_S
    now_s: float = 0.0
    machines: dict = field(default_factory=dict)
    waiting: list = field(default_factory=list)
    memory: dict = field(default_factory=dict)
    arrived: int = 0
    look_s: float | None = None
    bought: int = 0
    count: dict = field(default_factory=dict)

    def run(self, arrivals, until_s):
        """Lives until then; `arrivals` are times. A look at every arrival, boot and finish, and when the plan says."""
        due = sorted(arrivals)
        self._arrive(due)
        self.look()
        while True:
            ends = [one.ready_s for one in self.machines.values()] + [
                one.until_s for one in self.machines.values()
            ]
            looks = due[:1] + ([] if self.look_s is None else [self.look_s])
            later = [one for one in (*ends, *looks) if one > self.now_s]
            if not later or min(later) > until_s:
                self.now_s = until_s
                return self
            self.now_s = min(later)
            self._arrive(due)
            self.look()

    def _arrive(self, due):
        while due and due[0] <= self.now_s:
            self.waiting.append(due.pop(0))
            self.arrived += 1

    def look(self):
        self._serve()
        group = (
            [jobs(len(self.waiting), oldest_age_s=self._ages()[0], ages_s=self._ages())]
            if self.waiting
            else []
        )
        workers = [self._view(name, one) for name, one in self.machines.items()]
        memory = json.loads(json.dumps(self.memory))
        snapshot = picture(
            *group, workers=workers, offers=[CLOUD], now_s=self.now_s, memory=memory, arrived=self.arrived
        )
        plan = planned(snapshot, self.policy)
        for _ in launches(plan):
            self.bought += 1
            self.machines[f"m{self.bought}"] = Machine(self.now_s + self.boot_s)
        for name in drains(plan):
            del self.machines[name]
        self.memory = dict(plan.memory)
        self.look_s = None if plan.look_again_s is None else self.now_s + max(1e-3, plan.look_again_s)
        self.count[self.now_s] = len(self.machines)

    def at(self, time_s):
        """Workers at a time."""
        return self.count[max(one for one in self.count if one <= time_s)]

    def _ages(self):
        return tuple(self.now_s - one for one in self.waiting)[:32]

    def _serve(self):
        for one in self.machines.values():
            if one.until_s and one.until_s <= self.now_s:
                one.free_s, one.until_s, one.jobs_done = one.until_s, 0.0, one.jobs_done + 1
        idle = [one for one in self.machines.values() if one.ready_s <= self.now_s and not one.until_s]
        for one in sorted(idle, key=lambda one: -max(one.free_s, one.ready_s)):
            if self.waiting:
                self.waiting.pop(0)
                one.until_s = self.now_s + self.service_s

    def _view(self, name, one):
        if one.ready_s > self.now_s:
            return ordered(name, state_age_s=self.now_s - one.ready_s + self.boot_s)
        idle_s = self.now_s - max(one.free_s, one.ready_s)
        view = ready(name, idle_s=idle_s, state_age_s=self.now_s - one.ready_s, jobs_done=one.jobs_done)
        if not one.until_s:
            return view
        run_s = self.now_s - one.until_s + self.service_s
        return replace(
            view, running=(Running("csm", None, run_s, 1000.0),), idle_s=None, claim_silent_s=run_s
        )
