"""What arrives and when: a CSV file with one job a row, sped up by dividing its times of arrival."""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scaling.place import own_wait_s
from scaling.snapshot import Need

ENGINE = "comfyui"
"""What jobs run on where the trace names no engine: one with many models."""
REQUIRED = ("t", "service_s", "model")
OPTIONAL = ("engine", "priority", "start_within_s", "complete_in_s", "low_priority")
MAX_TIME_S = 1200.0
WORDS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


class TraceError(Exception):
    """A trace that cannot be read. It names the file, the line and the field."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job: when it comes, and how long it runs with its model in memory, on a GPU class of factor 1. Seconds.

    `start_by_s` and `complete_by_s` are moments; infinite where there is no such limit.
    """

    row: int
    t_s: float
    service_s: float
    model: str
    need: Need
    start_by_s: float = math.inf
    complete_by_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals in order. `speed` is what the times in the file were divided by."""

    arrivals: tuple[Arrival, ...]
    speed: float = 1.0

    def models(self) -> Mapping[str, tuple[str, ...]]:
        """The models of each engine, in order."""
        found: dict[str, set[str]] = {}
        for one in self.arrivals:
            found.setdefault(one.need.engine, set()).update([one.model] if one.model else [])
        return {engine: tuple(sorted(models)) for engine, models in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class Row:
    """One line, read. Deadlines are seconds from the arrival, and are not sped up: users' patience is not."""

    t_s: float
    service_s: float
    model: str
    engine: str = ENGINE
    priority: int = 0
    start_within_s: float = math.inf
    complete_in_s: float = math.inf
    low_priority: bool = False


def read_trace(path: Path | str, speed: float = 1.0) -> Trace:
    """Raises:
    TraceError: no such file, or a line of it cannot be read.
    """
    if not (speed > 0 and math.isfinite(speed)):
        raise TraceError(f"speed {speed} must be above 0")
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(_rows(csv.DictReader(file), str(path)))
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: no CSV file in UTF-8: {error}") from None
    return make_trace(rows, speed)


def make_trace(rows: list[Row], speed: float = 1.0) -> Trace:
    """A trace of rows that are in order of time. Jobs alike share one need."""
    longest_s = max((one.service_s for one in rows), default=0.0)
    # Users allow a run more than it takes, so one bound covers all jobs and says little of any.
    max_time_s = max(MAX_TIME_S, math.ceil(2 * longest_s / 600) * 600.0)
    needs: dict[Need, Need] = {}
    arrivals = []
    for number, row in enumerate(rows):
        need = Need(
            engine=row.engine,
            model=row.model or None,
            priority=row.priority,
            low_priority=row.low_priority,
            max_time_s=max_time_s,
            wait_s=own_wait_s(row.start_within_s),
        )
        t_s = row.t_s / speed
        arrivals.append(
            Arrival(
                row=number,
                t_s=t_s,
                service_s=row.service_s,
                model=row.model,
                need=needs.setdefault(need, need),
                start_by_s=t_s + row.start_within_s,
                complete_by_s=t_s + row.complete_in_s,
            )
        )
    return Trace(tuple(arrivals), speed)


def _rows(reader: "csv.DictReader[str]", name: str) -> Iterator[Row]:
    columns = reader.fieldnames or ()
    if missing := [one for one in REQUIRED if one not in columns]:
        raise TraceError(f"{name} line 1: no column {', '.join(missing)}; there must be {','.join(REQUIRED)}")
    if unknown := [one for one in columns if one not in REQUIRED + OPTIONAL]:
        raise TraceError(f"{name} line 1: unknown column {', '.join(unknown)}; may be {', '.join(OPTIONAL)}")
    last_s = -math.inf
    for cells in reader:
        row = _row(cells, f"{name} line {reader.line_num}")
        if row.t_s < last_s:
            raise TraceError(f"{name} line {reader.line_num}: t: {row.t_s:g} comes after {last_s:g}")
        last_s = row.t_s
        yield row


def _row(cells: Mapping[str, str | None], where: str) -> Row:
    if None in cells:
        raise TraceError(f"{where}: more cells than columns")
    given = {name: (cell or "").strip() for name, cell in cells.items()}
    priority = _number(given, "priority", where, 0.0)
    if priority != int(priority):
        raise TraceError(f"{where}: priority: {given['priority']!r} is no whole number")
    low = given.get("low_priority", "").lower()
    if low not in WORDS:
        raise TraceError(f"{where}: low_priority: {low!r} is neither true nor false")
    return Row(
        t_s=_number(given, "t", where),
        service_s=_number(given, "service_s", where, least=0.0),
        model=given["model"],
        engine=given.get("engine") or ENGINE,
        priority=int(priority),
        start_within_s=_number(given, "start_within_s", where, math.inf, least=0.0),
        complete_in_s=_number(given, "complete_in_s", where, math.inf, least=0.0),
        low_priority=WORDS[low],
    )


def _number(
    given: Mapping[str, str], name: str, where: str, default: float | None = None, *, least: float = -math.inf
) -> float:
    text = given.get(name, "")
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise TraceError(f"{where}: {name}: {text!r} is no number") from None
    if not math.isfinite(value) or value < least:
        raise TraceError(
            f"{where}: {name}: {text} must be {f'at least {least:g}' if least == 0 else 'finite'}"
        )
    return value
