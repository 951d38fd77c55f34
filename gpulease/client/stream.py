"""Server-sent events without any I/O: bytes in, moves and progress out, and where to resume."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from gpulease.client.errors import Garbled
from gpulease.contract.jobs import EventView, Phase


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far the running attempt is; `progress` runs from 0 to 1."""

    phase: Phase
    progress: float
    message: str | None = None


@dataclass(slots=True)
class EventReader:
    """Reads one job's stream over any number of connections. Moves that come twice are given once."""

    last_seq: int = 0
    _rest: bytes = b""
    _kind: str = ""
    _data: list[str] = field(default_factory=list)

    def headers(self) -> dict[str, str]:
        resume = {"Last-Event-ID": str(self.last_seq)} if self.last_seq else {}
        return {"Accept": "text/event-stream", **resume}

    def restart(self) -> None:
        """Forgets the half of an event that a broken connection left."""
        self._rest, self._kind, self._data = b"", "", []

    def feed(self, chunk: bytes) -> Iterator[EventView | JobProgress]:
        """Takes the next bytes, however cut; yields the events that they complete.

        Raises:
            Garbled: an event is not what the contract says.
        """
        # Split here and not by str.splitlines, which would cut JSON at U+2028 and its kin.
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if event := self._line(line.removesuffix(b"\r").decode(errors="replace")):
                yield event

    def _line(self, line: str) -> EventView | JobProgress | None:
        if line:
            self._take(*line.partition(":")[::2])
            return None
        kind, data = self._kind, "\n".join(self._data)
        self._kind, self._data = "", []
        return self._event(kind, data) if data else None

    def _take(self, name: str, value: str) -> None:
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)

    def _event(self, kind: str, data: str) -> EventView | JobProgress | None:
        try:
            if kind == "move":
                return self._move(EventView.model_validate_json(data))
            return _progress(data) if kind == "progress" else None
        except (ValidationError, ValueError, KeyError) as error:
            raise Garbled(f"an event of kind {kind} could not be read") from error

    def _move(self, move: EventView) -> EventView | None:
        if move.seq <= self.last_seq:
            return None
        self.last_seq = move.seq
        return move


def _progress(data: str) -> JobProgress:
    given = json.loads(data)
    return JobProgress(Phase(given["phase"]), float(given["progress"]), given.get("message"))
