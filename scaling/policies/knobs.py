"""Knobs: the numbers of one policy, by its own names, with their defaults and bounds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Knob:
    """A default that is a name is the value of that other knob, which stands before it."""

    name: str
    default: float | str
    least: float
    most: float
    says: str
    """What it does and in which unit, for lists of knobs."""
    whole: bool = False


def values(knobs: Sequence[Knob], given: Values) -> dict[str, float]:
    """All knobs by name: what is given, and the defaults of the rest."""
    found: dict[str, float] = {}
    for knob in knobs:
        default = found[knob.default] if isinstance(knob.default, str) else knob.default
        found[knob.name] = given.get(knob.name, default)
    return found


def faults(knobs: Sequence[Knob], given: Values) -> Iterator[str]:
    """What is wrong with each of the given numbers, in words that say what is right."""
    known = {one.name: one for one in knobs}
    for name, value in given.items():
        if name not in known:
            listed = f"its knobs are {', '.join(known)}" if known else "it has no knobs"
            yield f"{name!r} is no knob of it; {listed}"
        elif fault := _fault(known[name], value):
            yield f"{name} must be {fault}, not {value!r}"


def _fault(knob: Knob, value: object) -> str:
    bounds = f"from {knob.least:g} to {knob.most:g}"
    kind = "a whole number" if knob.whole else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"{kind} {bounds}"
    if not knob.least <= value <= knob.most or (knob.whole and value != int(value)):
        return f"{kind} {bounds}"
    return ""
