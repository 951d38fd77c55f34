"""`gpulease up` and `gpulease worker`: the two programs. Each side is imported only when it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gpulease.cli.terminal import fail


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turns a missing package into the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed; this command needs: pip install 'gpulease[{extra}]'")


def up(
    host: Annotated[str | None, typer.Option(help="Where to listen. Default: 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: 8080. 0 takes a free one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="Database and files. Default: gpulease-data.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(exists=True, help="A certificate, with --tls-key.")] = None,
    tls_key: Annotated[Path | None, typer.Option(exists=True, help="Its key.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Starts the orchestrator: API and loops in one process, on SQLite. Ctrl-C ends it and its workers.

    Other settings come from the environment and from .env; docs/settings.md lists them.
    """
    with needs("server"):
        from orchestrator.app import run
        from orchestrator.settings import SettingsError, load
    try:
        settings = load(
            host=host, port=port, data=data, tls_cert=tls_cert, tls_key=tls_key, log_level=log_level
        )
        status = run(settings)
    except SettingsError as error:
        fail(f"it cannot start so:\n{error}", 2)
    raise typer.Exit(status)


def worker(
    orchestrator: Annotated[str | None, typer.Option(help="The orchestrator's URL.")] = None,
    worker_id: Annotated[
        str | None, typer.Option(help="This worker's id: your choice, and the same at each start.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Its key. GPULEASE_WORKER_KEY or INTERNAL_API_KEY keep it off the process list."),
    ] = None,
    capacity: Annotated[int | None, typer.Option(min=1, max=64, help="Jobs at once. Default: 1.")] = None,
    gpu_class: Annotated[str | None, typer.Option(help="What the machine has. Default: cpu.")] = None,
    usd_per_hour: Annotated[
        float | None, typer.Option(min=0, help="What you ask for an hour of work. Default: 0.")
    ] = None,
    queues: Annotated[
        str | None, typer.Option(help="The queues that it serves, by comma. Default: all.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=-1, max=65535, help="Of /hc and /generate; -1: serve no HTTP.")
    ] = None,
    scratch: Annotated[Path | None, typer.Option(file_okay=False, help="Where it writes.")] = None,
    commands: Annotated[
        Path | None, typer.Option(exists=True, help="Programs of the engine `command`, a JSON file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Log as JSON lines, for programs.")] = False,
) -> None:
    """Runs a worker here: it asks the orchestrator for jobs, over outbound HTTP only, and runs them.

    Ctrl-C says goodbye and hands back what is not done within GPULEASE_WORKER_GRACE_S (5 s); again, it ends at once.
    SIGUSR1 pauses and resumes it. Out of touch it unloads its engines and keeps asking (GPULEASE_WORKER_RESTS).
    """
    with needs("worker"):
        from worker_image.app import main
        from worker_image.settings import SettingsError, load
    try:
        settings = load(
            orchestrator_url=orchestrator,
            worker_id=worker_id,
            worker_key=key,
            capacity=capacity,
            gpu_class=gpu_class,
            usd_per_hour=usd_per_hour,
            queues=queues,
            port=port,
            scratch=scratch,
            commands=commands,
        )
    except SettingsError as error:
        fail(f"it cannot start so:\n{error}", 2)
    raise typer.Exit(main(settings.of_owner(), "json" if as_json else "words"))
