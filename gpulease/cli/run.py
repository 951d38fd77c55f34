"""`gpulease run` and `gpulease submit`: a job from one line."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gpulease.cli.ask import read_input, request_of, upload_files
from gpulease.cli.live import follow
from gpulease.cli.outcome import download_all, show_outcome
from gpulease.cli.terminal import AsJson, client_of, err, show_json
from gpulease.client import Client, ClientError
from gpulease.contract.jobs import JobView

Engine = Annotated[
    str, typer.Argument(help="What runs it: csm, whisper, blender, command … see `gpulease engines`.")
]
Subject = Annotated[
    str | None, typer.Argument(metavar="[FILE|URL|TEXT]", help="Its main input. A local file is uploaded.")
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="A field of the input; may be repeated."),
]
Model = Annotated[str | None, typer.Option(help="The model; without it, the worker's best.")]
Priority = Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")]
MaxTime = Annotated[int, typer.Option(min=60, max=7200, help="Longest run, in seconds.")]


def run(
    context: typer.Context,
    engine: Engine,
    subject: Subject = None,
    inputs: Inputs = None,
    model: Model = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", file_okay=False, help="Download the files into this folder."),
    ] = None,
    priority: Priority = 0,
    max_time: MaxTime = 1200,
    as_json: AsJson = False,
) -> None:
    """Runs a job, shows how it goes on, and prints its result. Ctrl-C cancels the job.

    For example: `gpulease run whisper speech.mp3`, `gpulease run csm "Good morning." -o .`,
    `gpulease run blender scene.blend -i frames=1-24 -i output=MP4`.
    """
    given = read_input(engine, subject, inputs or [], model)
    with client_of(context) as client:
        given = upload_files(client, engine, given, as_json=as_json)
        job = client.submit(request_of(engine=engine, input=given, priority=priority, max_time=max_time))
        err.print(f"Job {job.id}", style="dim")
        ended = _follow_or_cancel(client, job)
        saved = download_all(client, ended, output)
    if as_json:
        show_json(ended)
    else:
        show_outcome(ended, saved)
    raise typer.Exit(0 if ended.status == "succeeded" else 1)


def _follow_or_cancel(client: Client, job: JobView) -> JobView:
    try:
        return follow(client, job.id)
    except KeyboardInterrupt:
        try:
            client.cancel(job.id)
        except ClientError as error:
            err.print(f"Job {job.id} could not be cancelled: {error}", markup=False)
        else:
            err.print(f"Job {job.id} is cancelled.")
        raise typer.Exit(130) from None


def submit(
    context: typer.Context,
    engine: Engine,
    subject: Subject = None,
    inputs: Inputs = None,
    model: Model = None,
    priority: Priority = 0,
    max_time: MaxTime = 1200,
    queue: Annotated[str, typer.Option(help="A name to tell jobs apart by.")] = "default",
    complete_in: Annotated[
        int, typer.Option(min=60, max=86400, help="Deadline, in seconds from now.")
    ] = 3600,
    start_within: Annotated[
        int | None, typer.Option(min=1, max=86400, help="Deadline of the start, in seconds from now.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, max=10, help="Extra attempts after a machine's fault.")] = 2,
    notify_url: Annotated[str | None, typer.Option(help="Called when the job has ended.")] = None,
    low_priority: Annotated[bool, typer.Option(help="Never start a machine for it.")] = False,
    strict: Annotated[bool, typer.Option(help="Refuse it if nothing configured could run it.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key again gives the same job.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Submits a job and prints its id. Follow it with `gpulease watch`."""
    wanted: dict[str, Any] = {
        "engine": engine,
        "priority": priority,
        "max_time": max_time,
        "queue": queue,
        "complete_in": complete_in,
        "start_within": start_within,
        "retries": retries,
        "notify_url": notify_url,
        "low_priority": low_priority,
        "strict": strict,
    }
    given = read_input(engine, subject, inputs or [], model)
    with client_of(context) as client:
        given = upload_files(client, engine, given, as_json=as_json)
        request = request_of(input=given, **wanted)
        job = client.submit(request, idempotency_key=idempotency_key)
    if as_json:
        show_json(job)
    else:
        typer.echo(str(job.id))
