"""Container groups, their instances and their events, and how each is shown."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

from salad.catalogue import gpu_class
from salad.times import now, stamp

EVENTS_SHOWN = 50
COST_MAX = 100_000
MOVED = "Instance Reallocated by Platform"


class State(StrEnum):
    ALLOCATING = "allocating"
    DOWNLOADING = "downloading"
    CREATING = "creating"
    RUNNING = "running"
    STOPPING = "stopping"


class Move(StrEnum):
    """Where an instance goes on: from a new machine, a new container, the same container, or nowhere."""

    MACHINE = "machine"
    CREATE = "create"
    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True)
class Order:
    """Something that ends the running container `lag_s` later; `then` is an event beside it."""

    move: Move
    event: str
    lag_s: float = 0.0
    then: str = ""


@dataclass
class Instance:
    version: int
    id: str = field(default_factory=lambda: str(uuid4()))
    machine_id: str = field(default_factory=lambda: str(uuid4()))
    state: State = State.ALLOCATING
    updated_at: int = field(default_factory=now)
    progress: float | None = None
    ready: bool = False
    deletion_cost: int = 0
    pid: int | None = None
    port: int | None = None
    billed: bool = False
    leaving: bool = False
    orders: list[Order] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def order(self, order: Order) -> None:
        """What it is told first happens; what comes later only shortens the lag."""
        self.leaving |= order.move is Move.END
        self.orders.append(order)
        self.told.set()

    def enter(self, state: State) -> None:
        self.state, self.updated_at = state, now()
        self.ready = False
        self.progress = 0.0 if state is State.DOWNLOADING else None

    def as_json(self) -> dict[str, Any]:
        shown = {
            "id": self.id,
            "machine_id": self.machine_id,
            "state": self.state.value,
            "ready": self.ready,
            "started": self.state is State.RUNNING,
            "version": self.version,
            "update_time": stamp(self.updated_at),
            "deletion_cost": min(COST_MAX, max(0, self.deletion_cost)),
        }
        return shown if self.progress is None else {**shown, "pulling_progress": self.progress}


@dataclass
class Group:
    """`asked` is the body it was created with, as it was changed since. `wanted` is whether it should run."""

    organization: str
    project: str
    asked: dict[str, Any]
    wanted: bool
    id: str = field(default_factory=lambda: str(uuid4()))
    version: int = 1
    created_at: int = field(default_factory=now)
    updated_at: int = field(default_factory=now)
    started_at: int = field(default_factory=now)
    finished_at: int = field(default_factory=now)
    deleting: bool = False
    instances: list[Instance] = field(default_factory=list)
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=EVENTS_SHOWN))

    @property
    def name(self) -> str:
        name: str = self.asked["name"]
        return name

    @property
    def container(self) -> dict[str, Any]:
        container: dict[str, Any] = self.asked["container"]
        return container

    @property
    def priority(self) -> str:
        """Left out, it is the dearest."""
        return self.container.get("priority") or "high"

    @property
    def replicas(self) -> int:
        return int(self.asked["replicas"])

    def staying(self) -> list[Instance]:
        return [one for one in self.instances if not one.leaving]

    def tell(self, event: str, instance: Instance | None = None, at: int | None = None) -> None:
        resources = self.container["resources"]
        gpu = gpu_class(resources)
        whose = {"instance_id": instance.id, "machine_id": instance.machine_id} if instance else {}
        self.events.appendleft(
            {
                "event_name": event,
                "event_time": stamp(now() if at is None else at),
                "version": str(instance.version if instance else self.version),
                **whose,
                "resource_cpu": min(16, resources["cpu"]),
                "resource_memory": min(61440, resources["memory"]),
                "resource_gpu_class": gpu.name if gpu else "",
                "resource_storage_amount": resources.get("storage_amount"),
            }
        )

    def status(self) -> str:
        """What is desired, before what is: a stopped group's containers may still run."""
        if not self.wanted or self.deleting:
            return "stopped"
        states = {one.state for one in self.staying()}
        if State.RUNNING in states:
            return "running"
        return "deploying" if states - {State.ALLOCATING} else "pending"

    def as_json(self) -> dict[str, Any]:
        return dict(self._shown())

    def _shown(self) -> Iterator[tuple[str, Any]]:
        yield "id", self.id
        yield "organization_name", self.organization
        yield "project_name", self.project
        yield "display_name", self.asked.get("display_name") or self.name
        yield "priority", self.priority
        yield "country_codes", self.asked.get("country_codes") or []
        yield "create_time", stamp(self.created_at)
        yield "update_time", stamp(self.updated_at)
        yield "version", self.version
        yield "pending_change", any(one.version != self.version for one in self.instances)
        yield "current_state", self._state()
        yield "container", self._container()
        yield "scaling-actions", self.asked.get("scaling-actions") or []
        yield "scheduled-scaling-enabled", self.asked.get("scheduled-scaling-enabled", False)
        for name in ("name", "autostart_policy", "restart_policy", "replicas"):
            yield name, self.asked[name]
        for name in (
            "liveness_probe",
            "readiness_probe",
            "startup_probe",
            "queue_connection",
            "queue_autoscaler",
        ):
            if self.asked.get(name):
                yield name, self.asked[name]
        if "networking" in self.asked:
            dns = f"salad-{self.id}.salad.cloud"
            yield "networking", {"load_balancer": "round_robin", **self.asked["networking"], "dns": dns}

    def _state(self) -> dict[str, Any]:
        states = [one.state for one in self.instances]
        counted = ("allocating", "creating", "running", "stopping")
        return {
            "status": self.status(),
            "description": None,
            "start_time": stamp(self.started_at),
            "finish_time": stamp(self.finished_at),
            "instance_status_counts": {f"{name}_count": states.count(State(name)) for name in counted},
        }

    def _container(self) -> dict[str, Any]:
        """Neither the priority nor anybody's password is shown here; environments are."""
        hidden = ("priority", "registry_authentication")
        shown = {name: value for name, value in self.container.items() if name not in hidden}
        resources = {"gpu_classes": [], "shm_size": 64, **self.container["resources"]}
        return {"environment_variables": {}, **shown, "command": shown.get("command"), "resources": resources}
