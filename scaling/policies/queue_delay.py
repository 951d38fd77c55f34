"""A worker for each job that has waited too long: RunPod's queue delay, and its request count with another knob.

Source: RunPod's endpoint settings (scaler type and value, active and max workers, idle timeout).
"""

from collections.abc import Iterator

from scaling.demand.pools import older
from scaling.policies.counted import CountRule, Load, Target, whole_up
from scaling.policies.knobs import Knob, Values
from scaling.policies.remembered import ROUNDING_S

REQUEST_COUNT = 1
KNOBS = (
    Knob("scaler_type", 0, 0, 1, "0: queue delay, 1: request count", whole=True),
    Knob("scaler_value", 4, 0.1, 3600, "seconds that a job may wait, or jobs for each worker"),
    Knob("workers_min", 0, 0, 10_000, "active workers, which stay", whole=True),
    Knob("workers_max", 3, 0, 10_000, "workers at most; 0: no bound", whole=True),
    Knob("idle_timeout", 5, 0, 3600, "seconds that an idle worker stays"),
)


def _step(load: Load, knobs: Values) -> Target:
    value, most = knobs["scaler_value"], knobs["workers_max"]
    if knobs["scaler_type"] == REQUEST_COUNT:
        return Target(load.clipped(whole_up(load.jobs / value), most))
    late = sum(older(group, count, value) for group, count in load.pool.groups)
    workers = len(load.pool.busy) + (whole_up(late / load.slots()) if late else 0)
    return Target(load.clipped(workers, most), look_again_s=min(_late_in_s(load, value), default=None))


def _late_in_s(load: Load, value_s: float) -> Iterator[float]:
    """When each job that is not late yet will be."""
    for group, _ in load.pool.groups:
        for age_s in group.ages_s or (group.oldest_age_s,):
            if age_s <= value_s:
                yield value_s - age_s + ROUNDING_S


queue_delay = CountRule(
    "queue_delay", KNOBS, _step, least="workers_min", most="workers_max", idle="idle_timeout"
)
