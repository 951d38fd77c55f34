"""One worker for so many queued jobs, polled: SaladCloud's queue autoscaler, and KEDA's with other knobs.

Sources: SaladCloud's autoscaling settings and its API schema; KEDA's ScaledObject, ScaledJob and queue scalers, of
which the number of workers is the Kubernetes autoscaler's (stabilisation, tolerance, growth).
"""

import math
from dataclasses import dataclass

from scaling.policies.counted import CountRule, Load, Target, ceiling, whole_up
from scaling.policies.knobs import Knob, Values
from scaling.policies.remembered import Points, due, last_tick_s, next_tick_in_s, number, peaks, points
from scaling.snapshot import Memory

MINUTE_S = 60.0
KNOBS = (
    Knob("desired_queue_length", 1, 1, 10_000, "jobs for each worker"),
    Knob("polling_period", 30, 1, 1800, "seconds from one look at the queue to the next"),
    Knob("min_replicas", 0, 0, 10_000, "workers at least", whole=True),
    Knob("max_replicas", 100, 0, 10_000, "workers at most; 0: no bound", whole=True),
    Knob("max_upscale_per_minute", 0, 0, 10_000, "workers more in a minute at most; 0: no bound", whole=True),
    Knob(
        "max_downscale_per_minute", 0, 0, 10_000, "workers fewer in a minute at most; 0: no bound", whole=True
    ),
    Knob("cooldown_period", 0, 0, 86_400, "seconds of an empty queue until the last worker goes"),
    Knob("stabilization_window", 0, 0, 3600, "seconds whose greatest number holds when it falls"),
    Knob("tolerance", 0, 0, 1, "no change while jobs for each worker are this near to what is desired"),
    Knob("upscale_percent", 0, 0, 10_000, "grows by this share at one look at most; 0: no bound"),
    Knob("upscale_pods", 0, 0, 10_000, "or by so many, whichever is more", whole=True),
    Knob(
        "count_running",
        1,
        0,
        1,
        "1: a job is in the queue until it has ended, 0: until it begins",
        whole=True,
    ),
)


@dataclass(frozen=True, slots=True)
class State:
    """`peaks` are what was asked for; `ups` and `downs` what was changed within a minute; `active_s` when last a job
    was there.
    """

    target: int
    active_s: float
    peaks: Points
    ups: Points
    downs: Points

    @classmethod
    def read(cls, load: Load) -> "State":
        active_s = min(load.now_s, number(load.memory, "active_s", load.now_s))
        past = (points(load.memory, key, load.now_s) for key in ("peaks", "ups", "downs"))
        return cls(load.target, active_s, *past)

    def remembered(self, tick_s: float) -> Memory:
        return {
            "tick_s": tick_s,
            "target": self.target,
            "active_s": self.active_s,
            "peaks": self.peaks,
            "ups": self.ups,
            "downs": self.downs,
        }


def _step(load: Load, knobs: Values) -> Target:
    now_s, period_s = load.now_s, knobs["polling_period"]
    state = State.read(load)
    if due(load.memory, now_s, period_s):
        state = _polled(state, load, knobs)
    if not (state.target > load.least or load.jobs or state.ups or state.downs):
        return Target(load.least)
    memory = state.remembered(last_tick_s(now_s, period_s))
    return Target(state.target, memory, next_tick_in_s(now_s, period_s))


def _polled(state: State, load: Load, knobs: Values) -> State:
    now_s = load.now_s
    length = load.waiting + load.running * knobs["count_running"]
    active_s = now_s if length else state.active_s
    asked = _asked(length, state.target, load, knobs)
    window = peaks(state.peaks, now_s, asked, knobs["stabilization_window"])
    if asked < state.target:
        asked = min(state.target, int(window[0][1]))
        asked = max(load.least, _cooled(asked, length, now_s - active_s, knobs["cooldown_period"]))
    ups = [one for one in state.ups if one[0] > now_s - MINUTE_S]
    downs = [one for one in state.downs if one[0] > now_s - MINUTE_S]
    target = _rated(asked, state.target, (ups, downs), knobs)
    if target > state.target:
        ups.append((now_s, target - state.target))
    elif target < state.target:
        downs.append((now_s, state.target - target))
    return State(target, active_s, window, ups, downs)


def _asked(length: float, target: int, load: Load, knobs: Values) -> int:
    desired = knobs["desired_queue_length"]
    if target and length and abs(length / (desired * target) - 1) <= knobs["tolerance"]:
        return load.clipped(target, knobs["max_replicas"])
    return load.clipped(whole_up(length / desired), knobs["max_replicas"])


def _cooled(asked: int, length: float, empty_s: float, cooldown_s: float) -> int:
    """With a cool-down, the last worker goes by it alone, and so does whatever is left by then."""
    if not cooldown_s:
        return asked
    return 0 if not length and empty_s >= cooldown_s else max(1, asked)


def _rated(asked: int, target: int, changes: tuple[Points, Points], knobs: Values) -> int:
    """Within the rates by the minute, and the growth at one look."""
    ups, downs = (sum(one[1] for one in past) for past in changes)
    if asked < target:
        return max(
            asked, int(target - min(target, max(0, ceiling(knobs["max_downscale_per_minute"]) - downs)))
        )
    room = ceiling(knobs["max_upscale_per_minute"]) - ups
    percent, pods = knobs["upscale_percent"], knobs["upscale_pods"]
    growth = max(math.ceil(target * percent / 100), pods) if percent or pods else math.inf
    return int(min(asked, target + max(0, min(room, growth))))


queue_length = CountRule("queue_length", KNOBS, _step, least="min_replicas", most="max_replicas")
