"""Job queues: what is in them, in which order it is given out, and how each is shown."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from salad.times import now, stamp

ENDED = frozenset(("succeeded", "failed", "cancelled"))
_OFFSET = "+00:00"


@dataclass
class Job:
    asked: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid4()))
    status: str = "pending"
    attempts: int = 0
    output: Any = None
    events: list[tuple[str, int]] = field(default_factory=lambda: [("created", now())])

    @property
    def created_at(self) -> int:
        return self.events[0][1]

    def move(self, status: str, event: str | None = None) -> None:
        self.status = status
        if event:
            self.events.append((event, now()))

    def as_json(self, zone: str = _OFFSET, event_key: str = "action") -> dict[str, Any]:
        """Webhooks call an event's action its type, and write times with a Z."""
        optional = {name: self.asked[name] for name in ("metadata", "webhook") if self.asked.get(name)}
        return {
            "id": self.id,
            "input": self.asked["input"],
            **optional,
            "status": self.status,
            **({"output": self.output} if self.status == "succeeded" else {}),
            "events": [{event_key: event, "time": stamp(at, zone)} for event, at in self.events],
            "create_time": stamp(self.created_at, zone),
            "update_time": stamp(self.events[-1][1], zone),
        }


@dataclass
class Queue:
    asked: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid4()))
    created_at: int = field(default_factory=now)
    updated_at: int = field(default_factory=now)
    jobs: dict[str, Job] = field(default_factory=dict)
    waiting: deque[Job] = field(default_factory=deque)

    @property
    def name(self) -> str:
        name: str = self.asked["name"]
        return name

    def add(self, asked: dict[str, Any]) -> Job:
        job = Job(asked)
        self.jobs[job.id] = job
        self.waiting.append(job)
        return job

    def take(self) -> Job | None:
        """The oldest waiting job, which now runs."""
        if not self.waiting:
            return None
        job = self.waiting.popleft()
        job.attempts += 1
        job.move("running", "started")
        return job

    def give_back(self, job: Job, retries: int) -> None:
        """One attempt is used up; the job waits at the head of the queue, or has failed for good."""
        if job.attempts > retries:
            job.move("failed", "failed")
        else:
            job.move("pending")
            self.waiting.appendleft(job)

    def cancel(self, job: Job) -> None:
        self.waiting.remove(job)
        job.move("cancelled", "cancelled")

    def as_json(self, groups: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "display_name": self.asked.get("display_name") or self.name,
            "description": self.asked.get("description") or "",
            "container_groups": groups,
            "current_queue_length": len(self.waiting),
            "create_time": stamp(self.created_at),
            "update_time": stamp(self.updated_at),
        }
