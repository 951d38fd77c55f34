"""Commands about jobs that exist: list, show, watch, fetch, cancel."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gpulease.cli.live import follow
from gpulease.cli.outcome import download_all, show_outcome, took
from gpulease.cli.terminal import AsJson, ago, client_of, err, fail, show_json, show_table, usd
from gpulease.client import JobProgress
from gpulease.contract.jobs import EventView, Status

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Download the files into this folder.", file_okay=False)
]


def jobs(
    context: typer.Context,
    status: Annotated[Status | None, typer.Option(help="Only jobs of this status.")] = None,
    engine: Annotated[str | None, typer.Option(help="Only jobs of this engine.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Lists jobs, newest first."""
    with client_of(context) as client:
        pages = client.jobs(status=status, engine=engine, page=min(limit, 500))
        found = [job for job, _ in zip(pages, range(limit), strict=False)]
    if as_json:
        show_json(found)
        return
    rows = ([job.id, job.engine, job.status, f"{ago(job.created_at)} ago", took(job)] for job in found)
    show_table(
        ("job", "engine", "status", "submitted", "took"), rows, empty="No jobs yet; see `gpulease run`."
    )


def job(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Shows one job: status, attempts, cost, and why it waits."""
    with client_of(context) as client:
        found = client.job(job_id)
    if as_json:
        show_json(found)
        return
    facts = {
        "job": found.id,
        "engine": found.engine,
        "status": found.status,
        "phase": found.phase,
        "submitted": f"{ago(found.created_at)} ago",
        "took": took(found),
        "cost": usd(found.cost_usd),
        "waits because": found.blocked,
        "fault": f"{found.fault.code}: {found.fault.message}" if found.fault else None,
    }
    for name, value in facts.items():
        if value is not None:
            typer.echo(f"{name + ':':<15}{value}")
    for attempt in found.attempts:
        typer.echo(f"attempt {attempt.number}: {attempt.state} on {attempt.worker_id}")


def watch(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Follows a job live until it has ended. Ctrl-C stops watching; the job goes on."""
    with client_of(context) as client:
        if as_json:
            for event in client.watch(job_id):
                typer.echo(_line(event))
            ended = client.job(job_id)
        else:
            ended = follow(client, job_id)
            show_outcome(ended)
    raise typer.Exit(0 if ended.status == "succeeded" else 1)


def _line(event: EventView | JobProgress) -> str:
    """One event as one line of JSON; only a move has a `seq`."""
    return event.model_dump_json() if isinstance(event, EventView) else json.dumps(asdict(event))


def result(context: typer.Context, job_id: JobId, output: Output = None, as_json: AsJson = False) -> None:
    """Prints a job's result: its text, or the URLs of its files."""
    with client_of(context) as client:
        found = client.job(job_id)
        if found.status != "succeeded":
            reason = f": {found.fault.message}" if found.fault else ""
            fail(f"job {job_id} is {found.status.replace('_', ' ')}{reason}")
        saved = download_all(client, found, output)
    if as_json:
        show_json(found.result)
    else:
        show_outcome(found, saved)


def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Cancels a job that waits or runs."""
    with client_of(context) as client:
        found = client.cancel(job_id)
    if as_json:
        show_json(found)
    elif found.status == "cancelled":
        err.print(f"Job {job_id} is cancelled.")
    else:
        fail(f"job {job_id} had ended before: {found.status}")
