"""The policy in force, seeded from the settings, then what ops stored last; and what it remembers."""

import json
import math
from dataclasses import asdict, replace
from typing import Annotated, Any

import structlog
from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator

from gpulease.contract.base import Wire
from orchestrator.clock import Clock
from orchestrator.settings import Settings, SettingsError
from orchestrator.store.people import By
from orchestrator.store.protocol import Store
from scaling.policies import POLICIES, check_knobs
from scaling.policy import Aim, Limits, Policy
from scaling.snapshot import Memory

SETTING = "policy"
MEMORY = "policy_memory"
MEMORY_BYTES_MAX = 1024**2
MEMORY_PERIOD_S = 30.0
"""A crash costs no more of what was learned."""
log = structlog.get_logger()


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
    aim: Aim = "balanced"
    target_p95_s: float | None = Field(
        default=None, gt=0, le=86_400, description="Nineteen jobs of twenty wait no longer. Null: by the aim."
    )
    knobs: dict[str, float] = Field(
        default_factory=dict, max_length=64, description="Numbers of the named policy alone."
    )
    idle_s: float | None = Field(
        default=None, ge=0, le=86_400, description="Null: 300 for fixed, what pays for whatif."
    )
    launch_delay_s_min: float | None = Field(default=None, ge=0, le=3600)
    launch_delay_s_max: float | None = Field(default=None, ge=0, le=3600)
    provider_launch_delay_s: dict[
        str, tuple[Annotated[float, Field(ge=0, le=3600)], Annotated[float, Field(ge=0, le=3600)]]
    ] = Field(default_factory=dict)
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
    queue_wait_s: dict[str, Annotated[float, Field(gt=0, le=86_400)]] = Field(
        default_factory=dict,
        max_length=64,
        description="By queue, how long its jobs may wait, instead of the target.",
    )

    @field_validator("knobs")
    @classmethod
    def _of_that_policy(cls, knobs: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        if "name" in info.data:
            check_knobs(info.data["name"], knobs)
        return knobs

    def policy(self) -> Policy:
        plain = self.model_dump()
        plain["limits"] = Limits(**plain["limits"])
        plain["provider_limits"] = {name: Limits(**one) for name, one in plain["provider_limits"].items()}
        return Policy(**plain)


class PolicyBook:
    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self.current = _seed(settings)
        self.memory = PolicyMemory(store, clock)

    async def load(self) -> None:
        """The stored policy wins over the settings, which only seed it."""
        await self.memory.load()
        stored = await self._store.read_setting(SETTING)
        if stored is not None:
            known = {name: value for name, value in stored.items() if name in PolicyBody.model_fields}
            self.current = PolicyBody.model_validate(known).policy()

    async def put(self, body: PolicyBody, by: By) -> None:
        now = self._clock.now()
        await self._store.write_setting(SETTING, body.model_dump(), who=by.who, now=now, by=by)
        self.current = body.policy()

    def shown(self) -> dict[str, Any]:
        return asdict(self.current)


class PolicyMemory:
    """What the last plan wants to know at the next one. It is kept over restarts, and forgotten with its policy."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._name = ""
        self._memory: Memory = {}
        self._is_stored = True
        self._stored_at = -math.inf

    def of(self, name: str) -> Memory:
        return self._memory if name == self._name else {}

    async def load(self) -> None:
        """What cannot be read is forgotten: a policy learns again."""
        try:
            stored = json.loads(await self._store.read_setting(MEMORY) or "{}")
            name, memory = stored.get("name"), stored.get("memory")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            log.warning("policy_memory_unreadable", error=repr(error))
            return
        if isinstance(name, str) and isinstance(memory, dict):
            self._name, self._memory = name, memory

    async def keep(self, name: str, memory: Memory) -> None:
        self._is_stored = self._is_stored and (name, memory) == (self._name, self._memory)
        self._name, self._memory = name, memory
        if self._clock.now() - self._stored_at >= MEMORY_PERIOD_S:
            await self.flush()

    async def flush(self) -> None:
        """Stores what is not stored yet. What is no JSON, or too much, is not."""
        if self._is_stored:
            return
        self._stored_at, self._is_stored = self._clock.now(), True
        try:
            text = json.dumps({"name": self._name, "memory": self._memory}, allow_nan=False)
        except (ValueError, TypeError, RecursionError) as error:
            log.warning("policy_memory_not_stored", error=repr(error))
            return
        if len(text) > MEMORY_BYTES_MAX:
            log.warning("policy_memory_not_stored", error=f"more than {MEMORY_BYTES_MAX:,} bytes")
            return
        await self._store.note(MEMORY, text, now=self._stored_at)


def _seed(settings: Settings) -> Policy:
    try:
        body = PolicyBody(
            name=settings.policy_name,
            aim=settings.policy_aim,
            target_p95_s=settings.policy_target_p95_s,
            knobs=settings.policy_knobs,
        )
    except ValidationError as error:
        faults = (f"policy_{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise SettingsError("\n".join(faults)) from error
    return replace(
        body.policy(),
        idle_s=settings.policy_idle_s,
        launch_delay_s_min=settings.policy_launch_delay_s_min,
        launch_delay_s_max=settings.policy_launch_delay_s_max,
        limits=Limits(settings.policy_workers_max, settings.policy_usd_per_hour_max),
        usd_per_day_max=settings.policy_usd_per_day_max,
    )
