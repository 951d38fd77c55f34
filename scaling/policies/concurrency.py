"""Workers by the jobs at once, over a long window and a short one: the pod autoscaler of Knative.

Source: knative/serving, the autoscaler's scaling package and its ConfigMap. A worker runs as many jobs at once as it
has slots, which is Knative's hard limit `containerConcurrency`; the target is a share of it.
"""

import math
from dataclasses import dataclass

from scaling.policies.counted import CountRule, Load, Target, whole_up
from scaling.policies.knobs import Knob, Values
from scaling.policies.remembered import (
    Points,
    count,
    due,
    followed,
    last_tick_s,
    mean,
    next_tick_in_s,
    number,
    peaks,
    points,
)
from scaling.snapshot import Memory

TICK_S = 2.0
KNOBS = (
    Knob("container_concurrency", 0, 0, 1000, "jobs at once for each worker; 0: its slots"),
    Knob("target_utilization_percentage", 70, 1, 100, "of them, what is aimed at"),
    Knob("stable_window", 60, 6, 3600, "seconds of the long window"),
    Knob("panic_window_percentage", 10, 1, 100, "of it, the short window"),
    Knob(
        "panic_threshold_percentage", 200, 110, 1000, "of what is ready, asked for by the short window: panic"
    ),
    Knob("max_scale_up_rate", 1000, 1.01, 10_000, "times what is ready, at one tick at most"),
    Knob("max_scale_down_rate", 2, 1.01, 10_000, "what is ready is divided by this, at one tick at most"),
    Knob("scale_down_delay", 0, 0, 3600, "seconds whose greatest number holds when it falls"),
    Knob(
        "scale_to_zero_grace_period", 30, 0, 3600, "seconds that the last worker stays when none is asked for"
    ),
    Knob("activation_scale", 1, 1, 1000, "workers at least, when any", whole=True),
    Knob("min_scale", 0, 0, 10_000, "workers at least", whole=True),
    Knob("max_scale", 0, 0, 10_000, "workers at most; 0: no bound", whole=True),
)


@dataclass(frozen=True, slots=True)
class Panic:
    """Since when, and the most workers asked for since then. Seconds are infinite when there is none."""

    at_s: float = math.inf
    workers: int = 0

    @property
    def on(self) -> bool:
        return self.at_s < math.inf

    def after(self, asked: int, over: bool, load: Load, knobs: Values) -> "Panic":  # noqa: FBT001
        if over:
            return Panic(load.now_s, max(self.workers, asked))
        if self.on and self.at_s + knobs["stable_window"] < load.now_s:
            return Panic()
        return Panic(self.at_s, max(self.workers, asked)) if self.on else self


def _step(load: Load, knobs: Values) -> Target:
    now_s, memory = load.now_s, load.memory
    level = number(memory, "level", 0.0)
    trail = followed(points(memory, "trail", now_s), now_s, level, knobs["stable_window"])
    kept: dict[str, object] = {
        "tick_s": last_tick_s(now_s, TICK_S),
        "level": load.jobs,
        "trail": trail,
        "target": load.target,
        **{key: memory[key] for key in ("panic_s", "panic_workers", "idle_s", "peaks") if key in memory},
    }
    if due(memory, now_s, TICK_S):
        kept |= _ticked(load, trail, knobs)
    target = count(kept, "target")
    if not (target > load.least or load.jobs or trail[-1][1] > trail[0][1]):
        return Target(load.least)
    return Target(target, kept, next_tick_in_s(now_s, TICK_S))


def _ticked(load: Load, trail: Points, knobs: Values) -> Memory:
    now_s, memory = load.now_s, load.memory
    stable, short = _asked(load, trail, knobs)
    before = Panic(number(memory, "panic_s", math.inf), int(number(memory, "panic_workers", 0)))
    over = short[1] / max(1, load.ready) >= knobs["panic_threshold_percentage"] / 100
    panic = before.after(max(stable[0], short[0]), over, load, knobs)
    asked = panic.workers if panic.on else stable[0]
    window = peaks(points(memory, "peaks", now_s), now_s, asked, knobs["scale_down_delay"])
    asked = load.clipped(window[0][1], knobs["max_scale"])
    idle_s = min(now_s, number(memory, "idle_s", now_s))
    if not asked and load.target and now_s - idle_s < knobs["scale_to_zero_grace_period"]:
        return {**_panicked(panic), "target": 1, "idle_s": idle_s, "peaks": window}
    return {**_panicked(panic), "target": asked, "idle_s": None if asked else idle_s, "peaks": window}


def _panicked(panic: Panic) -> Memory:
    return {"panic_s": panic.at_s if panic.on else None, "panic_workers": panic.workers}


def _asked(load: Load, trail: Points, knobs: Values) -> tuple[tuple[int, float], tuple[int, float]]:
    """By the long window and the short one: workers within the rates, and before them."""
    per_worker = (
        (knobs["container_concurrency"] or load.slots()) * knobs["target_utilization_percentage"] / 100
    )
    ready = max(1, load.ready)
    most = math.ceil(knobs["max_scale_up_rate"] * ready)
    least = math.floor(ready / knobs["max_scale_down_rate"])
    found = []
    for share in (1.0, knobs["panic_window_percentage"] / 100):
        level = mean(trail, share * knobs["stable_window"])
        raw = whole_up((load.jobs if level is None else level) / per_worker)
        active = max(raw, knobs["activation_scale"]) if raw else raw
        found.append((int(min(max(raw and active, least), most)), float(raw)))
    return found[0], found[1]


concurrency = CountRule("concurrency", KNOBS, _step, least="min_scale", most="max_scale")
