"""The world in virtual time: jobs come, machines boot, run, fail and are lost, and each event is logged.

It knows what will be. What a policy may know of it is in `knowledge`, and in what machines show.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from scaling.place import Patience
from scaling.plan import Launch, Plan
from scaling.simulate.claims import Claims
from scaling.simulate.draws import LaunchDraws
from scaling.simulate.knowledge import Knowledge
from scaling.simulate.log import Log
from scaling.simulate.machine import Machine, Run
from scaling.simulate.report import Tally
from scaling.simulate.scenario import Scenario
from scaling.simulate.trace import Arrival, Trace
from scaling.simulate.waiting import Waiting
from scaling.snapshot import Need
from scaling.states import WorkerState

W = WorkerState
STUCK_S = 86_400.0
End = Literal["terminate", "fail"]
Happening = tuple[float, int, Callable[[Machine], None], Machine]


@dataclass(slots=True)
class Begun:
    """Runs whose service begins, by when: their waits are known from then on."""

    runs: list[tuple[float, int, Run]] = field(default_factory=list)

    def add(self, run: Run) -> None:
        heapq.heappush(self.runs, (run.begins_at, run.arrival.row, run))

    def until(self, now_s: float, patience: Patience | None) -> tuple[float, ...]:
        """The waits of those that have begun and were not told before, as production counts them."""
        told = []
        while self.runs and self.runs[0][0] <= now_s:
            run = heapq.heappop(self.runs)[2]
            need, wait_s = run.arrival.need, run.begins_at - run.arrival.t_s
            if not run.dropped and not need.low_priority:
                told.append(patience.measured_s(need, wait_s) if patience else wait_s)
        return tuple(told)


class World:
    """`changed` is set by whatever nudges the loop."""

    def __init__(self, scenario: Scenario, trace: Trace, seed: int, log: Log) -> None:
        self.scenario = scenario
        self.now_s = 0.0
        self.changed = False
        self.arrived = 0
        self.machines: dict[str, Machine] = {}
        self.waiting = Waiting()
        self.claims = Claims(self.waiting)
        self.knowledge = Knowledge(scenario, trace.models())
        self.tally = Tally([math.nan] * len(trace.arrivals))
        self.begun = Begun()
        self._parked: dict[str, Machine] = {}
        self._draws = LaunchDraws(seed)
        self._log = log
        self._agenda: list[Happening] = []
        self._numbered = 0
        self._intents = 0
        self._is_buying = False
        self._free_at = 0.0
        """When the gap after the last launch ends."""
        self._moved_at = 0.0
        self._stuck_s = STUCK_S + 10 * max((one.service_s for one in trace.arrivals), default=0.0)

    def stuck(self, now_s: float) -> bool:
        """Whether no job has come or ended for so long that those which are left never will."""
        return now_s - self._moved_at > self._stuck_s

    def next_s(self) -> float:
        """When the next thing happens by itself; infinite if nothing does."""
        return self._agenda[0][0] if self._agenda else math.inf

    def happen(self) -> None:
        """The next thing happens. What was to become of a machine that is gone does not."""
        at_s, _, handler, machine = heapq.heappop(self._agenda)
        if machine.state is not W.GONE:
            self.now_s = at_s
            handler(machine)

    def arrive(self, arrival: Arrival) -> None:
        self.now_s = self._moved_at = arrival.t_s
        self.arrived += 1
        self._note("arrival", job=arrival.row, model=arrival.model)
        self.waiting.add(arrival)
        self.changed = True
        self._offer(arrival.need, 1, at_work=self._at_work(arrival))

    def intend(self, action: Launch) -> None:
        terms = self.knowledge.terms(action)
        self._intents += 1
        machine = Machine(
            id=f"w{self._intents:07d}",
            terms=terms,
            gpu=self.scenario.gpu_classes[terms.gpu_class],
            state_at=self.now_s,
            buy_at=self.now_s + action.delay_s,
        )
        self.machines[machine.id] = machine

    def withdraw(self, machine: Machine) -> None:
        self.tally.withdrawn += 1
        self._forget(machine)

    def buy(self, machine: Machine) -> None:
        """Where machines are bought one after the other and one is, this one stays an intent until the next plan."""
        if self._is_buying:
            return
        machine.move(W.CREATING, self.now_s)
        loop = self.scenario.loop
        self._is_buying = loop.launch_gap_s > 0
        delay_s = max(loop.launch_delay_s, self._free_at - self.now_s)
        if delay_s > 0:
            self._soon(delay_s, self._launch, machine)
        else:
            self._launch(machine)

    def drain(self, machine: Machine) -> None:
        """An idle one ends at once; another when its job has, by the next plan."""
        if machine.run is None:
            self._end(machine)
        else:
            machine.move(W.DRAINING, self.now_s)

    def stop(self, machine: Machine) -> None:
        """A launch that is under way cannot be called back: it is ended as soon as it is made."""
        if machine.state is W.CREATING:
            machine.move(W.STOPPING, self.now_s)
        else:
            self._end(machine)

    def follow(self, plan: Plan) -> None:
        """What the plan holds back. Who waits for nothing any more is answered."""
        self.claims.follow(plan)
        if self._parked and self.waiting:
            for need in list(self.waiting):
                self._offer(need, self.waiting.count(need))
            for machine in self.claims.staying(self._parked.values(), self.now_s):
                self._claim(machine)

    def close(self) -> None:
        """All jobs are done: what is leased ends now, and nothing else is bought."""
        for machine in list(self.machines.values()):
            if machine.leased:
                self._end(machine)
            else:
                self._forget(machine)

    def _launch(self, machine: Machine) -> None:
        unwanted = machine.state is W.STOPPING
        if gap_s := self.scenario.loop.launch_gap_s:
            # What was bought nudges the loop, and so the next one is.
            self._is_buying, self._free_at, self.changed = False, self.now_s + gap_s, True
        machine.number = self.tally.launched()
        machine.launched_at = self.now_s
        machine.move(W.STARTING, self.now_s)
        self.knowledge.leased(machine.terms, 1)
        self._note("launch", node=machine.number)
        draw = self._draws.next(machine.terms)
        if unwanted:
            self._end(machine)
            return
        self._soon(draw.latency_s, self._break if draw.fails else self._ready, machine)
        self._soon(draw.latency_s + draw.life_s, self._break, machine)
        self._soon(machine.terms.lease_s_max or math.inf, self._expire, machine)

    def _ready(self, machine: Machine) -> None:
        machine.ready_at = machine.freed_at = self.now_s
        machine.capabilities = self.knowledge.capabilities
        machine.move(W.READY, self.now_s)
        self.knowledge.booted(machine.terms, self.now_s - machine.launched_at)
        self.changed = True
        self._note("ready", node=machine.number)
        self._claim(machine)

    def _break(self, machine: Machine) -> None:
        """The launch has failed, or the machine is lost."""
        self._end(machine, "fail")

    def _expire(self, machine: Machine) -> None:
        """The provider ends the lease, whatever runs."""
        self._end(machine, "terminate")

    def _at_work(self, arrival: Arrival) -> bool:
        """Whether a machine that is busy has its model in memory."""
        resident = _resident(arrival)
        return any(one.run is not None and one.resident == resident for one in self.machines.values())

    def _offer(self, need: Need, count: int, *, at_work: bool = False) -> None:
        """Wakes as many parked machines as can take these jobs, the best first."""
        for _ in range(min(count, len(self._parked))):
            woken = self.claims.wake(need, self._parked.values(), self.now_s, at_work=at_work)
            if woken is None:
                return
            self._claim(self._parked[woken])

    def _claim(self, machine: Machine) -> None:
        need = self.claims.next_need(machine, self.now_s) if self.waiting else None
        if need is None:
            self._parked[machine.id] = machine
        else:
            self._parked.pop(machine.id, None)
            self.claims.took(need, machine.resident)
            self._start(machine, self.claims.take(need, self.now_s, machine))

    def _start(self, machine: Machine, arrival: Arrival) -> None:
        resident = _resident(arrival)
        loads = machine.resident != resident
        load_s = machine.gpu.load_s if loads else 0.0
        run = Run(arrival, self.now_s, loads, load_s, arrival.service_s * machine.gpu.service_factor)
        machine.take(run, resident)
        self.tally.claimed(run)
        self.begun.add(run)
        self._note("start", job=arrival.row, node=machine.number, switch_s=load_s)
        self._soon(load_s + run.service_s, self._finish, machine)

    def _finish(self, machine: Machine) -> None:
        run = machine.put_down(self.now_s)
        self._moved_at = self.now_s
        machine.jobs_done += 1
        self.tally.done(run, self.now_s)
        self.knowledge.finished(run, machine.terms.gpu_class)
        self.changed = True
        self._note("finish", job=run.arrival.row, node=machine.number)
        if machine.state is W.READY:
            self._claim(machine)

    def _end(self, machine: Machine, how: End = "terminate") -> None:
        """The lease ends. A job that runs there is lost with it, and waits again in its old place."""
        run, lost = machine.put_down(self.now_s) if machine.run else None, how == "fail"
        if run:
            how = "fail"
        self._note(how, node=machine.number)
        self.tally.ending(how, was_ready=machine.ready_at is not None)
        self.tally.ended(machine, self.knowledge.sold(machine.terms), self.now_s)
        self.knowledge.leased(machine.terms, -1)
        if machine.ready_at is not None:
            self.knowledge.served(machine.terms, self.now_s - machine.ready_at, lost=lost)
        self._forget(machine)
        self.changed = True
        if run:
            run.dropped = True
            self.tally.dropped(run, self.now_s)
            self.waiting.add(run.arrival)
            self._offer(run.arrival.need, 1)

    def _forget(self, machine: Machine) -> None:
        machine.move(W.GONE, self.now_s)
        self._parked.pop(machine.id, None)
        del self.machines[machine.id]

    def _soon(self, in_s: float, handler: Callable[[Machine], None], machine: Machine) -> None:
        if in_s < math.inf:
            self._numbered += 1
            heapq.heappush(self._agenda, (self.now_s + in_s, self._numbered, handler, machine))

    def _note(self, what: str, **facts: object) -> None:
        self.tally.events += 1
        self._log({"e": what, "t": round(self.now_s, 6), **facts})


def _resident(arrival: Arrival) -> tuple[str, ...]:
    """What a machine has in memory when it has run this job."""
    return (f"{arrival.need.engine}/{arrival.model}",)
