"""The page that a whole run writes, and the picture beside it."""

from collections.abc import Sequence
from pathlib import Path

from autoscaling.matrix import SWEEPS, said
from autoscaling.picture import picture
from autoscaling.table import Points, defaults_table, full_table, gains, limits_table

HEAD = """# What each policy costs

Written by `bench/autoscale.py` on {jobs} jobs of a real trace (alibaba/clusterdata, cluster-trace-v2026-GenAI; the
script says how to get it); edit that, not this. Cost is what is paid, by the work bound: all services and one load for
each model. `comput3`, `salad` and `salad-free` are the [simulator's worlds](simulate.md), x10 and x50 the same jobs in
a tenth and a fiftieth of the time.
{checked}

A rule of others says how many machines there are. Which job goes where is the same for all of them here, and ours:
to a machine that has its model, if it is in time there. What their own systems do with jobs is not in it.

Ours at the limits, and ours and `fixed` without settings, were run with {seeds} seeds: cost is their mean, and the p95
wait the worst of them. The rest is of seed 0. Without settings rules are as [documented](policies.md), with a bound on
their machines, if they have one; in the sweeps there is none, and all may go down to nothing.

![Cost against p95 wait](autoscale.svg)

## The cheapest in time

A rule is in time where its p95 wait is within the limit; the best is the cheapest of all rules that
others have published, over their whole sweeps. Ours has the limit as its `target_p95_s` and nothing else set. Who knows
the future is a schedule made with every arrival known, without failed launches, each boot being the median;
[decision 22](decisions/0022-bounds-of-a-run.md) says what it is and what it is not.
"""
CHECKED = (
    "The log of every run was passed by an independent checker: its waits, and its cost where boots are paid."
)
UNCHECKED = "The logs were not checked by anybody else."


def page(found: Points, jobs: int, *, checked: bool) -> str:
    scenarios = _scenarios(found)
    seeds = max(one.seeds for group in found.values() for one in group)
    lines = [
        HEAD.format(
            jobs=f"{jobs:,}",
            seeds=seeds,
            checked=CHECKED if checked else UNCHECKED,
        ),
        *limits_table(found),
        "",
        *(f"- `{one}`: {gains(found, [one])}" for one in scenarios),
        "",
        "## Without settings",
        "",
        *defaults_table(found),
        "",
        "## Set beside the knob",
        "",
        *(f"- {one.name}: {', '.join(said(one.rest))}" for one in SWEEPS if one.rest),
    ]
    for scenario in scenarios:
        lines += ["", f"## All of `{scenario}`", "", *full_table(found, scenario)]
    return "\n".join(lines) + "\n"


def write(found: Points, jobs: int, folder: Path, *, checked: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "autoscale.md").write_text(page(found, jobs, checked=checked), encoding="utf-8")
    (folder / "autoscale.svg").write_text(picture(found), encoding="utf-8")


def summary(found: Points) -> str:
    """What is printed."""
    scenarios = _scenarios(found)
    parts = [*limits_table(found), "", gains(found, scenarios), "", *defaults_table(found)]
    for scenario in scenarios:
        parts += ["", scenario, *full_table(found, scenario)]
    return "\n".join(parts)


def _scenarios(found: Points) -> Sequence[str]:
    return list(dict.fromkeys(scenario for scenario, _ in found))
