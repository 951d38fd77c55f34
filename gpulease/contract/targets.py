"""`gpu_targets.json`: what an ordinary job takes on a class of machine, measured or told; see docs/gpu_targets.md."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import Field, computed_field

from gpulease.contract.base import Lenient

ABOUT = (
    "What one ordinary job takes on a warm worker, by class of GPU: priors for placing jobs, which measured times of "
    "a deployment replace. `gpulease bench-gpu` writes rows; docs/gpu_targets.md says what they hold."
)
Seconds = Annotated[float, Field(ge=0)]


class Target(Lenient):
    """One engine and model on one class of GPU. What is not known is null; `source` says where the rest is from."""

    gpu_class: str
    vram_gb: float | None = Field(default=None, ge=0, description="Memory of the GPU, GiB.")
    engine: str
    model: str | None = Field(default=None, description="Null: the engine has none, or it is not known.")
    backend: str | None = None
    service_s_p50: Seconds = Field(description="Of one job on a warm worker, half take no longer.")
    service_s_p95: Seconds | None = None
    load_s: Seconds | None = Field(default=None, description="Until the model is in memory.")
    peak_vram_mib: float | None = Field(default=None, ge=0)
    peak_ram_mib: float | None = Field(default=None, ge=0)
    usd_per_hour: dict[str, float] = Field(default_factory=dict, description="Of the machine, by provider.")
    jobs: int | None = Field(default=None, ge=1, description="How many were measured.")
    measured_at: datetime | None = None
    source: str = Field(min_length=1)

    @computed_field  # type: ignore[prop-decorator]  # As pydantic wants it.
    @property
    def usd_per_job(self) -> dict[str, float]:
        return {name: round(usd * self.service_s_p50 / 3600, 8) for name, usd in self.usd_per_hour.items()}

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Which row it is; another measurement of the same replaces it."""
        return self.engine, self.model or "", self.gpu_class, self.backend or ""


class Targets(Lenient):
    """The file. Rows are sorted by engine, model, GPU class and backend."""

    about: str = ABOUT
    targets: tuple[Target, ...] = ()

    def with_rows(self, fresh: Iterable[Target]) -> "Targets":
        """Others stay as they are. A row that names no prices keeps those that were known."""
        rows = {row.key: row for row in self.targets}
        for row in fresh:
            known = rows.get(row.key)
            prices = row.usd_per_hour or (known.usd_per_hour if known else {})
            rows[row.key] = row.model_copy(update={"usd_per_hour": prices})
        return Targets(about=self.about, targets=tuple(rows[key] for key in sorted(rows)))
