"""A machine of the run: what it does now, and how plans see it."""

from dataclasses import dataclass, field

from scaling.simulate.scenario import GpuClass, Terms
from scaling.simulate.trace import Arrival
from scaling.snapshot import Capability, Running, WorkerView
from scaling.states import WorkerState

SERVING = frozenset({WorkerState.READY, WorkerState.DRAINING})
_set_state_age = WorkerView.__dict__["state_age_s"].__set__
_set_lease_age = WorkerView.__dict__["lease_age_s"].__set__
_set_lease_left = WorkerView.__dict__["lease_left_s"].__set__
_set_buy_in = WorkerView.__dict__["buy_in_s"].__set__
_set_claim_silent = WorkerView.__dict__["claim_silent_s"].__set__
_set_idle = WorkerView.__dict__["idle_s"].__set__
_set_run = Running.__dict__["run_s"].__set__
_set_time_left = Running.__dict__["time_left_s"].__set__


@dataclass(slots=True)
class Run:
    """A job on its machine: service begins `load_s` after the claim, which is 0 unless its model `loads`."""

    arrival: Arrival
    claimed_at: float
    loads: bool
    load_s: float
    service_s: float
    dropped: bool = False
    """Its machine was gone before it had ended."""

    @property
    def begins_at(self) -> float:
        return self.claimed_at + self.load_s


@dataclass(slots=True)
class Machine:
    """From the intent on. Moments in seconds of the run; `number` counts launches, and is None before."""

    id: str
    terms: Terms
    gpu: GpuClass
    state_at: float
    buy_at: float
    state: WorkerState = WorkerState.INTENDED
    number: int | None = None
    launched_at: float = 0.0
    ready_at: float | None = None
    capabilities: tuple[Capability, ...] = ()
    resident: tuple[str, ...] = ()
    run: Run | None = None
    freed_at: float = 0.0
    jobs_done: int = 0
    _view: WorkerView | None = field(default=None, repr=False)
    _viewed_at: float = -1.0

    @property
    def leased(self) -> bool:
        return self.number is not None

    def move(self, to: WorkerState, now_s: float) -> None:
        self.state, self.state_at, self._view = to, now_s, None

    def take(self, run: Run, resident: tuple[str, ...]) -> None:
        self.run, self.resident, self._view = run, resident, None

    def put_down(self, now_s: float) -> Run:
        """Ends what it runs; the machine is free from now on."""
        run = self.run
        if run is None:
            raise ValueError(f"{self.id} runs nothing")
        self.run, self.freed_at, self._view = None, now_s, None
        return run

    def view(self, now_s: float) -> WorkerView:
        """As the observer would show it, for this moment.

        It is made anew when the machine has changed. Otherwise only its ages are moved on, in place, which is far
        cheaper: a picture is looked at once, at its moment, and nobody keeps it.
        """
        if self._view is None:
            self._view, self._viewed_at = self._seen(now_s), now_s
        elif self._viewed_at != now_s:
            self._age(self._view, now_s)
            self._viewed_at = now_s
        return self._view

    def _age(self, view: WorkerView, now_s: float) -> None:
        _set_state_age(view, now_s - self.state_at)
        if self.number is not None:
            age_s = now_s - self.launched_at
            _set_lease_age(view, age_s)
            if view.lease_left_s is not None:
                _set_lease_left(view, (self.terms.lease_s_max or 0.0) - age_s)
        elif self.state is WorkerState.INTENDED:
            _set_buy_in(view, max(0.0, self.buy_at - now_s))
        if self.run is not None:
            run_s = now_s - self.run.claimed_at
            _set_claim_silent(view, run_s)
            _set_run(view.running[0], run_s)
            _set_time_left(view.running[0], max(0.0, self.run.arrival.need.max_time_s - run_s))
        elif view.idle_s is not None:
            _set_idle(view, now_s - self.freed_at)

    def _seen(self, now_s: float) -> WorkerView:
        serving, run, terms = self.state in SERVING, self.run, self.terms
        age_s = now_s - self.launched_at if self.leased else 0.0
        silent_s = 0.0 if run is None else now_s - run.claimed_at
        return WorkerView(
            id=self.id,
            provider=terms.provider,
            state=self.state,
            gpu_class=terms.gpu_class,
            vram_gb=self.gpu.vram_gb,
            usd_per_hour=terms.usd_per_hour,
            capabilities=self.capabilities,
            resident=self.resident,
            running=() if run is None else (_running(run, now_s),),
            state_age_s=now_s - self.state_at,
            buy_in_s=max(0.0, self.buy_at - now_s) if self.state is WorkerState.INTENDED else 0.0,
            idle_s=now_s - self.freed_at if serving and run is None else None,
            jobs_done=self.jobs_done,
            silent_s=0.0 if serving else None,
            claim_silent_s=silent_s if serving else None,
            lease_age_s=age_s,
            lease_left_s=None if terms.lease_s_max is None or not self.leased else terms.lease_s_max - age_s,
        )


def _running(run: Run, now_s: float) -> Running:
    need, run_s = run.arrival.need, now_s - run.claimed_at
    left_s = max(0.0, need.max_time_s - run_s)
    return Running(need.engine, need.model, run_s, left_s, run.loads, need.low_priority)
