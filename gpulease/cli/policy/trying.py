"""`gpulease policy try`: another policy beside the one in force, on the jobs that this fleet did."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from gpulease.cli.policy.changes import renamed
from gpulease.cli.terminal import AsJson, client_of, duration, harmless, show_json, show_table, usd

Json = dict[str, Any]
FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("cost", "cost_usd", usd),
    ("billed", "billed_s", duration),
    ("launches", "launches", lambda count: f"{count:.1f}"),
    ("workers at once, at most", "peak_workers", lambda count: f"{count:.1f}"),
    ("utilisation", "utilisation", lambda share: f"{share:.1%}"),
    ("wait p50", "wait_p50_s", duration),
    ("wait p95", "wait_p95_s", duration),
    ("wait p99", "wait_p99_s", duration),
    ("deadlines missed", "deadline_misses", lambda count: f"{count:.1f}"),
    ("jobs that never ran", "unfinished", lambda count: f"{count:.1f}"),
)


def try_policy(
    context: typer.Context,
    hours: Annotated[float, typer.Option(min=0.01, max=744, help="Jobs that came in the last hours.")] = 24.0,
    name: Annotated[
        str | None, typer.Option("--policy", help="Another policy; else the one in force.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting or knob of the policy; may be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10, help="Runs, of which the mean is told.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Says what another policy would have cost on this fleet's own jobs, and how long they would have waited.

    For example: `gpulease policy try --hours 48 --set target_p95_s=30`. Nothing is changed.
    """
    from gpulease.cli.policy.in_force import changed

    with client_of(context) as client:
        policy = client.policy()
        asked = [] if name is None else [("name", name)]
        asked += renamed(name or policy["name"], changes or [])
        found = client.try_policy(changed(policy, asked), hours=hours, seeds=seeds)
    if as_json:
        show_json(found)
        return
    typer.echo("\n".join(harmless(line) for line in _basis(found)))
    before, after = found["in_force"], found["tried"]
    columns = ("", f"in force: {before['policy']['name']}", f"tried: {after['policy']['name']}")
    rows = [
        (title, form(before["figures"][key]), form(after["figures"][key])) for title, key, form in FIGURES
    ]
    show_table(columns, rows, empty="")
    typer.echo("\n".join(["Not modelled:", *(f"  {one}" for one in found["not_modelled"])]))


def _basis(found: Json) -> Iterator[str]:
    basis = found["based_on"]
    more, work = ", the latest of more" if basis["older_jobs_left_out"] else "", duration(basis["service_s"])
    yield (
        f"Based on {basis['jobs']} jobs of the last {basis['hours']:g} h{more} ({work} of work, "
        f"{basis['since']} to {basis['until']}), and the mean of {basis['seeds']} runs."
    )
    for one in basis["offers"]:
        boot = f"boots in {duration(one['boot']['median_s'])}, 95 of 100 in {duration(one['boot']['p95_s'])}"
        yield f"For sale: {one['provider']}/{one['gpu_class']} at {usd(one['usd_per_hour'])}/h, {boot}."
