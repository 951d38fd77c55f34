"""The Pareto picture: what is paid against the p95 wait, a panel for each scenario and speed, as SVG by hand."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape

from autoscaling.matrix import CLAIRVOYANT, LIMITS_S, OURS
from autoscaling.table import Point, Points, Row

PANEL_W, PANEL_H = 380, 340
LEFT, TOP, RIGHT, BOTTOM = 52, 34, 20, 44
LEGEND_H, LEGEND_W = 22, 190
WAITS_S = (20.0, 2000.0)
COSTS = (1.0, 15.0)
WAIT_TICKS_S = (20, 30, 60, 90, 150, 300, 600, 1000, 2000)
COST_TICKS = (1, 1.5, 2, 3, 4, 6, 10, 15)
TITLE = "Cost by the work bound, against the p95 wait: left and low is better, what is beyond an axis is at its end"
FONT = 'font-family="system-ui, sans-serif" font-size="11"'
INK, FAINT, GRID = "#22272e", "#6b7280", "#e5e7eb"
COLOURS = {
    OURS: "#d1242f",
    CLAIRVOYANT: "#22272e",
    "fixed": "#8c6d31",
    "queue_length": "#1f6feb",
    "queue_length, KEDA": "#79b8ff",
    "queue_delay": "#1a7f37",
    "queue_delay, idle 60 s": "#6cc644",
    "queue_delay, by count": "#a3b18a",
    "concurrency": "#8250df",
    "ongoing": "#e16f24",
    "qps": "#0f9d9d",
    "static": "#9aa0a6",
}
Place = tuple[float, float]
SAID = {OURS: "ours", CLAIRVOYANT: "who knows the future"}


def picture(found: Points) -> str:
    """One SVG. Scenarios are rows and speeds columns; both axes are logarithmic."""
    scenarios = list(dict.fromkeys(scenario for scenario, _ in found))
    speeds = list(dict.fromkeys(speed for _, speed in found))
    names = list(dict.fromkeys(one.case.name for group in found.values() for one in group))
    width = max(PANEL_W * len(speeds), 2 * PANEL_W)
    columns = (width - LEFT) // LEGEND_W
    head = 34 + LEGEND_H * math.ceil((len(names) + 1) / columns)
    height = head + PANEL_H * len(scenarios)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {FONT}>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text((LEFT, 20), TITLE, size=14),
        *_legend(names, columns),
    ]
    for (scenario, speed), group in found.items():
        left, top = speeds.index(speed) * PANEL_W, head + scenarios.index(scenario) * PANEL_H
        parts += [f'<g transform="translate({left} {top})">', *_panel((scenario, speed), group), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _legend(names: Sequence[str], columns: int) -> Iterator[str]:
    for place, name in enumerate(names):
        x, y = LEFT + place % columns * LEGEND_W, 44 + place // columns * LEGEND_H
        yield _path([(x, y), (x + 22, y)], name)
        yield _dot(x + 11, y, name)
        yield _text((x + 28, y + 4), SAID.get(name, name))
    x, y = LEFT + len(names) % columns * LEGEND_W, 44 + len(names) // columns * LEGEND_H
    yield f'<circle cx="{x + 11}" cy="{y}" r="6" fill="none" stroke="{FAINT}" stroke-width="1.5"/>'
    yield _text((x + 28, y + 4), "as it is without settings")


def _panel(row: Row, group: Sequence[Point]) -> Iterator[str]:
    yield _text((LEFT, TOP - 10), f"{row[0]} x{row[1]:g}", size=13)
    yield from _axes(LIMITS_S[row[0]])
    lines: dict[str, list[Point]] = defaultdict(list)
    for one in group:
        if one.finished:
            lines[one.case.name].append(one)
    for name in sorted(lines, key=lambda one: (one == OURS, one)):
        swept = [one for one in lines[name] if not one.case.by_default]
        yield _path([_place(one) for one in swept], name)
        for one in lines[name]:
            yield from _mark(one)


def _axes(limits_s: Sequence[float]) -> Iterator[str]:
    right, bottom = PANEL_W - RIGHT, PANEL_H - BOTTOM
    for wait_s in WAIT_TICKS_S:
        x = _x(wait_s)
        yield _rule((x, TOP), (x, bottom), GRID)
        yield _text((x, bottom + 14), f"{wait_s}", "middle", colour=FAINT)
    for cost in COST_TICKS:
        y = _y(cost)
        yield _rule((LEFT, y), (right, y), GRID)
        yield _text((LEFT - 6, y + 4), f"{cost}", "end", colour=FAINT)
    for limit_s in limits_s:
        yield _rule((_x(limit_s), TOP), (_x(limit_s), bottom), FAINT, ' stroke-dasharray="3 3"')
    yield _text(((LEFT + right) / 2, bottom + 30), "p95 wait, seconds", "middle", colour=FAINT)


def _mark(point: Point) -> Iterator[str]:
    x, y = _place(point)
    name = point.case.name
    says = f"{SAID.get(name, name)}: {point.case.says()}; cost {point.ratio:.2f}, p95 {point.p95_s:.0f} s"
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="{FAINT}" stroke-width="1.5"/>'
    yield f"<g><title>{escape(says)}</title>{ring if point.case.by_default else ''}{_dot(x, y, name)}</g>"


def _place(point: Point) -> Place:
    return _x(point.p95_s), _y(point.ratio)


def _x(wait_s: float) -> float:
    return LEFT + _share(wait_s, WAITS_S) * (PANEL_W - LEFT - RIGHT)


def _y(cost: float) -> float:
    return PANEL_H - BOTTOM - _share(cost, COSTS) * (PANEL_H - TOP - BOTTOM)


def _share(value: float, span: tuple[float, float]) -> float:
    """Where it lies between the ends of a logarithmic axis; what lies outside is at the end."""
    low, high = span
    return math.log(min(max(value, low), high) / low) / math.log(high / low)


def _path(places: Sequence[Place], name: str) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashes = ' stroke-dasharray="5 3"' if name == CLAIRVOYANT else ""
    wide = 2.5 if name == OURS else 1.2
    return f'<polyline points="{joined}" fill="none" stroke="{_colour(name)}" stroke-width="{wide}"{dashes}/>'


def _dot(x: float, y: float, name: str) -> str:
    radius = 3.6 if name == OURS else 2.6
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{_colour(name)}"/>'


def _colour(name: str) -> str:
    return COLOURS.get(name, FAINT)


def _rule(begin: Place, end: Place, colour: str, more: str = "") -> str:
    (x1, y1), (x2, y2) = begin, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{more}/>'


def _text(place: Place, words: str, anchor: str = "start", size: int = 11, colour: str = INK) -> str:
    x, y = place
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">'
        f"{escape(words)}</text>"
    )
