"""The state of the whole cloud: what exists, what it costs, and what goes wrong."""

import asyncio
import base64
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from salad.groups import Group, Instance, Move, Order
from salad.jobs import Queue
from salad.knobs import Dice, Knobs
from salad.ledger import Ledger, Living
from salad.times import TICKS_PER_S, now, seconds

Live = Callable[["Cloud", Group, Instance], Coroutine[Any, Any, None]]
STOPPED = "Instance Exited:137 (Likely Out of System Memory)"


@dataclass(frozen=True, slots=True)
class Config:
    """Who may ask, and what a container runs; `folder` holds everything that instances write."""

    key: str
    organization: str
    project: str
    seed: int
    argv: tuple[str, ...]
    folder: Path


@dataclass
class Cloud:
    config: Config
    knobs: Knobs
    dice: Dice
    live: Live
    url: str = ""
    groups: dict[str, Group] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    secrets: list[tuple[int, str]] = field(default_factory=list)
    moved: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=10_000))
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    failures: list[Exception] = field(default_factory=list)
    closing: bool = False

    def __post_init__(self) -> None:
        self._keys = Random(f"{self.config.seed} secrets")
        self.rotate()

    # Groups

    def used(self) -> int:
        return sum(len(group.instances) for group in self.groups.values())

    def promised(self) -> int:
        """Replicas that exist or are still to be made."""
        groups = self.groups.values()
        return sum(
            max(len(one.instances), one.replicas if one.wanted and not one.deleting else 0) for one in groups
        )

    def is_tombstone(self, name: str) -> bool:
        since = self.tombstones.get(name)
        return since is not None and seconds(now() - since) < self.knobs.tombstone_s

    def add(self, group: Group) -> None:
        self.groups[group.name] = group
        if group.wanted:
            group.tell("Container Group Started")
        self.settle(group)

    def settle(self, group: Group) -> None:
        """Makes instances, or ends those that it costs least to lose, until there are as many as wanted."""
        wanted = group.replicas if group.wanted and not group.deleting and not self.closing else 0
        staying = sorted(group.staying(), key=lambda one: one.deletion_cost)
        for instance in staying[: max(0, len(staying) - wanted)]:
            instance.order(Order(Move.END, STOPPED, self.knobs.stop_lag_s))
        for _ in range(wanted - len(staying)):
            instance = Instance(group.version)
            group.instances.append(instance)
            self.spawn(self._live(group, instance))

    async def _live(self, group: Group, instance: Instance) -> None:
        try:
            await self.live(self, group, instance)
        finally:
            group.instances.remove(instance)
            self.bury(group)

    def start(self, group: Group) -> None:
        group.wanted, group.started_at = True, now()
        group.tell("Container Group Started")
        self.settle(group)

    def stop(self, group: Group) -> None:
        group.wanted, group.finished_at = False, now()
        group.tell("Container Group Stopped")
        self.settle(group)

    def delete(self, group: Group) -> None:
        group.deleting, group.finished_at = True, now()
        self.settle(group)
        self.bury(group)

    def bury(self, group: Group) -> None:
        """A deleted group is gone with its last instance."""
        if group.deleting and not group.instances and self.groups.get(group.name) is group:
            del self.groups[group.name]
            self.tombstones[group.name] = now()

    def end_all(self) -> None:
        """No lag, no new instances: the emulator ends."""
        self.closing = True
        for group in self.groups.values():
            for instance in group.instances:
                instance.order(Order(Move.END, STOPPED))

    def may_move(self, verb: str) -> bool:
        """Counts one reallocation, recreation or restart against the quota of the last minute."""
        since = now() - 60 * TICKS_PER_S
        if sum(at > since and done == verb for at, done in self.moved) >= self.knobs.moves_per_minute:
            return False
        self.moved.append((now(), verb))
        return True

    def living(self) -> tuple[Living, ...]:
        found = []
        for group in self.groups.values():
            if not group.instances:
                found.append(Living(group.name, None, group.status(), billed=False, pid=None))
            found += [
                Living(group.name, one.id, one.state.value, one.billed, one.pid) for one in group.instances
            ]
        return tuple(found)

    # Secrets of webhooks

    def rotate(self) -> str:
        self.secrets.append((now(), base64.b64encode(self._keys.randbytes(32)).decode()))
        return self.secrets[-1][1]

    def signing_secret(self) -> str:
        since, secret = self.secrets[-1]
        if len(self.secrets) > 1 and seconds(now() - since) < self.knobs.old_secret_s:
            return self.secrets[-2][1]
        return secret

    # Tasks

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.failures.append(error)
