"""`gpulease doctor`: what works on this machine, what does not, and what to do about it."""

import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from gpulease.cli.terminal import AsJson, client_of, out, show_json
from gpulease.client import Client, ClientError

FREE_GB_MIN = 2.0
PYTHON_MIN = (3, 11)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. Only a `needed` one that is not `ok` makes the machine unfit."""

    name: str
    ok: bool
    detail: str
    needed: bool = False


def doctor(
    context: typer.Context,
    data: Annotated[Path, typer.Option(file_okay=False, help="The server's data directory.")] = Path(
        "gpulease-data"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port that the server is to have.")] = 8080,
    as_json: AsJson = False,
) -> None:
    """Checks this machine: Python, disk, port, programs, engines, server. Status 1 if something needed fails."""
    with client_of(context) as client:
        checks = [*_machine(data), *_server(client, port), *_programs(), *_engines()]
    if as_json:
        show_json([asdict(check) for check in checks])
    else:
        for check in checks:
            mark = "[green]ok[/]" if check.ok else "[red]no[/]" if check.needed else "[yellow]--[/]"
            out.print(f" {mark}  ", end="")
            out.print(f"{check.name:<16}{check.detail}", markup=False)
    raise typer.Exit(1 if any(check.needed and not check.ok for check in checks) else 0)


def _machine(data: Path) -> Iterator[Check]:
    yield Check(
        "python",
        sys.version_info >= PYTHON_MIN,
        f"{platform.python_version()} ({sys.executable})",
        needed=True,
    )
    there = _nearest(data)
    free_gb = shutil.disk_usage(there).free / 1e9
    enough = free_gb >= FREE_GB_MIN
    advice = "" if enough else f"; free at least {FREE_GB_MIN:.0f} GB, or choose another --data"
    yield Check("disk", enough, f"{free_gb:.1f} GB free at {there}{advice}", needed=True)
    writable = os.access(there, os.W_OK | os.X_OK)
    yield Check(
        "data directory", writable, f"{data} {'can' if writable else 'cannot'} be written", needed=True
    )


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(one for one in (path, *path.parents) if one.is_dir())


def _server(client: Client, port: int) -> Iterator[Check]:
    try:
        client.check()
    except ClientError:
        free = _free(port)
        detail = f"none at {client.server.url}; start it with `gpulease up`"
        yield Check("server", ok=False, detail=detail)
        advice = (
            "is free" if free else "is taken by another program; choose another with `gpulease up --port`"
        )
        yield Check("port", free, f"{port} {advice}")
    else:
        yield Check("server", ok=True, detail=f"answers at {client.server.url}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _programs() -> Iterator[Check]:
    uses = {"blender": "the engine `blender` needs it", "ffmpeg": "only programs of `command` may want it"}
    for name, use in uses.items():
        found = shutil.which(name)
        yield Check(name, found is not None, found or f"not found; {use}")


def _engines() -> Iterator[Check]:
    """What workers on this machine could run, by asking each backend itself."""
    try:
        from worker_image.engines.registry import probe_all
    except ModuleNotFoundError as error:
        yield Check(
            "engines", ok=False, detail=f"{error.name} is missing; pip install 'gpulease[worker,demo]'"
        )
        return
    offers, reasons = probe_all()
    for offer in offers:
        models = f" ({', '.join(offer.models)})" if offer.models else ""
        yield Check(offer.engine, ok=True, detail=f"runs here with {offer.backend}{models}")
    for backend, reason in reasons.items():
        yield Check(backend, ok=False, detail=reason)
