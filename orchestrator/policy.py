"""The policy in force: seeded from the settings, then what ops stored last."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from gpulease.contract.base import Wire
from orchestrator.clock import Clock
from orchestrator.settings import Settings
from orchestrator.store.people import By
from orchestrator.store.protocol import Store
from scaling.decide import POLICIES
from scaling.policy import Limits, Policy

SETTING = "policy"


def _known(name: str) -> str:
    if name not in POLICIES:
        raise ValueError(f"there is no policy {name!r}; use one of: {', '.join(sorted(POLICIES))}")
    return name


class LimitsBody(Wire):
    workers_max: int | None = Field(default=10, ge=0, le=100_000)
    usd_per_hour_max: float | None = Field(default=None, ge=0)


class PolicyBody(Wire):
    """The body of `PUT /v1/policy`: the whole policy, times in seconds, money in USD."""

    name: Annotated[str, AfterValidator(_known)] = "whatif"
    idle_s: float = Field(default=300, ge=0, le=86_400)
    launch_delay_s_min: float | None = Field(default=None, ge=0, le=3600)
    launch_delay_s_max: float | None = Field(default=None, ge=0, le=3600)
    provider_launch_delay_s: dict[
        str, tuple[Annotated[float, Field(ge=0, le=3600)], Annotated[float, Field(ge=0, le=3600)]]
    ] = Field(default_factory=dict)
    slack_s: float = Field(default=0, ge=-3600, le=86_400)
    grace_s: float = Field(default=60, ge=0, le=86_400)
    silent_s_max: float = Field(default=45, gt=0, le=86_400)
    boot_s_max: float = Field(default=3600, gt=0, le=86_400)
    create_s_max: float = Field(default=600, gt=0, le=86_400)
    claim_silent_s_max: float = Field(default=60, gt=0, le=86_400)
    drain_s_max: float = Field(default=7200, gt=0, le=86_400)
    launches_per_step_max: int = Field(default=10, ge=1, le=1000)
    limits: LimitsBody = LimitsBody()
    provider_limits: dict[str, LimitsBody] = Field(default_factory=dict)
    usd_per_day_max: float | None = Field(default=None, ge=0)

    def policy(self) -> Policy:
        plain = self.model_dump()
        plain["limits"] = Limits(**plain["limits"])
        plain["provider_limits"] = {name: Limits(**one) for name, one in plain["provider_limits"].items()}
        return Policy(**plain)


class PolicyBook:
    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self.current = _seed(settings)

    async def load(self) -> None:
        """The stored policy wins over the settings, which only seed it."""
        stored = await self._store.read_setting(SETTING)
        if stored is not None:
            self.current = PolicyBody.model_validate(stored).policy()

    async def put(self, body: PolicyBody, by: By) -> None:
        now = self._clock.now()
        await self._store.write_setting(SETTING, body.model_dump(), who=by.who, now=now, by=by)
        self.current = body.policy()

    def shown(self) -> dict[str, Any]:
        return asdict(self.current)


def _seed(settings: Settings) -> Policy:
    return Policy(
        name=settings.policy_name,
        idle_s=settings.policy_idle_s,
        launch_delay_s_min=settings.policy_launch_delay_s_min,
        launch_delay_s_max=settings.policy_launch_delay_s_max,
        limits=Limits(settings.policy_workers_max, settings.policy_usd_per_hour_max),
        usd_per_day_max=settings.policy_usd_per_day_max,
    )
