"""Commands about machines and money: workers, engines, the plan, the costs."""

from datetime import datetime
from typing import Annotated, Any

import typer

from gpulease.cli.terminal import AsJson, client_of, duration, err, show_json, show_table, usd

WorkerId = Annotated[str, typer.Argument(metavar="WORKER", help="The worker's id.")]


def workers(context: typer.Context, as_json: AsJson = False) -> None:
    """Lists the workers that are leased or on their way."""
    with client_of(context) as client:
        found = client.workers()
    if as_json:
        show_json(found)
        return
    columns = ("worker", "provider", "state", "gpu", "price", "busy", "age", "cost", "in memory")
    show_table(columns, (_worker(row) for row in found), empty="No workers; a job will start one.")


def _worker(row: dict[str, Any]) -> list[object]:
    return [
        row["id"],
        row["provider"],
        "paused" if row.get("paused") else row["state"],
        row["gpu_class"],
        f"{usd(row['usd_per_hour'])}/h",
        f"{row['busy']}/{row['capacity']}",
        duration(row.get("age_s")),
        usd(row.get("cost_usd")),
        ", ".join(row.get("resident") or ()),
    ]


def drain(context: typer.Context, worker_id: WorkerId, as_json: AsJson = False) -> None:
    """Lets a worker finish what it runs, then lets it go."""
    with client_of(context) as client:
        _show_order(client.drain(worker_id), as_json)


def stop(context: typer.Context, worker_id: WorkerId, as_json: AsJson = False) -> None:
    """Lets a worker go now; what it runs is queued again."""
    with client_of(context) as client:
        _show_order(client.stop(worker_id), as_json)


def pause(context: typer.Context, worker_id: WorkerId, as_json: AsJson = False) -> None:
    """Gives a worker no new jobs; what it runs goes on, and the machine is kept."""
    with client_of(context) as client:
        _show_order(client.pause(worker_id), as_json)


def resume(context: typer.Context, worker_id: WorkerId, as_json: AsJson = False) -> None:
    """Gives a paused worker jobs again."""
    with client_of(context) as client:
        _show_order(client.resume(worker_id), as_json)


def _show_order(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(row)
    else:
        err.print(f"Worker {row['id']} is {'paused' if row.get('paused') else row['state']}.", markup=False)


def engines(context: typer.Context, as_json: AsJson = False) -> None:
    """Lists what can be asked for, and what can run here now."""
    with client_of(context) as client:
        found = client.engines()
    if as_json:
        show_json(found)
        return
    rows = (
        [
            row["name"],
            row["title"],
            row["result"],
            "yes" if row.get("available") else "no",
            ", ".join(row.get("backends") or ()),
            ", ".join(row.get("models") or ()),
        ]
        for row in found
    )
    columns = ("engine", "what", "makes", "can run", "backends", "models")
    show_table(columns, rows, empty="The catalogue is empty.")


def plan(context: typer.Context, as_json: AsJson = False) -> None:
    """Shows the last plan: what was decided and why, and what could not be done and why."""
    with client_of(context) as client:
        found = client.plan()
    if as_json:
        show_json(found)
        return
    rows = [
        [row["kind"], row.get("worker_id") or row.get("provider"), row["reason"]] for row in found["actions"]
    ]
    rows += [["blocked", row.get("engine"), row["reason"]] for row in found["blocked"]]
    show_table(("action", "which", "why"), rows, empty="Nothing to do.")


def costs(context: typer.Context, as_json: AsJson = False) -> None:
    """Shows what leases cost in the last 24 hours."""
    with client_of(context) as client:
        found = client.costs()
    if as_json:
        show_json(found)
        return
    rows = ([row["provider"], usd(row["usd"])] for row in found["by_provider"])
    show_table(("provider", "cost"), rows, empty="Nothing was leased.")
    typer.echo(f"total {usd(found['usd_total'])} since {found['since']}, today {usd(found['usd_today'])}")


def leases(
    context: typer.Context,
    hours: Annotated[float, typer.Option(min=0.01, help="Leases that had not ended so long ago.")] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Shows every lease: when, at what price, what of it is billed, and how much of it was work."""
    with client_of(context) as client:
        found = client.leases(hours=hours)
    if as_json:
        show_json(found)
        return
    columns = ("worker", "provider", "gpu", "instance", "from", "until", "price", "billed", "worked", "cost")
    show_table(columns, (_lease(row) for row in found["items"]), empty="Nothing was leased.")
    typer.echo(f"total {usd(found['usd_total'])} in {duration(hours * 3600)}")


def _lease(row: dict[str, Any]) -> list[object]:
    return [
        row["worker_id"],
        row["provider"],
        row["gpu_class"],
        row.get("instance_id"),
        _minute(row["started_at"]),
        _minute(row["ended_at"]) if row.get("ended_at") else "now",
        f"{usd(row['usd_per_hour'])}/h",
        duration(row.get("billed_s")),
        duration(row.get("busy_s")),
        usd(row["usd"]),
    ]


def _minute(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%d %b %H:%M")
