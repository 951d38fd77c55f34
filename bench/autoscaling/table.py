"""What the runs say, in words and tables."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from autoscaling.matrix import CLAIRVOYANT, LIMITS_S, OURS, Case
from autoscaling.runs import Result, Run

NONE = "-"


@dataclass(frozen=True, slots=True)
class Point:
    """A case in one row, over its seeds: the mean of what was paid, the worst of the p95 waits."""

    case: Case
    ratio: float
    p95_s: float
    p50_s: float
    finished: bool
    seeds: int


Row = tuple[str, float]
"""Scenario and speed."""
Points = dict[Row, list[Point]]


def points(results: Iterable[tuple[Run, Result]]) -> Points:
    """All cases by row, in the order of the rows and of the cases."""
    seeds: dict[tuple[Row, str, str], list[tuple[Run, Result]]] = defaultdict(list)
    for run, result in results:
        seeds[(run.scenario, run.speed), run.case.name, run.case.says()].append((run, result))
    found: Points = defaultdict(list)
    for (row, _, _), same in seeds.items():
        found[row].append(_point(same))
    return dict(found)


def _point(same: Sequence[tuple[Run, Result]]) -> Point:
    results = [one for _, one in same]
    return Point(
        case=same[0][0].case,
        ratio=statistics.fmean(one.ratio for one in results),
        p95_s=max(one.p95_s for one in results),
        p50_s=statistics.fmean(one.p50_s for one in results),
        finished=not any(one.unfinished for one in results),
        seeds=len(results),
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """One limit in one row: the cheapest rule in time, ours at that target, and who knows the future."""

    scenario: str
    speed: float
    limit_s: float
    rule: Point | None
    ours: Point | None
    knowing: Point | None

    @property
    def in_time(self) -> bool:
        return self.ours is not None and self.ours.finished and self.ours.p95_s <= self.limit_s

    @property
    def gain(self) -> float | None:
        """By what share ours is cheaper; None unless both are in time."""
        if self.rule is None or self.ours is None or not self.in_time:
            return None
        return 1 - self.ours.ratio / self.rule.ratio


def cells(found: Points) -> list[Cell]:
    return [_cell(row, limit_s, group) for row, group in found.items() for limit_s in LIMITS_S[row[0]]]


def _cell(row: Row, limit_s: float, group: Sequence[Point]) -> Cell:
    in_time = [one for one in group if one.case.published and one.finished and one.p95_s <= limit_s]
    return Cell(
        scenario=row[0],
        speed=row[1],
        limit_s=limit_s,
        rule=min(in_time, key=lambda one: one.ratio, default=None),
        ours=_set_to(group, OURS, "target_p95_s", limit_s),
        knowing=_set_to(group, CLAIRVOYANT, "limit_s", limit_s),
    )


def _set_to(group: Sequence[Point], policy: str, knob: str, value: float) -> Point | None:
    found = (one for one in group if one.case.policy == policy and one.case.settings.get(knob) == value)
    return next(found, None)


def limits_table(found: Points) -> Iterator[str]:
    """Lines: the best rule of each cell, ours, the schedule that knows the future, and what is gained."""
    yield "| scenario | speed | p95 ≤ | best rule | its cost | ours | its p95 | gain | who knows the future |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for cell in cells(found):
        rule, ours, knowing = cell.rule, cell.ours, cell.knowing
        yield _line(
            cell.scenario,
            f"x{cell.speed:g}",
            f"{cell.limit_s:g} s",
            f"{rule.case.name}: {rule.case.says()}" if rule else "none is in time",
            f"{rule.ratio:.2f}" if rule else NONE,
            f"{ours.ratio:.2f}" if ours else NONE,
            f"{ours.p95_s:.1f} s{'' if cell.in_time else ', late'}" if ours else NONE,
            NONE if cell.gain is None else f"{cell.gain:.1%}",
            f"{knowing.ratio:.2f}" if knowing else NONE,
        )


def gains(found: Points, scenarios: Sequence[str]) -> str:
    """One sentence on all cells of these scenarios."""
    counted = [one for one in cells(found) if one.scenario in scenarios and one.ours is not None]
    known = [one.gain for one in counted if one.gain is not None]
    if not known:
        return f"In none of {len(counted)} cells are ours and a rule in time."
    late = sum(not one.in_time for one in counted)
    return (
        f"In {len(known)} of {len(counted)} cells ours and a rule are in time: on average ours costs "
        f"{_less(statistics.fmean(known))}, in the worst cell {_less(min(known))}. Ours is late in {late}."
    )


def _less(share: float) -> str:
    return f"{abs(share):.1%} {'more' if share < 0 else 'less'}"


def defaults_table(found: Points) -> Iterator[str]:
    """Lines: ours as it is without any setting against the seed systems' rule as it is."""
    yield "| scenario | speed | `fixed` | its p95 | ours | its p95 | gain | p95 by its p95 |"
    yield "|---|---|---|---|---|---|---|---|"
    for (scenario, speed), group in found.items():
        by_default = {one.case.policy: one for one in group if one.case.by_default}
        if "fixed" not in by_default or OURS not in by_default:
            continue
        seed, ours = by_default["fixed"], by_default[OURS]
        costs = f"{seed.ratio:.2f}", f"{seed.p95_s:.1f} s", f"{ours.ratio:.2f}", f"{ours.p95_s:.1f} s"
        longer = f"{ours.p95_s / seed.p95_s:.2f}" if seed.p95_s else NONE
        yield _line(scenario, f"x{speed:g}", *costs, f"{1 - ours.ratio / seed.ratio:.1%}", longer)


def full_table(found: Points, scenario: str) -> Iterator[str]:
    """Lines: every case of a scenario; at each speed what it costs and its p95."""
    speeds = [speed for name, speed in found if name == scenario]
    yield _line("policy", "set", *(f"x{one:g}: cost, p95" for one in speeds))
    yield "|---|---|" + "---|" * len(speeds)
    rows: dict[tuple[str, str], dict[float, Point]] = defaultdict(dict)
    for speed in speeds:
        for one in found[scenario, speed]:
            rows[one.case.name, one.case.says()][speed] = one
    for (name, says), by_speed in rows.items():
        yield _line(name, says, *(_figures(by_speed.get(one)) for one in speeds))


def _figures(point: Point | None) -> str:
    if point is None:
        return NONE
    return f"{point.ratio:.2f}, {point.p95_s:.0f} s" if point.finished else "does not end"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
