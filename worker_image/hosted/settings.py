"""The settings of a host of agents: the only reader of its environment. An orchestrator sets it where it starts one."""

import tempfile
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker_image.settings import Names, SettingsError

HostName = Literal["comput3", "static", "salad"]
HOSTS: tuple[HostName, ...] = ("comput3", "static", "salad")
_NEEDS: dict[HostName, dict[str, str]] = {
    "comput3": {"c3_api_key": "C3_API_KEY"},
    "static": {"static_machines": "GPULEASE_STATIC_MACHINES"},
    "salad": {
        "salad_api_key": "SALAD_API_KEY",
        "salad_organization": "SALAD_ORG_NAME",
        "salad_project": "SALAD_PROJECT_NAME",
        "salad_engines": "GPULEASE_SALAD_ENGINES",
    },
}


class HostSettings(BaseSettings):
    """One instance a process, frozen. Times are in seconds."""

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    orchestrator_url: str = Field(validation_alias="GPULEASE_ORCHESTRATOR_URL")
    public_url: str | None = Field(
        default=None,
        validation_alias="GPULEASE_PUBLIC_URL",
        description="Where rented machines reach the orchestrator, if that is another address.",
    )
    host_key: SecretStr = Field(validation_alias="GPULEASE_HOST_KEY")
    scratch: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()) / "gpulease-host",
        validation_alias="GPULEASE_SCRATCH",
    )
    grace_s: float = Field(default=10.0, ge=0, validation_alias="GPULEASE_WORKER_GRACE_S")
    allow_private_hosts: Names = Field(default=(), validation_alias="GPULEASE_ALLOW_PRIVATE_HOSTS")
    c3_api_key: SecretStr | None = Field(default=None, validation_alias="C3_API_KEY")
    comput3_node_delay_s: float = Field(
        default=15.0,
        ge=0,
        validation_alias="COMPUT3_NODE_DELAY_S",
        description="The name of a new node must not be looked up sooner: that it is missing would be remembered.",
    )
    comput3_ui_url: str = Field(
        default="https://ui-{node}",
        pattern=r"^https?://.*\{node\}",
        validation_alias="GPULEASE_COMPUT3_UI_URL",
        description="Where a node's ComfyUI is; {node} stands for the node's name.",
    )
    comput3_ui_wait_s: float = Field(
        default=120.0,
        ge=0,
        validation_alias="GPULEASE_COMPUT3_UI_WAIT_S",
        description="How long a node's ComfyUI may take to come up.",
    )
    static_machines: Path | None = Field(default=None, validation_alias="GPULEASE_STATIC_MACHINES")
    salad_api_key: SecretStr | None = Field(default=None, validation_alias="SALAD_API_KEY")
    salad_organization: str | None = Field(
        default=None, validation_alias=AliasChoices("SALAD_ORG_NAME", "SALAD_ORGANIZATION_NAME")
    )
    salad_project: str | None = Field(default=None, validation_alias="SALAD_PROJECT_NAME")
    salad_base_url: str = Field(default="https://api.salad.com/api/public", validation_alias="SALAD_BASE_URL")
    salad_engines: Names = Field(
        default=(),
        validation_alias="GPULEASE_SALAD_ENGINES",
        description="What the image of the queue's containers runs: engine, or engine/model.",
    )
    salad_webhook_url: str | None = Field(
        default=None,
        validation_alias="GPULEASE_SALAD_WEBHOOK_URL",
        description="Where Salad tells the orchestrator of queue jobs; without it they are looked at in turn.",
    )


def load_host(name: HostName, **given: Any) -> HostSettings:
    """Settings from arguments and the environment, in that order.

    Raises:
        SettingsError: with every fault, one a line.
    """
    try:
        settings = HostSettings(**given)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise SettingsError("\n".join(faults)) from error
    missing = [env for field, env in _NEEDS[name].items() if not getattr(settings, field)]
    if missing:
        raise SettingsError("\n".join(f"{env}: the host of {name} needs it" for env in missing))
    return settings
