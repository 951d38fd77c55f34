"""What a machine elsewhere is to its agent: the seams that every kind of such a machine implements."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gpulease.contract.agent import EngineOffer
from gpulease.contract.hosts import Duty
from worker_image.engines.base import EngineJob, Report
from worker_image.execute import Made


@dataclass(frozen=True, slots=True)
class RemoteJob(EngineJob):
    """A job with what a machine elsewhere may need beside: its attempt, and where its inputs come from."""

    attempt: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)


class RemoteBackend(Protocol):
    """One way to have engines run on such a machine. It must bear to be called for one job after the other."""

    name: str
    fetches: bool
    """Whether it wants inputs as files here; else the machine fetches them by itself."""

    async def probe(self) -> tuple[EngineOffer, ...] | str:
        """What it offers, or why it offers nothing (now)."""
        ...

    async def run(self, job: RemoteJob, report: Report) -> Made:
        """Runs it to its end on the machine. Faults are `InputFault` or `HostFault`; others count as the host's."""
        ...

    async def stop(self, attempt: int) -> None:
        """Asks the machine to end that call soon, where it can be asked; `run` returns when it has ended."""
        ...


class Node(Protocol):
    """One such machine."""

    backends: tuple[RemoteBackend, ...]

    async def answers(self) -> bool:
        """Whether it could take a call now."""
        ...

    async def aclose(self) -> None: ...


class Nodes(Protocol):
    """All such machines of one provider. `delay_s` is how long a new one is to be left alone."""

    delay_s: float

    def node(self, duty: Duty, incarnation: str) -> Node: ...

    async def aclose(self) -> None: ...
