"""Whatever waits: a claim gets only what it can run, the same each time, and priority is respected."""

from decide_pictures import capabilities, needs, seconds
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.place import Candidate, choose, runnable
from scaling.snapshot import Offer

candidates = st.lists(
    st.builds(Candidate, needs, seconds, seconds), max_size=8, unique_by=lambda one: one.need
)
hosts = st.builds(
    Offer, st.just("cloud"), st.sampled_from(["a10", "h100"]), st.sampled_from([0.5, 2.0]), capabilities
)
residents = st.lists(st.sampled_from(["csm/m", "csm/n", "whisper/m"]), max_size=2)


@given(candidates, hosts, residents, st.sampled_from(["w0", "w9"]), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_claims(waiting, host, resident, host_id, anns):
    def claim():
        running = {"ann": anns, "bob": 1}
        return choose(waiting, host, host_id=host_id, resident=resident, running_by_owner=running)

    fitting = [one.need for one in waiting if runnable(one.need, host, host_id)]
    chosen = claim()
    assert chosen == claim()
    assert (chosen is None) == (not fitting)
    if chosen is not None:
        assert chosen in fitting
        assert chosen.low_priority == all(one.low_priority for one in fitting)
        peers = [one for one in fitting if one.low_priority == chosen.low_priority]
        assert chosen.priority == max(one.priority for one in peers)
