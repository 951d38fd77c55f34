"""Workers by arrivals a second, after many decisions alike: the request rate autoscaler of SkyServe.

Source: skypilot-org/skypilot, `sky/serve/autoscalers.py` and `constants.py`. It looks at arrivals alone; here a pool
with jobs that wait keeps one worker in any case, as a queue does not turn jobs away.
"""

import math
from bisect import bisect_right

from scaling.policies.counted import CountRule, Load, Target, whole_up
from scaling.policies.knobs import Knob, Values
from scaling.policies.remembered import (
    Points,
    appended,
    count,
    due,
    last_tick_s,
    next_tick_in_s,
    points,
)

KNOBS = (
    Knob("target_qps_per_replica", 0, 0, 10_000, "arrivals a second for each worker; 0: what it can serve"),
    Knob("min_replicas", 1, 0, 10_000, "workers at least", whole=True),
    Knob("max_replicas", 0, 0, 10_000, "workers at most; 0: no bound", whole=True),
    Knob("qps_window_size_seconds", 60, 1, 3600, "seconds over which arrivals are counted"),
    Knob("decision_interval_seconds", 20, 1, 3600, "seconds from one decision to the next"),
    Knob("no_replica_decision_interval_seconds", 5, 1, 3600, "the same, while no worker is asked for"),
    Knob("upscale_delay_seconds", 300, 0, 86_400, "seconds of decisions for more before it is done"),
    Knob("downscale_delay_seconds", 1200, 0, 86_400, "seconds of decisions for fewer before it is done"),
)


def _step(load: Load, knobs: Values) -> Target:
    now_s, memory = load.now_s, load.memory
    trail = _arrivals(load, knobs["qps_window_size_seconds"])
    target, counters = load.target, (count(memory, "ups"), count(memory, "downs"))
    if due(memory, now_s, _interval_s(target, knobs)):
        target, counters = _decided(_asked(load, trail, knobs), target, counters, knobs)
    if not (target > load.least or load.jobs or _within(trail, knobs["qps_window_size_seconds"], now_s)):
        return Target(load.least)
    interval_s = _interval_s(target, knobs)
    kept: dict[str, object] = {
        "tick_s": last_tick_s(now_s, interval_s),
        "trail": trail,
        "target": target,
        "ups": counters[0],
        "downs": counters[1],
    }
    return Target(target, kept, next_tick_in_s(now_s, interval_s))


def _interval_s(target: int, knobs: Values) -> float:
    return knobs["decision_interval_seconds" if target else "no_replica_decision_interval_seconds"]


def _arrivals(load: Load, window_s: float) -> Points:
    """A trail of (seconds, jobs that had come by then)."""
    trail = points(load.memory, "trail", load.now_s) or [(load.now_s, 0.0)]
    if not load.arrived:
        return trail
    return appended(trail, load.now_s, trail[-1][1] + load.arrived, window_s)


def _within(trail: Points, window_s: float, now_s: float) -> float:
    """How many came within the window that ends now."""
    before = max(0, bisect_right(trail, (now_s - window_s, math.inf)) - 1)
    return trail[-1][1] - trail[before][1]


def _asked(load: Load, trail: Points, knobs: Values) -> int:
    window_s = knobs["qps_window_size_seconds"]
    per_worker = knobs["target_qps_per_replica"] or load.slots() / load.service_s()
    workers = whole_up(_within(trail, window_s, load.now_s) / window_s / per_worker)
    return load.clipped(max(workers, 1 if load.waiting else 0), knobs["max_replicas"])


def _decided(
    asked: int, target: int, counters: tuple[int, int], knobs: Values
) -> tuple[int, tuple[int, int]]:
    """One decision the other way begins the count anew; from none to some there is no count."""
    if asked == target or not target:
        return asked, (0, 0)
    up = asked > target
    delay_s = knobs["upscale_delay_seconds" if up else "downscale_delay_seconds"]
    hits = (counters[0] if up else counters[1]) + 1
    if hits >= delay_s // knobs["decision_interval_seconds"]:
        return asked, (0, 0)
    return target, (hits, 0) if up else (0, hits)


qps = CountRule("qps", KNOBS, _step, least="min_replicas", most="max_replicas", arrivals=True)
