"""Small pictures of a fleet, with everything that a test does not speak of left ordinary."""

from dataclasses import replace

from scaling.check import check
from scaling.decide import decide
from scaling.plan import Buy, Drain, Launch, Plan, Stop, Withdraw
from scaling.policy import Policy
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

CSM = Capability("csm", "tts", ("small", "large"), ("clone",))
WHISPER = Capability("whisper", "faster", ("base",))
BOOT_S = 60.0
SERVICE_S = 30.0
ESTIMATES = Estimates(
    service={("csm", "", "a10"): Estimate(SERVICE_S, 60.0, 50), ("whisper", "", "a10"): Estimate(10, 20, 50)},
    boot={
        ("cloud", "a10"): Estimate(BOOT_S, 90.0, 50, 600.0),
        ("free", "a10"): Estimate(BOOT_S, 90.0, 50, 600.0),
    },
)
WHATIF = Policy(name="whatif", target_p95_s=90.0)
FIXED = Policy(name="fixed")
AGED_S = 45.0
"""With a boot of a minute and a wait of a minute and a half to aim at, such a job needs a machine at once."""


def need(engine="csm", **knobs):
    return Need(engine, **knobs)


def jobs(count=1, of=None, **knobs):
    return JobGroup(of or need(), count, **knobs)


def ready(name, *, busy_s=None, **knobs):
    """A healthy worker: idle for 10 s, or busy with a csm job since `busy_s`."""
    running = () if busy_s is None else (Running("csm", None, busy_s, 1000.0),)
    ordinary = WorkerView(
        id=name,
        provider="cloud",
        state=WorkerState.READY,
        gpu_class="a10",
        vram_gb=24,
        usd_per_hour=1.0,
        capabilities=(CSM,),
        running=running,
        state_age_s=1000.0,
        idle_s=None if running else 10.0,
        jobs_done=1,
        silent_s=1.0,
        claim_silent_s=0.0 if not running else busy_s,
        lease_age_s=1000.0,
    )
    return replace(ordinary, **knobs)


def ordered(name, state=WorkerState.STARTING, **knobs):
    """A worker that its provider has not handed over yet, and of which we know what its row says."""
    return WorkerView(name, "cloud", state, gpu_class="a10", usd_per_hour=1.0, **knobs)


def intent(name, buy_in_s=0.0, **knobs):
    return ordered(name, WorkerState.INTENDED, buy_in_s=buy_in_s, **knobs)


def offer(provider="cloud", usd_per_hour=1.0, **knobs):
    ordinary = Offer(provider, "a10", usd_per_hour, (CSM,), vram_gb=24)
    return replace(ordinary, **knobs)


CLOUD = offer()


def picture(*groups, workers=(), offers=(CLOUD,), **knobs):
    knobs.setdefault("estimates", ESTIMATES)
    return Snapshot(groups=groups, workers=tuple(workers), offers=tuple(offers), **knobs)


def planned(snapshot, policy=WHATIF) -> Plan:
    """The plan, which is also a lawful one."""
    plan = decide(snapshot, policy)
    check(snapshot, policy, plan)
    return plan


def launches(plan):
    return [one for one in plan.actions if isinstance(one, Launch)]


def ids(plan, kind):
    return [one.worker_id for one in plan.actions if isinstance(one, kind)]


def stops(plan):
    return ids(plan, Stop)


def drains(plan):
    return ids(plan, Drain)


def buys(plan):
    return ids(plan, Buy)


def withdrawals(plan):
    return ids(plan, Withdraw)


def codes(plan):
    return [one.code for one in plan.blocked]
