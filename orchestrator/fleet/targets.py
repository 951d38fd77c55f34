"""What `gpu_targets.json` says that jobs and loads take, as priors of the estimates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from gpulease.contract.targets import Target, Targets
from orchestrator.settings import SettingsError
from scaling.estimate import SERVICE_PRIOR
from scaling.snapshot import Estimate

Kind = tuple[str, str, str]
"""Engine, model or "", GPU class."""
BYTES_MAX = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Priors:
    service: Mapping[Kind, Estimate] = field(default_factory=dict)
    load: Mapping[Kind, Estimate] = field(default_factory=dict)


NO_PRIORS = Priors()


def read_priors(path: Path | None) -> Priors:
    """No path, no priors.

    Raises:
        SettingsError: the file is not there, or is no such file.
    """
    if path is None:
        return NO_PRIORS
    try:
        with path.open("rb") as file:
            text = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"gpu_targets {path}: {error.strerror}") from error
    if len(text) > BYTES_MAX:
        raise SettingsError(f"gpu_targets {path}: more than {BYTES_MAX:,} bytes")
    try:
        return priors_of(Targets.model_validate_json(text).targets)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise SettingsError(
            f"gpu_targets {path}: {where}: {fault['msg']}; see docs/gpu_targets.md"
        ) from error


def priors_of(rows: Iterable[Target]) -> Priors:
    """By engine, model and GPU class. Of several backends the slowest counts, since any may be who runs the job."""
    slowest = {_kind(row): row for row in sorted(rows, key=lambda row: row.service_s_p50)}
    return Priors(
        service={kind: _service(row) for kind, row in slowest.items()},
        load={kind: _load(row.load_s) for kind, row in slowest.items() if row.load_s is not None},
    )


def _kind(row: Target) -> Kind:
    return row.engine, row.model or "", row.gpu_class


def _service(row: Target) -> Estimate:
    """What is not told of the spread is as wide as that of any job."""
    mean_s = row.service_s_p50
    p90_s = mean_s * SERVICE_PRIOR.p90_s / SERVICE_PRIOR.mean_s
    if row.service_s_p95 is not None:
        p90_s = max(mean_s, row.service_s_p95)
    return Estimate(mean_s=mean_s, p90_s=p90_s, p99_s=max(p90_s, 3 * mean_s))


def _load(load_s: float) -> Estimate:
    """One measured load: the disk may be slower elsewhere."""
    return Estimate(mean_s=load_s, p90_s=2 * load_s, p99_s=4 * load_s)
