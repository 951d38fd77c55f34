"""Pictures for the policy that learns: with ages, models in memory, and what it remembers carried from look to look."""

from dataclasses import replace

from decide_pictures import ENGINES, GPUS, PROVIDERS, after, policies, snapshots
from hypothesis import strategies as st

from scaling.plan import Launch, Plan, Withdraw
from scaling.snapshot import (
    AGES_MAX,
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

TUNED = "whatif"
"""The policy under test."""
LEARNED = ("days", "log_price", "ranks", "trends", "unused")
"""What it writes down."""
models = st.sampled_from([(), (), ("csm/m",), ("whisper/n", "csm/n")])
loads = st.dictionaries(
    st.tuples(st.sampled_from(ENGINES), st.sampled_from(["m", "n"]), st.sampled_from(GPUS)),
    st.builds(Estimate, st.sampled_from([1.0, 20.0, 200.0]), st.just(300.0), st.just(5)),
    max_size=4,
)
pauses = st.lists(st.sampled_from([1.0, 15.0, 90.0, 700.0, 5000.0]), max_size=8)
ranks = st.lists(st.tuples(st.none() | st.sampled_from([0.0, 400.0, 990.0]), pauses), min_size=1, max_size=6)
memories = st.just({}) | st.builds(
    lambda price, ranks: {"log_price": price, "ranks": ranks, "unused": {}, "trends": []},
    st.sampled_from([3.0, 6.5, 9.0]),
    st.lists(
        st.tuples(
            st.sampled_from(PROVIDERS), st.sampled_from(GPUS), st.sampled_from([0.0, 0.5, 1.0, 2.5]), ranks
        ),
        max_size=4,
    ),
)
tuned_policies = st.builds(
    lambda policy, target_s, aim: replace(policy, name=TUNED, target_p95_s=target_s, aim=aim),
    policies,
    st.sampled_from([None, 20.0, 90.0, 400.0]),
    st.sampled_from(["cheap", "balanced", "fast"]),
)


def _aged(group: JobGroup, apart_s: float) -> JobGroup:
    ages_s = (max(0.0, group.oldest_age_s - apart_s * rank) for rank in range(min(group.count, AGES_MAX)))
    return replace(group, ages_s=tuple(ages_s))


@st.composite
def pictures(draw):
    seen = draw(snapshots)
    apart_s = draw(st.sampled_from([0.0, 1.0, 30.0]))
    return replace(
        seen,
        groups=tuple(_aged(one, apart_s) for one in seen.groups),
        workers=tuple(
            replace(one, resident=draw(models)) if one.capabilities else one for one in seen.workers
        ),
        estimates=replace(seen.estimates, load=draw(loads)),
        now_s=1000.0,
        memory=draw(memories),
    )


SERVES = (Capability("csm", models=("m", "n", "o")),)
BOOTS_S = (2.0, 45.0, 300.0)


@st.composite
def busy_pictures(draw):
    """Pictures that ask for machines: jobs that any machine could run, a few at work or on order, and open offers."""
    target_s = draw(st.sampled_from([20.0, 90.0, 400.0]))
    groups = tuple(
        _aged(
            JobGroup(
                Need("csm", model), draw(st.sampled_from([1, 3, 20])), draw(st.floats(0.0, 3 * target_s))
            ),
            draw(st.sampled_from([0.0, 1.0, 30.0])),
        )
        for model in draw(st.lists(st.sampled_from("mno"), min_size=1, max_size=3, unique=True))
    )
    boot_s, service_s = draw(st.sampled_from(BOOTS_S)), draw(st.sampled_from([5.0, 60.0, 600.0]))
    known = {("csm", model, "a10"): Estimate(service_s, 2 * service_s, 9) for model in "mno"}
    offer = Offer("cloud", "a10", draw(st.sampled_from([0.5, 1.0])), SERVES, boot_billed=draw(st.booleans()))
    snapshot = Snapshot(
        groups=groups,
        workers=tuple(_worker(draw, f"w{number}", offer) for number in range(draw(st.integers(0, 4)))),
        offers=(offer,),
        estimates=Estimates(
            known, {("cloud", "a10"): Estimate(boot_s, 1.6 * boot_s, 9, 3 * boot_s)}, draw(loads)
        ),
        now_s=1000.0,
        memory=draw(memories),
    )
    return snapshot, target_s


def _worker(draw, name: str, offer: Offer) -> WorkerView:
    state = draw(st.sampled_from([WorkerState.READY, WorkerState.STARTING]))
    ready = state is WorkerState.READY
    return WorkerView(
        id=name,
        provider="cloud",
        state=state,
        gpu_class="a10",
        usd_per_hour=offer.usd_per_hour,
        capabilities=SERVES if ready else (),
        resident=(draw(st.sampled_from(["csm/m", "csm/n"])),) if ready else (),
        running=(Running("csm", "m", draw(st.sampled_from([0.0, 30.0])), 600.0),) if ready else (),
        silent_s=1.0 if ready else None,
        claim_silent_s=0.0 if ready else None,
        lease_age_s=1.0,
        state_age_s=1.0,
    )


def turned(snapshot: Snapshot, plan: Plan, turn: int) -> Snapshot:
    """The plan is carried out, what it remembers included; no time has passed."""
    return replace(after(snapshot, plan, turn), memory=plan.memory)


def older(snapshot: Snapshot, seconds: float) -> Snapshot:
    """So much later, with the same jobs waiting and running."""
    return replace(
        snapshot,
        now_s=snapshot.now_s + seconds,
        groups=tuple(_older_jobs(one, seconds) for one in snapshot.groups),
        workers=tuple(_older_worker(one, seconds) for one in snapshot.workers),
    )


def _older_jobs(group: JobGroup, seconds: float) -> JobGroup:
    return replace(
        group,
        oldest_age_s=group.oldest_age_s + seconds,
        ages_s=tuple(one + seconds for one in group.ages_s),
        slack_s=None if group.slack_s is None else group.slack_s - seconds,
    )


def _older_worker(worker: WorkerView, seconds: float) -> WorkerView:
    return replace(
        worker,
        state_age_s=worker.state_age_s + seconds,
        lease_age_s=worker.lease_age_s + seconds,
        buy_in_s=max(0.0, worker.buy_in_s - seconds),
        idle_s=None if worker.idle_s is None else worker.idle_s + seconds,
        running=tuple(replace(one, run_s=one.run_s + seconds) for one in worker.running),
    )


def launches(plan: Plan) -> list[Launch]:
    return [one for one in plan.actions if isinstance(one, Launch)]


def withdrawals(plan: Plan) -> list[Withdraw]:
    return [one for one in plan.actions if isinstance(one, Withdraw)]
