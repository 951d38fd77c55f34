"""How a job that ended is shown, and its files fetched."""

from pathlib import Path

import typer

from gpulease.cli.terminal import duration, err, usd
from gpulease.client import Client
from gpulease.contract.jobs import JobView, Result


def download_all(client: Client, job: JobView, folder: Path | None) -> list[Path]:
    """The job's files in that folder, which is made if need be; nothing without a folder."""
    if folder is None or job.result is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    return [client.download(file, folder) for file in job.result.files]


def show_outcome(job: JobView, saved: list[Path] | None = None) -> None:
    """Text, URLs and saved paths on stdout; what made them and what they cost on stderr."""
    if job.result is None:
        reason = f": {job.fault.message} ({job.fault.code})" if job.fault else ""
        err.print(f"Job {job.id} {job.status.replace('_', ' ')}{reason}", markup=False)
        return
    if job.result.text:
        typer.echo(job.result.text)
    for place in saved or (file.url for file in job.result.files):
        typer.echo(str(place))
    err.print(f"{made_by(job.result)}, {took(job)}, {usd(job.cost_usd)}", markup=False, style="dim")
    if job.result.ignored:
        err.print(f"Without meaning here, and so ignored: {', '.join(job.result.ignored)}", style="dim")


def made_by(result: Result) -> str:
    return f"Made by {result.backend}" + (f" with {result.model}" if result.model else "")


def took(job: JobView) -> str:
    """From its first start to its end."""
    if job.started_at is None or job.finished_at is None:
        return "-"
    return duration((job.finished_at - job.started_at).total_seconds())
