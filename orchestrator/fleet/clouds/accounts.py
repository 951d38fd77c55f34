"""The providers that ops configured: name → client, from the settings; and of the others, what each still lacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.fleet.clouds.local import local_provider
from orchestrator.settings import Settings, SettingsError
from provider_clients.base import Provider
from provider_clients.buffer import Buffer
from provider_clients.comput3 import Comput3, Comput3Config
from provider_clients.salad import Salad, SaladConfig
from provider_clients.static import Static, read_machines
from scaling.snapshot import Capability

LACKS: Mapping[str, Mapping[str, str]] = {
    "local": {},
    "buffer": {},
    "static": {"static_machines": "GPULEASE_STATIC_MACHINES"},
    "comput3": {"c3_api_key": "C3_API_KEY"},
    "salad": {
        "salad_api_key": "SALAD_API_KEY",
        "salad_organization": "SALAD_ORG_NAME",
        "salad_project": "SALAD_PROJECT_NAME",
        "salad_image": "GPULEASE_SALAD_IMAGE",
    },
}
"""Every provider that there is, and the settings it cannot do without, by the names that ops know."""

Roster = Callable[[], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Registry:
    """`missing` names what each provider that is not configured lacks."""

    clients: dict[str, Provider] = field(default_factory=dict)
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def aclose(self) -> None:
        for client in self.clients.values():
            await client.aclose()


async def registry_of(settings: Settings, roster: Roster = dict) -> Registry:
    """Raises:
    SettingsError: there is no such provider, or its settings cannot work. A missing key is no error.
    """
    clients: dict[str, Provider] = {}
    missing = missing_of(settings)
    for name in settings.providers:
        if name not in LACKS:
            raise SettingsError(f"providers: there is no provider {name!r}; there are {', '.join(LACKS)}")
        if name not in missing:
            clients[name] = await _client(name, settings, roster)
    return Registry(clients, missing)


def missing_of(settings: Settings) -> dict[str, tuple[str, ...]]:
    """What the providers lack that are not configured."""
    lacking = {
        name: tuple(
            shown for attribute, shown in LACKS.get(name, {}).items() if not getattr(settings, attribute)
        )
        for name in settings.providers
    }
    return {name: names for name, names in lacking.items() if names}


async def _client(name: str, settings: Settings, roster: Roster) -> Provider:
    match name:
        case "local":
            return await local_provider(settings)
        case "buffer":
            return Buffer(roster)
        case "static":
            return _static(settings.static_machines or Path())
        case "comput3":
            return Comput3(_comput3(settings))
        case _:
            return _salad(settings)


def _static(path: Path) -> Static:
    try:
        return Static(read_machines(path))
    except ValueError as error:
        raise SettingsError(f"static_machines: {error}") from error


def _comput3(settings: Settings) -> Comput3Config:
    return Comput3Config(
        api_key=settings.c3_api_key.get_secret_value() if settings.c3_api_key else "",
        base_url=settings.comput3_base_url,
        kinds=settings.comput3_kinds,
        lease_s=settings.comput3_lease_s,
        replace_s=settings.comput3_replace_s,
        usd_per_hour=settings.comput3_usd_per_hour,
        node_scheme=settings.comput3_node_scheme,
        node_delay_s=settings.comput3_node_delay_s,
        exclusive=settings.comput3_exclusive,
    )


def _salad(settings: Settings) -> Salad:
    try:
        return Salad(
            SaladConfig(
                api_key=settings.salad_api_key.get_secret_value() if settings.salad_api_key else "",
                organization=settings.salad_organization or "",
                project=settings.salad_project or "",
                image=settings.salad_image or "",
                base_url=settings.salad_base_url,
                priorities=settings.salad_priority,
                gpu_classes=settings.salad_gpu_classes,
                capabilities=capabilities(settings.salad_engines),
                image_gb=settings.salad_image_gb,
                cpu=settings.salad_cpu,
                memory_mb=settings.salad_memory_mb,
                storage_gb=settings.salad_storage_gb,
                countries=settings.salad_countries,
                mode=settings.salad_mode,
                environment=_salad_environment(settings),
            )
        )
    except ValueError as error:
        raise SettingsError(f"salad: {error}") from error


def _salad_environment(settings: Settings) -> dict[str, str]:
    hosts = ",".join(settings.allow_private_hosts)
    return {"GPULEASE_ALLOW_PRIVATE_HOSTS": hosts} if hosts else {}


def capabilities(names: tuple[str, ...]) -> tuple[Capability, ...]:
    """What `engine` and `engine/model` words stand for, one capability an engine."""
    models: dict[str, list[str]] = {}
    for name in names:
        engine, _, model = name.partition("/")
        models.setdefault(engine, []).extend([model] if model else [])
    return tuple(Capability(engine, "image", tuple(named)) for engine, named in models.items())


def host_environments(settings: Settings, clients: Mapping[str, Provider]) -> dict[str, dict[str, str]]:
    """What the host process of each provider with hosted agents must know, secrets among it."""
    common = {"GPULEASE_ALLOW_PRIVATE_HOSTS": ",".join(settings.allow_private_hosts)}
    own = {"comput3": _comput3_host, "static": _static_host, "salad": _salad_host}
    return {name: common | own[name](settings) for name, one in clients.items() if one.hosted and name in own}


def _comput3_host(settings: Settings) -> dict[str, str]:
    key = settings.c3_api_key.get_secret_value() if settings.c3_api_key else ""
    return {
        "C3_API_KEY": key,
        "COMPUT3_NODE_DELAY_S": str(settings.comput3_node_delay_s),
        "GPULEASE_COMPUT3_UI_URL": settings.comput3_ui_url,
        "GPULEASE_COMPUT3_UI_WAIT_S": str(settings.comput3_ui_wait_s),
    }


def _static_host(settings: Settings) -> dict[str, str]:
    return {"GPULEASE_STATIC_MACHINES": str((settings.static_machines or Path()).resolve())}


def _salad_host(settings: Settings) -> dict[str, str]:
    """Salad can tell us of ended jobs only where it reaches us; elsewhere they are looked at in turn."""
    ours = (settings.public_url or "").rstrip("/")
    heard = {"GPULEASE_SALAD_WEBHOOK_URL": f"{ours}/internal/salad/webhook"} if ours else {}
    return heard | {
        "SALAD_API_KEY": settings.salad_api_key.get_secret_value() if settings.salad_api_key else "",
        "SALAD_ORG_NAME": settings.salad_organization or "",
        "SALAD_PROJECT_NAME": settings.salad_project or "",
        "SALAD_BASE_URL": settings.salad_base_url,
        "GPULEASE_SALAD_ENGINES": ",".join(settings.salad_engines),
    }
