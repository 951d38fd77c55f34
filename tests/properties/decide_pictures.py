"""Random pictures of a fleet, and the state that a plan leads to."""

from dataclasses import replace

from hypothesis import strategies as st

from scaling.limits import NO_LIMITS, RunningCounts, RunningLimits
from scaling.plan import Buy, Drain, Launch, Plan, Stop, Withdraw
from scaling.policy import Limits, Policy
from scaling.snapshot import (
    Capability,
    Estimate,
    Estimates,
    JobGroup,
    Need,
    Offer,
    Running,
    Snapshot,
    WorkerView,
)
from scaling.states import WorkerState

W = WorkerState
ENGINES = ("csm", "whisper", "blender")
PROVIDERS = ("salad", "cloud", "local")
GPUS = ("a10", "h100")
seconds = st.sampled_from([0.0, 1.0, 20.0, 59.0, 61.0, 200.0, 301.0, 1000.0, 8000.0])
maybe_seconds = st.none() | seconds
prices = st.sampled_from([0.0, 0.5, 1.0, 2.5])
capabilities = st.lists(
    st.builds(Capability, st.sampled_from(ENGINES), models=st.sampled_from([(), ("m",), ("m", "n")])),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.engine,
).map(tuple)
needs = st.builds(
    Need,
    engine=st.sampled_from((*ENGINES, "unknown")),
    model=st.sampled_from([None, None, "m", "n"]),
    priority=st.integers(-2, 2),
    low_priority=st.sampled_from([False, False, False, True]),
    gpu_class=st.sampled_from([None, None, *GPUS]),
    providers=st.sampled_from([(), (), ("cloud",), ("local", "salad")]),
    usd_per_hour_max=st.sampled_from([None, None, 1.0]),
    owner=st.sampled_from(["ann", "bob"]),
    project=st.sampled_from(["", "film"]),
    queue=st.sampled_from(["default", "default", "long"]),
    avoid=st.sampled_from([(), (), ("w0",), ("w1", "w2")]),
)
groups = st.lists(
    st.builds(
        JobGroup,
        needs,
        count=st.sampled_from([1, 1, 2, 7, 300, 5000]),
        oldest_age_s=seconds,
        slack_s=maybe_seconds,
    ),
    max_size=6,
    unique_by=lambda one: one.need,
).map(tuple)
runs = st.builds(Running, st.sampled_from(ENGINES), st.none(), seconds, seconds)


@st.composite
def worker(draw, name):
    state = draw(st.sampled_from([*W]))
    served = state in {W.READY, W.DRAINING}
    capacity = draw(st.sampled_from([1, 1, 4]))
    running = tuple(draw(st.lists(runs, max_size=capacity))) if served else ()
    registered = served or state is W.STOPPING
    return WorkerView(
        id=name,
        provider=draw(st.sampled_from(PROVIDERS)),
        state=state,
        gpu_class=draw(st.sampled_from(GPUS)),
        usd_per_hour=draw(prices),
        capacity=capacity if registered else 1,
        capabilities=draw(capabilities) if registered else (),
        running=running,
        uploading=draw(st.sampled_from([0, 0, 0, 1])) if served else 0,
        state_age_s=draw(seconds),
        buy_in_s=draw(st.sampled_from([0.0, 0.0, 12.0, 30.0])) if state is W.INTENDED else 0.0,
        idle_s=draw(seconds) if served and not running else None,
        jobs_done=draw(st.integers(0, 2)),
        silent_s=draw(st.sampled_from([None, 1.0, 1.0, 1.0, 50.0])) if served else None,
        claim_silent_s=draw(st.sampled_from([None, 0.0, 0.0, 100.0])) if served else None,
        lease_age_s=draw(seconds),
        lease_left_s=draw(st.sampled_from([None, None, 30.0, 500.0, 9000.0])) if served else None,
        paused=draw(st.sampled_from([False, False, False, True])),
        probe_failures=draw(st.sampled_from([0, 0, 0, 3])),
        queues=draw(st.sampled_from([(), (), (), ("long",)])) if registered else (),
    )


