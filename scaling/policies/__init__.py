"""Policies by name: each says what the queue asks for, given the same scene."""

from collections.abc import Callable, Iterable, Mapping

from scaling.demand.walk import Demand, Scene
from scaling.policies.concurrency import concurrency
from scaling.policies.counted import CountRule
from scaling.policies.fixed import fixed
from scaling.policies.knobs import Knob, Values, faults, values
from scaling.policies.ongoing import ongoing
from scaling.policies.qps import qps
from scaling.policies.queue_delay import queue_delay
from scaling.policies.queue_length import queue_length
from scaling.policies.static import static
from scaling.policies.whatif import KNOBS as WHATIF_KNOBS
from scaling.policies.whatif import whatif
from scaling.snapshot import Memory
from scaling.whatif.told import told

DemandPolicy = Callable[[Scene], Demand]
COUNTED: Mapping[str, CountRule] = {
    one.name: one for one in (concurrency, ongoing, qps, queue_delay, queue_length, static)
}
"""Policies that say a number of workers for each pool."""
POLICIES: Mapping[str, DemandPolicy] = {"fixed": fixed, "whatif": whatif, **COUNTED}
TOLD: Mapping[str, Callable[[Memory, float], Iterable[str]]] = {"whatif": told}
"""What a policy has learned, in sentences, from what its plan remembers and the time."""
KNOBS: Mapping[str, tuple[Knob, ...]] = {
    "fixed": (),
    "whatif": WHATIF_KNOBS,
    **{name: one.knobs for name, one in COUNTED.items()},
}


def check_knobs(name: str, knobs: Values) -> None:
    """Raises:
    ValueError: no policy of that name, or knobs that it does not have or that are out of bounds; all of them.
    """
    if name not in POLICIES:
        raise ValueError(f"no policy is called {name!r}; there are {', '.join(sorted(POLICIES))}")
    found = list(faults(KNOBS[name], knobs))
    if not found and name in COUNTED:
        found = _contradictions(COUNTED[name], knobs)
    if found:
        raise ValueError(f"policy {name!r}: {'; '.join(found)}")


def _contradictions(rule: CountRule, knobs: Values) -> list[str]:
    given = values(rule.knobs, knobs)
    least, most = given[rule.least], given[rule.most]
    return [f"{rule.least} is {least:g} and {rule.most} only {most:g}"] if 0 < most < least else []
