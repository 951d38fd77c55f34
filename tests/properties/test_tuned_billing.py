"""Free and paid boots, at one moment: what may be started again for free is never kept for longer."""

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tuned_pictures import SERVES, TUNED

from scaling.decide import decide
from scaling.plan import Drain
from scaling.policy import Policy
from scaling.snapshot import Estimate, Estimates, Offer, Snapshot, WorkerView
from scaling.states import WorkerState

NOW_S = 10_000.0
pauses = st.lists(st.sampled_from([5.0, 40.0, 150.0, 700.0]), min_size=3, max_size=12)
idle_since = st.lists(
    st.tuples(st.sampled_from([1.0, 30.0, 100.0, 400.0, 2000.0]), pauses), min_size=1, max_size=4
)


def ended(ranks, boot_s, target_s, *, billed):
    boot = Estimate(boot_s, 1.6 * boot_s, 9, 3 * boot_s)
    offer = Offer("cloud", "a10", 1.0, SERVES, boot_billed=billed)
    workers = tuple(
        WorkerView(
            id=f"w{number}",
            provider="cloud",
            state=WorkerState.READY,
            gpu_class="a10",
            usd_per_hour=1.0,
            capabilities=SERVES,
            idle_s=age_s,
            jobs_done=1,
            silent_s=1.0,
            claim_silent_s=0.0,
            lease_age_s=5000.0,
        )
        for number, (age_s, _) in enumerate(ranks)
    )
    remembered = [[NOW_S - age_s, list(known)] for age_s, known in ranks]
    memory = {"log_price": 5.0, "ranks": [["cloud", "a10", 1.0, remembered]], "unused": {}, "trends": []}
    known = Estimates(boot={("cloud", "a10"): boot})
    snapshot = Snapshot(workers=workers, offers=(offer,), estimates=known, now_s=NOW_S, memory=memory)
    plan = decide(snapshot, Policy(name=TUNED, target_p95_s=target_s))
    return {one.worker_id for one in plan.actions if isinstance(one, Drain)}


@given(idle_since, st.sampled_from([20.0, 60.0, 300.0]), st.sampled_from([20.0, 150.0, 900.0]))
@settings(max_examples=150, deadline=None)
def test_what_is_ended_though_its_boot_is_paid_is_ended_where_it_is_free(ranks, boot_s, target_s):
    paid, free = (ended(ranks, boot_s, target_s, billed=billed) for billed in (True, False))
    event(f"sooner: {paid < free}")
    assert paid <= free


def test_a_pause_shorter_than_a_boot_is_waited_out_only_where_the_boot_is_paid():
    """Pauses of two minutes, half a minute ago; a boot of five minutes, in time for all that comes."""
    ranks = [(30.0, [120.0] * 8)]
    assert ended(ranks, 300.0, 3000.0, billed=True) == set()
    assert ended(ranks, 300.0, 3000.0, billed=False) == {"w0"}
