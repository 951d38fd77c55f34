"""Workers by the jobs that go on, averaged, and only after a while: the autoscaler of Ray Serve.

Source: ray-project/ray, `serve/config.py` and `serve/autoscaling_policy.py`; bounds are those of `num_replicas="auto"`.
"""

import math

from scaling.policies.counted import CountRule, Load, Target, whole_up
from scaling.policies.knobs import Knob, Values
from scaling.policies.remembered import (
    due,
    followed,
    last_tick_s,
    mean,
    next_tick_in_s,
    number,
    points,
)
from scaling.snapshot import Memory

KNOBS = (
    Knob("target_ongoing_requests", 2, 0.01, 1000, "jobs for each worker, those that wait among them"),
    Knob("min_replicas", 1, 0, 10_000, "workers at least", whole=True),
    Knob("max_replicas", 100, 0, 10_000, "workers at most; 0: no bound", whole=True),
    Knob("metrics_interval_s", 10, 0.1, 600, "seconds from one decision to the next"),
    Knob("look_back_period_s", 30, 0.1, 3600, "seconds over which jobs are averaged"),
    Knob("upscaling_factor", 1, 0.01, 100, "what is lacking is multiplied by this"),
    Knob("downscaling_factor", 1, 0.01, 100, "what is too much is multiplied by this"),
    Knob("upscale_delay_s", 30, 0, 86_400, "seconds that more must be asked for before it is done"),
    Knob("downscale_delay_s", 600, 0, 86_400, "seconds that fewer must be asked for before it is done"),
    Knob("downscale_to_zero_delay_s", "downscale_delay_s", 0, 86_400, "the same, for the last worker"),
)


def _step(load: Load, knobs: Values) -> Target:
    now_s, memory, period_s = load.now_s, load.memory, knobs["metrics_interval_s"]
    level = number(memory, "level", 0.0)
    trail = followed(points(memory, "trail", now_s), now_s, level, knobs["look_back_period_s"])
    target, turned = load.target, _turned(memory, now_s)
    if not load.ready:
        if load.jobs:
            target = load.clipped(max(target, math.ceil(knobs["upscaling_factor"])), knobs["max_replicas"])
    elif due(memory, now_s, period_s):
        ongoing = mean(trail, knobs["look_back_period_s"])
        wanted = _wanted(load, load.jobs if ongoing is None else ongoing, knobs)
        target, turned = _delayed(wanted, target, turned, load, knobs)
    if not (target > load.least or load.jobs or trail[-1][1] > trail[0][1]):
        return Target(load.least)
    kept: dict[str, object] = {
        "tick_s": last_tick_s(now_s, period_s),
        "level": load.jobs,
        "trail": trail,
        "target": target,
        "turn": turned[0],
        "turned_s": turned[1],
    }
    return Target(target, kept, next_tick_in_s(now_s, period_s))


def _turned(memory: Memory, now_s: float) -> tuple[float, float]:
    """Whether more (1) or fewer (-1) are asked for than there are to be, and since when."""
    return number(memory, "turn", 0.0), min(now_s, number(memory, "turned_s", now_s))


def _wanted(load: Load, ongoing: float, knobs: Values) -> int:
    wanted, ready = ongoing / knobs["target_ongoing_requests"], load.ready
    factor = knobs["upscaling_factor"] if wanted > ready else knobs["downscaling_factor"]
    scaled = whole_up(ready + factor * (wanted - ready))
    if whole_up(wanted) < ready == scaled:
        scaled -= 1
    return load.clipped(scaled, knobs["max_replicas"])


def _delayed(
    wanted: int, target: int, turned: tuple[float, float], load: Load, knobs: Values
) -> tuple[int, tuple[float, float]]:
    """What is asked for without a break for as long as its delay is done. The last worker goes by itself."""
    now_s, turn = load.now_s, float((wanted > target) - (wanted < target))
    since_s = turned[1] if turned[0] == turn else now_s
    if turn > 0:
        delay_s = knobs["upscale_delay_s"]
    elif target == 1:
        delay_s = knobs["downscale_to_zero_delay_s"]
    else:
        delay_s, wanted = knobs["downscale_delay_s"], max(1, wanted)
    if not turn or now_s - since_s < delay_s:
        return target, (turn, since_s)
    return wanted, (0.0, now_s)


ongoing = CountRule("ongoing", KNOBS, _step, least="min_replicas", most="max_replicas")
