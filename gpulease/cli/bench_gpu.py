"""`gpulease bench-gpu`: seconds a job and memory of each engine that runs here, as rows of gpu_targets.json."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from gpulease.cli.server import needs
from gpulease.cli.terminal import AsJson, duration, err, fail, plain, show_json, show_table, usd
from gpulease.contract.engines import CATALOGUE
from gpulease.contract.targets import Target, Targets

if TYPE_CHECKING:
    from worker_image.measure.bench import Skipped
    from worker_image.settings import Settings


def bench_gpu(
    engine: Annotated[list[str] | None, typer.Option(help="Only this engine; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=1000, help="Jobs to measure, an engine and model.")] = 5,
    out: Annotated[Path, typer.Option(dir_okay=False, help="The file whose rows are written.")] = Path(
        "gpu_targets.json"
    ),
    usd_per_hour: Annotated[
        list[str] | None, typer.Option(help="PROVIDER=USD of this machine; may be repeated.")
    ] = None,
    job: Annotated[
        list[str] | None, typer.Option(help="ENGINE=FILE.json: an input of yours, with paths for URLs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measures engines on this machine, with inputs made on the spot, and writes rows of gpu_targets.json.

    Each engine is loaded once and runs its job again and again. Rows of other machines and engines stay as they are.
    """
    engines = frozenset(engine or ())
    given = {name: Path(path) for name, path in _pairs(job, "--job").items()}
    if unknown := sorted((engines | set(given)) - set(CATALOGUE)):
        fail(f"no such engine: {', '.join(unknown)}; there is {', '.join(CATALOGUE)}", 2)
    prices = _prices(usd_per_hour)
    before = _read(out)
    with needs("worker"):
        from worker_image.settings import SettingsError, load
    try:
        settings = load()
    except SettingsError as error:
        fail(f"it cannot measure so:\n{error}", 2)
    rows: list[Target] = []

    def keep(row: Target) -> None:  # At once: what takes hours may be stopped at any moment.
        rows.append(row)
        _write(out, before.with_rows(rows))

    skipped = asyncio.run(_measure(settings, _Wish(engines, given, jobs, prices), keep))
    if rows:
        err.print(f"rows written to {out}: {len(rows)}", markup=False)
    _show(rows, skipped, as_json=as_json)
    raise typer.Exit(0 if rows else 1)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is asked for. No engines: all of them. `given` are the caller's own jobs, `prices` by provider."""

    engines: frozenset[str]
    given: dict[str, Path]
    jobs: int
    prices: dict[str, float]


async def _measure(settings: "Settings", wish: _Wish, keep: Callable[[Target], None]) -> "list[Skipped]":
    from worker_image.engines.registry import config_of
    from worker_image.machine.gpu import find_gpu
    from worker_image.measure.bench import Site, measure
    from worker_image.measure.materials import Materials
    from worker_image.measure.speech import Speaker
    from worker_image.settings import visible_devices

    gpu = find_gpu(visible_devices()) if settings.device != "cpu" else "not used"
    found = None if isinstance(gpu, str) else gpu
    gpu_class = settings.gpu_class or (found.gpu_class if found else "cpu")
    vram_gb = settings.vram_gb if settings.vram_gb is not None else found.vram_gb if found else 0.0
    config = config_of(settings)
    skipped: list[Skipped] = []

    def say(name: str, backend: str, model: str | None) -> None:
        err.print(f"measuring {name} by {backend}{f' ({model})' if model else ''} …", style="dim")

    with tempfile.TemporaryDirectory(prefix="gpulease-bench-") as place:
        site = Site(gpu_class, vram_gb, config, Path(place), wish.prices)
        materials = Materials(config, Path(place), Speaker(config), wish.given)
        async for made in measure(site, materials, wish.engines, wish.jobs, say):
            if isinstance(made, Target):
                keep(made)
            else:
                skipped.append(made)
    return skipped


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not name or not equals or not value:
            fail(f"{option} {one}: it must be NAME=VALUE", 2)
        found[name] = value
    return found


def _prices(given: list[str] | None) -> dict[str, float]:
    found = {}
    for name, value in _pairs(given, "--usd-per-hour").items():
        try:
            found[name] = float(value)
        except ValueError:
            fail(f"--usd-per-hour {name}={value}: {value} is no number", 2)
        if not 0 <= found[name] < 1e6:
            fail(f"--usd-per-hour {name}={value}: it must be 0 or more", 2)
    return found


def _read(path: Path) -> Targets:
    """Before anything is measured, since a file that cannot be kept must not be overwritten."""
    if not path.exists():
        return Targets()
    try:
        return Targets.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fail(f"{path} is no gpu_targets.json: {error.errors()[0]['msg']}; see docs/gpu_targets.md", 2)


def _write(path: Path, targets: Targets) -> None:
    """Whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(targets.model_dump_json(indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def _show(rows: list[Target], skipped: "list[Skipped]", *, as_json: bool) -> None:
    if as_json:
        gone = [
            {"engine": one.engine, "backend": one.backend, "model": one.model, "reason": one.reason}
            for one in skipped
        ]
        show_json({"rows": plain(rows), "skipped": gone})
        return
    columns = ("engine", "model", "backend", "gpu", "p50", "p95", "load", "vram MiB", "ram MiB", "usd a job")
    show_table(columns, map(_cells, rows), empty="Nothing could be measured here.")
    for one in skipped:
        err.print(f"not measured: {one.engine} by {one.backend}: {one.reason}", markup=False)


def _cells(row: Target) -> tuple[object, ...]:
    costs = ", ".join(f"{name} {usd(amount)}" for name, amount in row.usd_per_job.items())
    times = (duration(row.service_s_p50), duration(row.service_s_p95), duration(row.load_s))
    return (
        row.engine,
        row.model,
        row.backend,
        row.gpu_class,
        *times,
        row.peak_vram_mib,
        row.peak_ram_mib,
        costs,
    )
