"""`gpulease policy explain`: a plan in words: what was seen, what was decided, and what was not done, and why."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gpulease.cli.terminal import AsJson, client_of, duration, fail, harmless, show_json, usd
from gpulease.client import Client

Json = dict[str, Any]


def explain(
    context: typer.Context,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="The plan that held then, such as 2026-05-01T14:30; else the last."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Says in words what a plan saw, what it decided and why, and what it did not do and why."""
    until = None if at is None else _time_of(at)
    with client_of(context) as client:
        found = client.plan() if until is None else _held_at(client, until)
    if as_json:
        show_json(found)
    elif found["at"] is None:
        typer.echo("No plan was made yet.")
    else:
        typer.echo("\n".join(harmless(line) for line in _lines(found)))


def _time_of(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--at {text}: give a time such as 2026-05-01T14:30, or with its zone 2026-05-01T14:30Z", 2)
    return at.astimezone(UTC)


def _held_at(client: Client, until: datetime) -> Json:
    page = client.plans(until=until.isoformat(), limit=1)["items"]
    if not page:
        fail(f"no plan is kept from {until.isoformat()} or before; they are kept for 7 days")
    return client.past_plan(page[0]["id"])


def _lines(plan: Json) -> Iterator[str]:
    policy, seen = plan["policy"], plan["seen"]
    target = duration(policy["target_p95_s"]) if policy["target_p95_s"] else "by the aim"
    yield f"At {plan['at']} by the policy {policy['name']} (aim {policy['aim']}, target p95 {target})."
    yield from _part("Seen", [*_workers(seen), *_jobs(seen), *_market(seen), *_estimates(seen)])
    yield from _part("Decided", list(_decided(plan)))
    yield from _part("Not done", plan["not_done"])
    if learned := plan.get("learned"):
        yield from _part("Learned", learned)


def _part(title: str, lines: list[str]) -> Iterator[str]:
    yield f"{title}:"
    yield from (f"  {line}" for line in lines or ["nothing"])


def _workers(seen: Json) -> Iterator[str]:
    for one in seen["workers"]:
        loading = f", {one['loading_first']} began with a load" if one["loading_first"] else ""
        idle = f", idle for {duration(one['idle_s_max'])} at most" if one["idle_s_max"] is not None else ""
        slots = f"{one['running']} jobs run{loading}, {one['free_slots']} slots free"
        yield f"{one['count']} workers {_offer(one)} {one['state']}: {slots}{idle}"
    yield from _left_out(seen, "workers", "kinds of workers")


def _jobs(seen: Json) -> Iterator[str]:
    for one in seen["jobs"]:
        low = ", low priority" if one["low_priority"] else ""
        ages = f"the oldest for {duration(one['oldest_age_s'])}, half of them for {duration(one['median_age_s'])}"
        limit = f"; one must begin within {duration(one['slack_s'])}" if one["slack_s"] is not None else ""
        word = (
            f"; by their clients' word {duration(one['wait_s'])} is soon enough" if one.get("wait_s") else ""
        )
        yield f"{one['count']} jobs {_work(one)} wait (priority {one['priority']}{low}): {ages}{limit}{word}"
    yield from _left_out(seen, "jobs", "groups of jobs")
    if seen["began_since"]:
        yield f"{seen['began_since']} jobs began since the look before, after {duration(seen['waited_s_max'])} at most"


def _market(seen: Json) -> Iterator[str]:
    for one in seen["offers"]:
        cooled = f", refused a launch, asked again in {duration(one['cooled_s'])}" if one["cooled_s"] else ""
        yield f"for sale: {_offer(one)} at {usd(one['usd_per_hour'])}/h, {one['count_max']} more{cooled}"
    yield from _left_out(seen, "offers", "offers")
    budget = seen["budget"]
    yield (
        f"budget: {budget['workers']} of {_most(budget['workers_max'])} workers; {usd(budget['usd_per_hour'])}/h of "
        f"{_most(budget['usd_per_hour_max'])}; {usd(budget['usd_today'])} today of {_most(budget['usd_per_day_max'])}"
    )


def _estimates(seen: Json) -> Iterator[str]:
    for name in ("service", "load", "boot"):
        for one in seen["estimates"][name]:
            which = _offer(one) if name == "boot" else f"{_work(one)} on {one['gpu_class']}"
            times = f"{duration(one['mean_s'])} in the mean, 9 of 10 within {duration(one['p90_s'])}"
            yield f"expected {name} of {which}: {times} ({one['samples']} seen)"
        yield from _left_out(seen["estimates"], name, f"estimates of {name}")


def _decided(plan: Json) -> Iterator[str]:
    for one in plan["actions"]:
        yield f"{one['kind']} {one.get('worker_id') or _offer(one)}: {one['reason']}"
    yield from _left_out(plan, "actions", "actions")
    for one in plan["holds"]:
        yield f"hold {one['count']} jobs {_work(one)} for machines that have the model in memory"
    if plan["patience_s"] is not None:
        yield f"call a job late once it has waited for {duration(plan['patience_s'])}"
    if plan["look_again_s"] is not None:
        yield f"look again in {duration(plan['look_again_s'])} even if nothing happens"


def _left_out(of: Json, name: str, what: str) -> Iterator[str]:
    if more := of.get(f"{name}_left_out"):
        yield f"and {more} more {what}"


def _offer(one: Json) -> str:
    return f"{one['provider']}/{one['gpu_class']}"


def _work(one: Json) -> str:
    return f"{one['engine']}/{one['model']}" if one["model"] else str(one["engine"])


def _most(limit: float | None) -> str:
    return "no limit" if limit is None else f"at most {limit:g}"
