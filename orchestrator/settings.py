"""The orchestrator's settings: the only reader of its environment."""

import os
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gpulease.contract.environment import ENGINE_SETTINGS

PREFIX = "GPULEASE_"
GPU_TARGETS = Path("gpu_targets.json")
"""Where `gpulease bench-gpu` writes it."""
OTHER_PROGRAMS = (
    "GPULEASE_URL",
    "GPULEASE_API_KEY",
    "GPULEASE_ORCHESTRATOR_URL",
    "GPULEASE_SCRATCH",
    "GPULEASE_INSTANCE",
    "GPULEASE_GPU_CLASS",
    "GPULEASE_VRAM_GB",
    "GPULEASE_B2_REALM",
    "GPULEASE_HPC_ENGINES",
    "GPULEASE_HPC_ALLOW",
    "GPULEASE_GRPC_PORT",
    "GPULEASE_GRPC_SCRATCH_ROOT",
    "GPULEASE_GRPC_TLS_CERT",
    "GPULEASE_GRPC_TLS_KEY",
    "GPULEASE_GRPC_TLS_CA",
    "GPULEASE_TEST_COMFYUI_TRACE",
    "GPULEASE_TEST_SALAD_SPEC",
)
"""Names that the client and the worker read; `GPULEASE_WORKER_*` is theirs too."""


def _split(value: Any) -> Any:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Priority = Literal["high", "medium", "low", "batch"]
Priorities = Annotated[tuple[Priority, ...], NoDecode, BeforeValidator(_split)]
Surface = Literal["render", "video", "farm", "tasks"]
Surfaces = Annotated[tuple[Surface, ...], NoDecode, BeforeValidator(_split)]


def _numbers(value: Any) -> Any:
    """`a=1,b=2` as names with what stands behind them."""
    if not isinstance(value, str):
        return value
    parts = [part.partition("=") for part in _split(value)]
    return {name.strip(): number.strip() for name, _, number in parts}


Numbers = Annotated[dict[str, float], NoDecode, BeforeValidator(_numbers)]
Wait = Annotated[float, Field(gt=0, le=7 * 86400.0, allow_inf_nan=False)]
Waits = Annotated[tuple[Wait, ...], NoDecode, BeforeValidator(_split)]


NEEDED_BY_STORAGE: dict[str, dict[str, str]] = {
    "local": {},
    "s3": {
        "MINIO_ENDPOINT": "minio_endpoint",
        "MINIO_ACCESS_KEY": "minio_access_key",
        "MINIO_SECRET_KEY": "minio_secret_key",
        "MINIO_BUCKET": "minio_bucket",
    },
    "b2": {"B2_KEY_ID": "b2_key_id", "B2_APP_KEY": "b2_app_key", "B2_BUCKET_NAME": "b2_bucket_name"},
}


class SettingsError(Exception):
    """The configuration is wrong; the message lists every fault."""


