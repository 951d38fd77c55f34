"""`gpulease`: the commands, the options they share, and how errors end."""

from collections.abc import Sequence
from typing import Annotated

import typer

from gpulease import __version__
from gpulease.cli import bench_gpu, doctor, fleet, jobs, providers, run, server, upload, webhooks
from gpulease.cli.demo import story
from gpulease.cli.people import audit, keys, projects, users
from gpulease.cli.policy import in_force
from gpulease.cli.policy.simulate import simulate
from gpulease.cli.terminal import err
from gpulease.client import BadCredentials, ClientError, Unreachable

app = typer.Typer(
    name="gpulease",
    help="Leases GPUs, runs jobs on them, and lets them go. Start with `gpulease demo`, or `gpulease up`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"gpulease {__version__}")
        raise typer.Exit


@app.callback()
def options(
    url: Annotated[
        str | None, typer.Option(help="The server. Default: GPULEASE_URL, else http://127.0.0.1:8080.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Your API key. Default: GPULEASE_API_KEY. A local server needs none.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Where the server is; commands read it from the context."""


for panel, commands in (
    ("Try it", (story.demo, doctor.doctor, simulate)),
    ("Jobs", (run.run, run.submit, upload.upload, jobs.jobs, jobs.job, jobs.watch, jobs.result, jobs.cancel)),
    ("Fleet", (fleet.workers, fleet.pause, fleet.resume, fleet.drain, fleet.stop)),
    ("Fleet", (fleet.engines, fleet.plan, fleet.costs, fleet.leases)),
    ("Programs", (server.up, server.worker, bench_gpu.bench_gpu)),
):
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(providers.app, name="providers", rich_help_panel="Fleet")
app.add_typer(in_force.app, name="policy", rich_help_panel="Fleet")
app.add_typer(keys.app, name="keys", rich_help_panel="Programs")
app.add_typer(projects.app, name="projects", rich_help_panel="People")
app.command(rich_help_panel="People")(audit.audit)
app.add_typer(users.app, name="users", rich_help_panel="Programs")
app.add_typer(webhooks.app, name="webhooks", rich_help_panel="Jobs")


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point, for the program's own arguments unless others are given.

    A failed call, or file, becomes one clear message and status 1.
    """
    try:
        app(args=arguments)
    except ClientError as error:
        err.print(f"gpulease: {error}{_advice(error)}", markup=False)
        raise SystemExit(1) from None
    except OSError as error:
        notes = getattr(error, "__notes__", ())
        err.print("\n".join([f"gpulease: {error}", *notes]), markup=False)
        raise SystemExit(1) from None


def _advice(error: ClientError) -> str:
    match error:
        case Unreachable():
            return "\nStart the server with `gpulease up`, or say where it is with --url or GPULEASE_URL."
        case BadCredentials():
            return "\nGive a key with --key or GPULEASE_API_KEY; `gpulease keys create` makes one."
        case _:
            return ""