fleets = st.integers(0, 6).flatmap(lambda n: st.tuples(*(worker(f"w{i}") for i in range(n))))
offers = st.lists(
    st.builds(
        Offer,
        st.sampled_from(PROVIDERS),
        st.sampled_from(GPUS),
        prices,
        capabilities,
        boot_billed=st.booleans(),
        granularity_s=st.sampled_from([1.0, 60.0, 3600.0]),
        capacity=st.sampled_from([1, 1, 3]),
        count_max=st.sampled_from([0, 1, 5, 1000, 1000]),
        cooled_s=st.sampled_from([0.0, 0.0, 0.0, 90.0]),
    ),
    max_size=4,
    unique_by=lambda one: (one.provider, one.gpu_class),
).map(tuple)
estimate = st.builds(Estimate, st.sampled_from([0.01, 5.0, 60.0, 900.0]), st.just(1000.0), st.just(9))
estimates = st.builds(
    Estimates,
    service=st.dictionaries(
        st.tuples(st.sampled_from(ENGINES), st.sampled_from(["", "m"]), st.sampled_from(GPUS)), estimate
    ),
    boot=st.dictionaries(st.tuples(st.sampled_from(PROVIDERS), st.sampled_from(GPUS)), estimate),
)
bounds = st.sampled_from([0, 1, 3, 100])
names = st.sampled_from(["ann", "bob", "film", "default", "long"])
running_limits = st.just(NO_LIMITS) | st.builds(
    RunningLimits,
    owners=st.dictionaries(names, bounds, max_size=2),
    projects=st.dictionaries(names, bounds, max_size=1),
    queues=st.dictionaries(names, bounds, max_size=2),
)
running_counts = st.builds(
    RunningCounts,
    owners=st.dictionaries(names, bounds, max_size=2),
    projects=st.dictionaries(names, bounds, max_size=1),
    queues=st.dictionaries(names, bounds, max_size=2),
)
snapshots = st.builds(
    Snapshot,
    groups=groups,
    workers=fleets,
    offers=offers,
    estimates=estimates,
    usd_today=st.sampled_from([0.0, 1.0, 50.0]),
    limits=running_limits,
    running=running_counts,
    draws=st.lists(st.floats(0.0, 0.999), max_size=4).map(tuple),
)
limits = st.builds(
    Limits,
    workers_max=st.sampled_from([None, 0, 2, 5, 10]),
    usd_per_hour_max=st.sampled_from([None, 0.0, 2.0, 9.0]),
)
policies = st.builds(
    Policy,
    name=st.sampled_from(["whatif", "fixed"]),
    aim=st.sampled_from(["cheap", "balanced", "fast"]),
    target_p95_s=st.sampled_from([None, None, 5.0, 100.0, 3600.0]),
    idle_s=st.sampled_from([None, 5.0, 300.0]),
    launch_delay_s_min=st.sampled_from([None, None, 10.0]),
    launch_delay_s_max=st.sampled_from([None, None, 20.0]),
    launches_per_step_max=st.sampled_from([1, 10, 50]),
    limits=limits,
    provider_limits=st.dictionaries(st.sampled_from(PROVIDERS), limits, max_size=1),
    usd_per_day_max=st.sampled_from([None, None, 50.0, 1.01]),
)


def after(snapshot: Snapshot, plan: Plan, turn: int) -> Snapshot:
    """What the plan makes of the fleet at once: nothing has booted or finished, and no time has passed."""
    fleet = {one.id: one for one in snapshot.workers}
    for number, action in enumerate(plan.actions):
        match action:
            case Launch():
                name = f"new-{turn:03}-{number:03}"
                fleet[name] = WorkerView(
                    id=name,
                    provider=action.provider,
                    state=W.INTENDED,
                    gpu_class=action.gpu_class,
                    usd_per_hour=action.usd_per_hour,
                    buy_in_s=action.delay_s,
                )
            case Buy():
                fleet[action.worker_id] = _moved(fleet[action.worker_id], W.STARTING)
            case Withdraw():
                fleet[action.worker_id] = _moved(fleet[action.worker_id], W.GONE)
            case Drain():
                fleet[action.worker_id] = _moved(fleet[action.worker_id], W.DRAINING)
            case Stop():
                stopped = _moved(fleet[action.worker_id], W.STOPPING)
                fleet[action.worker_id] = replace(stopped, running=(), uploading=0)
    return replace(snapshot, workers=tuple(fleet.values()))


def _moved(worker: WorkerView, state: WorkerState) -> WorkerView:
    return replace(
        worker, state=state, state_age_s=0.0, lease_age_s=0.0 if state is W.STARTING else worker.lease_age_s
    )


def later(snapshot: Snapshot, seconds_on: float) -> Snapshot:
    """The same fleet when the delays of its intents have gone on."""
    workers = (replace(one, buy_in_s=max(0.0, one.buy_in_s - seconds_on)) for one in snapshot.workers)
    return replace(snapshot, workers=tuple(workers))