class Settings(BaseSettings):
    """One instance a process, frozen. Times are in seconds, money is in USD."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    data: Path = Path("gpulease-data")
    public_url: str | None = Field(
        default=None, description="What workers and clients see; else host and port."
    )
    tls_cert: Path | None = None
    tls_key: Path | None = None
    admin_key: SecretStr | None = Field(default=None, description="An explicit first admin key.")
    storage: Literal["local", "s3", "b2"] = "local"
    minio_endpoint: str | None = Field(
        default=None,
        validation_alias=AliasChoices("MINIO_ENDPOINT", "AWS_S3_ENDPOINT"),
        description="host:port or URL of MinIO, or of any S3.",
    )
    minio_bucket: str = Field(
        default="c3-render-output", validation_alias=AliasChoices("MINIO_BUCKET", "AWS_S3_BUCKET")
    )
    minio_access_key: str | None = Field(
        default=None, validation_alias=AliasChoices("MINIO_ACCESS_KEY", "AWS_ACCESS_KEY_ID")
    )
    minio_secret_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("MINIO_SECRET_KEY", "AWS_SECRET_ACCESS_KEY")
    )
    minio_secure: bool = Field(
        default=False,
        validation_alias="MINIO_SECURE",
        description="Whether it speaks TLS, where no URL says so.",
    )
    minio_public_url: str | None = Field(
        default=None, validation_alias="MINIO_PUBLIC_URL", description="What workers and clients see."
    )
    minio_region: str = Field(default="us-east-1", validation_alias="MINIO_REGION")
    b2_key_id: str | None = Field(default=None, validation_alias="B2_KEY_ID")
    b2_app_key: SecretStr | None = Field(default=None, validation_alias="B2_APP_KEY")
    b2_bucket_name: str | None = Field(default=None, validation_alias="B2_BUCKET_NAME")
    b2_prefix: str = Field(
        default="avatar/outputs", validation_alias="B2_PREFIX", description="The folder that ours lies in."
    )
    b2_realm: str = Field(
        default="production",
        validation_alias="GPULEASE_B2_REALM",
        description="B2's realm, or the URL of a server that speaks its native API.",
    )
    b2_s3_url: str | None = Field(
        default=None,
        validation_alias="GPULEASE_B2_S3_URL",
        description="Where B2 speaks S3. Unset: what the account says.",
    )
    providers: Names = Field(
        default=("local", "buffer", "static", "comput3", "salad"),
        description="Who may be leased from. One that lacks a key is listed as not configured.",
    )
    allow_private_hosts: Names = Field(
        default=(), description="Hosts exempt from the address guard, as written."
    )
    commands: Path | None = Field(
        default=None, description="The programs of the `command` engine, a JSON file."
    )

    local_usd_per_hour: float = Field(default=0.0, ge=0)
    local_workers_max: int = Field(default_factory=lambda: max(1, os.cpu_count() or 1), ge=1, le=1000)

    internal_api_key: SecretStr | None = Field(
        default=None,
        validation_alias="INTERNAL_API_KEY",
        description="Enrols new owners' machines (`buffer`); a machine with a key of its own does not take it.",
    )
    static_machines: Path | None = Field(
        default=None, description="Machines that run a render node (`static`), a JSON file."
    )

    c3_api_key: SecretStr | None = Field(default=None, validation_alias="C3_API_KEY")
    comput3_base_url: str = Field(
        default="https://api.comput3.ai/api/v0", validation_alias="COMPUT3_BASE_URL"
    )
    comput3_kinds: Names = ("media:fast",)
    comput3_usd_per_hour: float = Field(default=1.0, ge=0)
    comput3_lease_s: int = Field(
        default=7200,
        ge=600,
        validation_alias=AliasChoices("GPULEASE_COMPUT3_LEASE_S", "DEFAULT_GPU_LAUNCH"),
    )
    comput3_replace_s: int = Field(
        default=3600,
        ge=0,
        validation_alias=AliasChoices("GPULEASE_COMPUT3_REPLACE_S", "DEFAULT_GPU_REPLACE"),
        description="An idle lease older than this is let go.",
    )
    comput3_node_scheme: Literal["https", "http"] = "https"
    comput3_node_delay_s: float = Field(
        default=15.0, ge=0, description="A new node's name is not looked up earlier: a miss would be cached."
    )
    comput3_ui_url: str = Field(
        default="https://ui-{node}",
        pattern=r"^https?://.*\{node\}",
        description="Where a node's ComfyUI is; {node} stands for the node's name.",
    )
    comput3_ui_wait_s: float = Field(
        default=120.0, ge=0, description="How long a node's ComfyUI may take to come up."
    )
    comput3_exclusive: bool = Field(
        default=False, description="Whether nobody else uses the account, so that strangers are leaks."
    )

    salad_api_key: SecretStr | None = Field(default=None, validation_alias="SALAD_API_KEY")
    salad_organization: str | None = Field(default=None, validation_alias="SALAD_ORG_NAME")
    salad_project: str | None = Field(default=None, validation_alias="SALAD_PROJECT_NAME")
    salad_base_url: str = Field(default="https://api.salad.com/api/public", validation_alias="SALAD_BASE_URL")
    salad_image: str | None = Field(default=None, description="The worker image to run there.")
    salad_engines: Names = Field(
        default=("musetalk",), description="What that image runs: engine or engine/model, by comma."
    )
    salad_mode: Literal["agent", "queue"] = "agent"
    salad_priority: Priorities = Field(
        default=("batch",), min_length=1, description="One, or several by comma."
    )
    salad_gpu_classes: Names = Field(default=(), description="Names or ids; empty: all with a price.")
    salad_image_gb: float = Field(default=8.0, gt=0)
    salad_cpu: int = Field(default=4, ge=1, le=16)
    salad_memory_mb: int = Field(default=16_384, ge=1024, le=61_440)
    salad_storage_gb: int = Field(default=50, ge=1, le=250)
    salad_countries: Names = ()

    gpu_targets: Path | None = Field(
        default=None,
        description="What jobs take, until history tells. Unset: gpu_targets.json, if it is here.",
    )

    policy_name: str = "whatif"
    policy_aim: Literal["cheap", "balanced", "fast"] = "balanced"
    policy_target_p95_s: float | None = Field(default=None, gt=0, le=86_400)
    policy_knobs: Numbers = Field(
        default_factory=dict, description="Numbers of the named policy alone: name=1,other=2."
    )
    policy_idle_s: float | None = Field(
        default=None,
        ge=0,
        validation_alias=AliasChoices("GPULEASE_POLICY_IDLE_S", "GPU_IDLE_TIMEOUT"),
        description="A worker is let go so long after its last finish. Unset: 300 for fixed, what pays for whatif.",
    )
    policy_launch_delay_s_min: float | None = Field(
        default=None,
        ge=0,
        validation_alias=AliasChoices("GPULEASE_POLICY_LAUNCH_DELAY_S_MIN", "PRE_LAUNCH_TIMEOUT"),
    )
    policy_launch_delay_s_max: float | None = Field(
        default=None,
        ge=0,
        validation_alias=AliasChoices("GPULEASE_POLICY_LAUNCH_DELAY_S_MAX", "PRE_LAUNCH_TIMEOUT_MAX"),
    )
    policy_workers_max: int | None = Field(default=10, ge=0)
    policy_usd_per_hour_max: float | None = Field(default=None, ge=0)
    policy_usd_per_day_max: float | None = Field(default=None, ge=0)
    max_render_time: float | None = Field(
        default=None, gt=0, validation_alias="MAX_RENDER_TIME", description="Caps max_time, if set."
    )

    reconcile_period_s: float = Field(default=5.0, gt=0)
    health_period_s: float = Field(default=15.0, gt=0)
    heartbeat_s: float = Field(default=5.0, gt=0)
    claim_wait_s: float = Field(default=20.0, gt=0, le=60)
    orphan_after_s: float = Field(default=120.0, gt=0)
    surfaces: Surfaces = Field(
        default=("render", "video", "farm", "tasks"),
        description="The other systems whose clients are served; docs/compat/ has a page for each.",
    )
    farm_engines: Path | None = Field(
        default=None, description="Engines and argument types of the farm surface, a JSON file."
    )
    queue_limits: Names = Field(
        default=(), description="How many jobs of a queue may run at once: short-low=8,long-high=2."
    )
    c3_render_api_key: SecretStr | None = Field(
        default=None,
        validation_alias="C3_RENDER_API_KEY",
        description="A submitter's key that clients of the render API have already.",
    )
    register_auth_code: SecretStr | None = Field(
        default=None,
        validation_alias="REGISTER_AUTH_CODE",
        description="Who has it may register as a user. Unset, nobody may.",
    )
    session_s: float = Field(default=3600.0, gt=0, le=86_400, description="How long a login holds.")
    session_refresh_s: float = Field(
        default=7 * 86400.0, gt=0, description="How long it may be refreshed without a password."
    )
    requests_per_s: float | None = Field(
        default=100.0, gt=0, description="Of one user, unless a subscription says otherwise. Unset: no limit."
    )
    cors_origins: Names = Field(default=(), description="Pages of these origins may call from a browser.")
    webhook_retry_s: float = Field(
        default=5.0, gt=0, le=3600, description="Between the first 5 tries of a webhook."
    )
    webhook_tail_s: Waits = Field(
        default=(), max_length=50, description="Waits before further tries, after the first 5: 60,600,3600."
    )
    retention_s: float = Field(default=7 * 86400.0, gt=0, description="Finished jobs and their files.")
    url_expires_s: float = Field(default=7 * 86400.0, gt=0, le=7 * 86400)
    upload_bytes_max: int = Field(default=2 * 1024**3, gt=0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def load(**given: Any) -> Settings:
    """Settings from arguments, the environment and `.env`, in that order.

    Raises:
        SettingsError: with every fault, one a line.
    """
    faults = [f"{name}: there is no such setting" for name in unknown_names(os.environ)]
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        faults += [f"{_where(fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        raise SettingsError("\n".join(faults)) from error
    if bool(settings.tls_cert) != bool(settings.tls_key):
        faults.append("tls_cert and tls_key: give both, or neither")
    faults += _storage_faults(settings)
    if faults:
        raise SettingsError("\n".join(faults))
    if settings.gpu_targets is None and GPU_TARGETS.is_file():
        return settings.model_copy(update={"gpu_targets": GPU_TARGETS})
    return settings


def _storage_faults(settings: Settings) -> Iterable[str]:
    for name, field in NEEDED_BY_STORAGE[settings.storage].items():
        if not getattr(settings, field):
            yield f"{name}: the storage {settings.storage} needs it"


def unknown_names(environment: Mapping[str, str]) -> Iterable[str]:
    """Names with our prefix that no program of ours reads: most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {*OTHER_PROGRAMS, *ENGINE_SETTINGS}
    for name in sorted(environment):
        if name.startswith(PREFIX) and not name.startswith("GPULEASE_WORKER_") and name not in known:
            yield name


def engine_environment() -> dict[str, str]:
    """What engines of this machine's workers are told, from the environment and `.env`; nothing of it is ours."""
    given = {**dotenv_values(".env"), **os.environ}
    return {name: value for name in ENGINE_SETTINGS if (value := given.get(name))}


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)
