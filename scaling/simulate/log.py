"""The event log: one JSON object a line, from which anybody can recompute cost and waits."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scaling.simulate.scenario import Scenario

Event = Mapping[str, object]
Log = Callable[[Event], None]
"""Takes each event as it happens: `e` what, `t` when in seconds of the sped-up trace, and whose."""


def silent(event: Event) -> None:
    """The log of a run that nobody reads."""


@contextmanager
def log_file(path: Path | str) -> Iterator[Log]:
    """A log that writes lines. Times have six digits after the point.

    Raises:
        OSError: the file cannot be written.
    """
    with Path(path).open("w", encoding="utf-8") as file:

        def write(event: Event) -> None:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")

        yield write


def first_line(scenario: Scenario, seed: int, speed: float) -> Event:
    """What a checker must know: of one offer its dice, of several only what they share."""
    line: dict[str, object] = {"e": "meta", "t": 0.0, "scenario": scenario.name, "seed": seed, "scale": speed}
    line["max_nodes"] = scenario.workers_max
    loads = {one.load_s for one in scenario.gpu_classes.values()}
    if len(loads) == 1:
        line["switch_s"] = loads.pop()
    if len(scenario.offers) == 1:
        only = scenario.offers[0]
        line |= {"median_s": only.boot.median_s, "p95_s": only.boot.p95_s, "fail_p": only.fail_p}
    losses = [one.loss_mean_s for one in scenario.offers if one.loss_mean_s is not None]
    if losses:
        line["loss_mean_s"] = min(losses)
    return line
