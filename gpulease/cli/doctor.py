"""`gpulease doctor`: what works on this machine, what does not, and what to do about it."""

import asyncio
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpulease.cli.terminal import AsJson, client_of, err, fail, out, show_json
from gpulease.client import Client, ClientError
from gpulease.contract.engines import CATALOGUE

if TYPE_CHECKING:  # The command must run where the worker's side is not installed.
    from worker_image.engines.base import EngineConfig
    from worker_image.measure.trial import Candidate, Trial

FREE_GB_MIN = 2.0
PYTHON_MIN = (3, 11)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. Only a `needed` one that is not `ok` makes the machine unfit.

    An engine's has its `backend`; one that offered itself and did not load is `broken`, and one that was loaded has
    its model, seconds, and what it took of memory at most.
    """

    name: str
    ok: bool
    detail: str
    needed: bool = False
    broken: bool = False
    backend: str | None = None
    model: str | None = None
    load_s: float | None = None
    peak_ram_mib: float | None = None
    peak_vram_mib: float | None = None


def doctor(
    context: typer.Context,
    data: Annotated[Path, typer.Option(file_okay=False, help="The server's data directory.")] = Path(
        "gpulease-data"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port that the server is to have.")] = 8080,
    quick: Annotated[bool, typer.Option("--quick", help="Ask engines only, and load none.")] = False,
    engine: Annotated[list[str] | None, typer.Option(help="Only this engine; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Checks this machine: Python, disk, port, GPU, programs, server, and engines, each of which is really loaded.

    Status 1 if something needed fails.
    """
    engines = frozenset(engine or ())
    if unknown := sorted(engines - set(CATALOGUE)):
        fail(f"no such engine: {', '.join(unknown)}; there is {', '.join(CATALOGUE)}", 2)
    with client_of(context) as client:
        checks = [*_machine(data), *_server(client, port), *_worker(engines, quick=quick)]
    if as_json:
        show_json([asdict(check) for check in checks])
    else:
        for check in checks:
            out.print(f" {_mark(check)}  ", end="")
            out.print(f"{check.name:<16}{check.detail}", markup=False)
    raise typer.Exit(1 if any(check.needed and not check.ok for check in checks) else 0)


def _mark(check: Check) -> str:
    if check.ok:
        return "[green]ok[/]"
    return "[red]no[/]" if check.needed or check.broken else "[yellow]--[/]"


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


def _worker(engines: frozenset[str], *, quick: bool) -> Iterator[Check]:
    """What workers on this machine could run."""
    try:
        from worker_image.engines.registry import config_of
        from worker_image.machine.fitness import check_device, check_programs
        from worker_image.machine.gpu import find_gpu
        from worker_image.measure.trial import candidates
        from worker_image.settings import SettingsError, load, visible_devices
    except ModuleNotFoundError as error:
        advice = f"{error.name} is missing; pip install 'gpulease[worker,demo]'"
        yield Check("engines", ok=False, detail=advice)
        return
    try:
        settings = load()
    except SettingsError as error:
        yield Check("engines", ok=False, detail=f"a worker would not start with these settings: {error}")
        return
    for found in (check_device(find_gpu(visible_devices()), settings.device), *check_programs()):
        yield Check(found.name, found.ok, found.detail)
    config = config_of(settings)
    here = list(candidates(config, engines))
    yield from _asked(here) if quick else asyncio.run(_tried(here, config))


def _asked(found: "list[Candidate]") -> Iterator[Check]:
    for one in found:
        if isinstance(one.offer, str):
            yield Check(one.engine, ok=False, detail=f"{one.backend}: {one.offer}", backend=one.backend)
            continue
        models = f" ({', '.join(one.offer.models)})" if one.offer.models else ""
        detail = f"{one.backend}{models} offers itself; it was not loaded"
        yield Check(one.engine, ok=True, detail=detail, backend=one.backend)


async def _tried(found: "list[Candidate]", config: "EngineConfig") -> list[Check]:
    from worker_image.measure.trial import try_all

    def say(candidate: "Candidate") -> None:
        err.print(f"loading {candidate.engine} by {candidate.backend} …", style="dim")

    with tempfile.TemporaryDirectory(prefix="gpulease-doctor-") as folder:
        return [_shown(trial) async for trial in try_all(found, config, Path(folder), say)]


def _shown(trial: "Trial") -> Check:
    engine, backend, loaded = trial.candidate.engine, trial.candidate.backend, trial.loaded
    if loaded is None:
        broken = not isinstance(trial.candidate.offer, str)
        return Check(engine, ok=False, detail=f"{backend}: {trial.problem}", broken=broken, backend=backend)
    ram_mib = loaded.peak_ram_kb / 1024
    words = [f"runs here with {backend}" + (f" ({loaded.model})" if loaded.model else "")]
    words.append(f"loaded in {loaded.load_s:.1f} s")
    words.append(f"{ram_mib:.0f} MiB of memory")
    if loaded.peak_vram_mib:
        words.append(f"{loaded.peak_vram_mib:.0f} MiB of the GPU's")
    if trial.job_s is not None:
        words.append(f"a small frame took {trial.job_s:.1f} s")
    return Check(
        engine,
        ok=True,
        detail=", ".join(words),
        backend=backend,
        model=loaded.model,
        load_s=loaded.load_s,
        peak_ram_mib=round(ram_mib, 1),
        peak_vram_mib=loaded.peak_vram_mib,
    )
