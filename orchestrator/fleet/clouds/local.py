"""The `local` provider, from the settings: what its workers can run is asked of a worker program itself."""

import asyncio
import json
import sys

import structlog

from orchestrator.settings import Settings, engine_environment
from provider_clients.local import LocalProvider, inherited
from scaling.snapshot import Capability

PROBE_S_MAX = 60.0
log = structlog.get_logger()


async def local_provider(settings: Settings) -> LocalProvider:
    environment = _environment(settings)
    return LocalProvider(
        instances_dir=settings.data.resolve() / "instances",
        usd_per_hour=settings.local_usd_per_hour,
        workers_max=settings.local_workers_max,
        capabilities=await _probe(environment),
        environment=environment,
    )


def _environment(settings: Settings) -> dict[str, str]:
    """What a worker on this machine must know beside who it is. Our URLs are exempt from its guard by origin."""
    given = engine_environment() | {
        "GPULEASE_ALLOW_PRIVATE_HOSTS": ",".join(settings.allow_private_hosts),
        # Less than the provider's patience, so that a worker can still say what it gave up.
        "GPULEASE_WORKER_GRACE_S": "3",
    }
    if settings.commands:
        given["GPULEASE_COMMANDS"] = str(settings.commands.resolve())
    return given


async def _probe(environment: dict[str, str]) -> tuple[Capability, ...]:
    """Asks `python -m worker_image --probe`, in a process that sees what a worker will see, what runs here."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker_image",
        "--probe",
        env={**inherited(), **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PROBE_S_MAX):
            output, _ = await process.communicate()
        found = json.loads(output)
    except (TimeoutError, ValueError):
        log.exception("local_probe_failed", exit_status=process.returncode)
        return ()
    for backend, reason in found["reasons"].items():
        log.info("backend_not_available", backend=backend, reason=reason)
    return tuple(
        Capability(one["engine"], one["backend"], tuple(one["models"]), tuple(one["features"]))
        for one in found["offers"]
    )
