"""What a container group is made of: the body of the request that creates one."""

from typing import Any

from provider_clients.base import LaunchSpec
from provider_clients.salad.config import Priority, SaladConfig

PORT = 8000
JOBS_PATH = "/generate"
READINESS_PROBE = {
    "http": {"path": "/hc", "port": PORT, "scheme": "http", "headers": [{"name": "Accept", "value": "*/*"}]},
    "initial_delay_seconds": 5,
    "period_seconds": 10,
    "timeout_seconds": 5,
    "success_threshold": 1,
    "failure_threshold": 3,
}
"""Salad's job worker takes jobs only while it holds. There is no probe of the start: failing one, Salad would throw
the machine away, and boots have our own deadline. Of an agent its heartbeats tell more than a probe could.
"""


def group_body(
    config: SaladConfig, spec: LaunchSpec, tag: str, class_id: str, priority: Priority
) -> dict[str, Any]:
    """One replica. The priority is always said, since the default is the dearest."""
    body: dict[str, Any] = {
        "name": tag,
        "display_name": tag,
        "autostart_policy": True,
        "replicas": 1,
        "restart_policy": "always",
        "container": {
            "image": config.image,
            "priority": priority,
            "image_caching": True,
            "environment_variables": environment(config, spec),
            "resources": {
                "cpu": config.cpu,
                "memory": config.memory_mb,
                "gpu_classes": [class_id],
                "storage_amount": config.storage_gb * 1024**3,
            },
        },
    }
    if config.countries:
        body["country_codes"] = list(config.countries)
    if config.mode == "queue":
        body["queue_connection"] = {"queue_name": tag, "path": JOBS_PATH, "port": PORT}
        body["readiness_probe"] = READINESS_PROBE
    return body


def environment(config: SaladConfig, spec: LaunchSpec) -> dict[str, str]:
    """What the worker in the container is told; a value may not be empty, so empty ones are left out.

    Taking its jobs from a queue it knows of no orchestrator: a container is an agent or works for a queue.
    """
    agent = {
        "GPULEASE_ORCHESTRATOR_URL": spec.orchestrator_url,
        "GPULEASE_WORKER_ID": spec.worker_id,
        "GPULEASE_WORKER_KEY": spec.worker_key,
    }
    listener = {"GPULEASE_WORKER_HOST": "::", "GPULEASE_WORKER_PORT": str(PORT)}
    told = {
        **config.environment,
        **spec.environment,
        "GPULEASE_GPU_CLASS": spec.gpu_class,
        **(listener if config.mode == "queue" else agent),
    }
    return {name: value for name, value in told.items() if value}
