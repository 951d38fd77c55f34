"""What goes wrong in a chaos run: by chance from one seed, and once of each kind for certain."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
from clouds import GROUPS, RTX_4090, SALAD_KEY, Clouds
from world import World

CREATE_UNKNOWN = 0.05
NODE_DEATH = 0.03
RATE_LIMITED = 0.02


def turn_on(clouds: Clouds, times: float) -> Counter[str]:
    """Sets the shares at both clouds; returns what has gone wrong so far, and goes on to."""
    met: Counter[str] = Counter()
    comput3, salad = clouds.comput3, clouds.salad
    for name, knobs in (("comput3", comput3.knobs), ("salad", salad.knobs)):
        knobs.create_unknown, knobs.node_death = CREATE_UNKNOWN * times, NODE_DEATH * times
        knobs.rate_limited = RATE_LIMITED * times
        dice = comput3.dice if name == "comput3" else salad._cloud.dice
        dice.hits = _counted(name, dice.hits, met)
    comput3.knobs.list_lag_s, comput3.knobs.stop_lag_s, comput3.knobs.boot_s = 0.5, 1.0, 1.0
    comput3.knobs.die_after_s = (0.5, 5.0)
    salad.knobs.list_lag_s, salad.knobs.stop_lag_s = 0.5, 1.0
    salad.knobs.node_death_within_s, salad.knobs.tombstone_s = 5.0, 30.0
    comput3.knobs.latency_s_max = salad.knobs.latency_s = 0.05
    return met


def force(clouds: Clouds, name: str) -> None:
    """It comes once at each cloud, at the next occasion."""
    clouds.ask(lambda: (clouds.comput3.knobs.next.append(name), clouds.salad.knobs.next.append(name)))


def plant_orphans(world: World, deployment: str, count: int) -> tuple[str, ...]:
    """Groups at Salad that carry the deployment's tag, as an orchestrator that lost its memory would leave them."""
    names = tuple(f"{deployment}-w-lost{number}" for number in range(count))
    for name in names:
        environment = {
            "GPULEASE_ORCHESTRATOR_URL": str(world.up.http.base_url),
            "GPULEASE_WORKER_ID": f"w-{name[-5:]}",
            "GPULEASE_WORKER_KEY": "of-a-row-that-is-no-more",
        }
        body = {
            "name": name,
            "autostart_policy": True,
            "replicas": 1,
            "restart_policy": "always",
            "container": {
                "image": "ghcr.io/acme/worker:1",
                "priority": "batch",
                "environment_variables": environment,
                "resources": {"cpu": 4, "memory": 16384, "gpu_classes": [RTX_4090]},
            },
        }
        _insist(f"{world.clouds.salad.url}/{GROUPS}", body)
    return names


def _insist(url: str, body: dict[str, Any]) -> None:
    """Made in spite of the faults, which are not for us."""
    for _ in range(20):
        reply = httpx.post(url, json=body, headers={"Salad-Api-Key": SALAD_KEY}, trust_env=False)
        if reply.status_code in (201, 409, 502):
            return
        time.sleep(0.1)
    raise AssertionError(reply.text)


def _counted(cloud: str, hits: Callable[..., bool], met: Counter[str]) -> Callable[..., bool]:
    def counted(name: str, *more: Any, **how: Any) -> bool:
        hit = hits(name, *more, **how)
        met[f"{cloud} {name}"] += hit
        return hit

    return counted
