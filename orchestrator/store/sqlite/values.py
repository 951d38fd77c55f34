"""Rows of the database to values and back. JSON columns are ASCII, so that any text a client sends fits."""

import json
import sqlite3
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from gpulease.contract.jobs import Fault, Phase, Result
from orchestrator.store import rows
from scaling.snapshot import Capability, Need
from scaling.states import AttemptState, JobState, WorkerState

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_INTEGER_MAX = 2**63 - 1
_NEED_DEFAULTS = {one.name: one.default for one in fields(Need)}


def integer(value: int) -> int:
    """The nearest that SQLite can compare with: nothing has an id beyond."""
    return max(-_INTEGER_MAX, min(value, _INTEGER_MAX))


def to_json(value: Any) -> str:
    return _ENCODER.encode(value)


@lru_cache(maxsize=4096)
def need_text(need: Need) -> str:
    """Canonical: two needs are equal if and only if their texts are, also after Need grows a field."""
    named = {name: value for name, value in asdict(need).items() if value != _NEED_DEFAULTS[name]}
    exact = {name: _as_declared(value, _NEED_DEFAULTS[name]) for name, value in named.items()}
    return json.dumps(exact, separators=(",", ":"), sort_keys=True)


def _as_declared(value: Any, default: Any) -> Any:
    """600 and 600.0 are equal, and must not be written in two ways."""
    return float(value) if type(value) is int and type(default) is not int else value


@lru_cache(maxsize=4096)
def need_from(text: str) -> Need:
    named: dict[str, Any] = json.loads(text)
    return Need(**{name: _frozen(one) for name, one in named.items()})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def capabilities_text(capabilities: tuple[Capability, ...]) -> str:
    return to_json([[one.engine, one.backend, one.models, one.features] for one in capabilities])


@lru_cache(maxsize=1024)
def _capabilities_from(text: str) -> tuple[Capability, ...]:
    return tuple(
        Capability(engine, backend, tuple(models), tuple(features))
        for engine, backend, models, features in json.loads(text)
    )


def fault_text(fault: Fault | None) -> str | None:
    return to_json(fault.model_dump(mode="json")) if fault else None


def result_text(result: Result | None) -> str | None:
    return to_json(result.model_dump(mode="json")) if result else None


def _fault_from(text: str | None) -> Fault | None:
    return Fault.model_validate_json(text) if text else None


def job_from(row: sqlite3.Row) -> rows.Job:
    return rows.Job(
        id=row["id"],
        need=need_from(row["need"]),
        input=json.loads(row["input"]),
        state=JobState(row["state"]),
        created_at=row["created_at"],
        complete_by=row["complete_by"],
        max_time_s=row["max_time_s"],
        retries=row["retries"],
        start_by=row["start_by"],
        notify_url=row["notify_url"],
        metadata=json.loads(row["metadata"]),
        retry_of=row["retry_of"],
        attempt_id=row["attempt_id"],
        attempts=row["attempts"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        result=Result.model_validate_json(row["result"]) if row["result"] else None,
        fault=_fault_from(row["fault"]),
    )


def attempt_from(row: sqlite3.Row, job_id: str) -> rows.Attempt:
    return rows.Attempt(
        id=row["id"],
        job_id=job_id,
        number=row["number"],
        worker_id=row["worker_id"],
        incarnation=row["incarnation"],
        nonce=row["nonce"],
        state=AttemptState(row["state"]),
        phase=Phase(row["phase"]),
        progress=row["progress"],
        started_at=row["started_at"],
        reported_at=row["reported_at"],
        message=row["message"],
        slot_freed_at=row["slot_freed_at"],
        ended_at=row["ended_at"],
        fault=_fault_from(row["fault"]),
        loads=bool(row["loads"]),
    )


def worker_from(row: sqlite3.Row) -> rows.Worker:
    named = {name: row[name] for name in _WORKER_PLAIN}
    return rows.Worker(
        **named,
        state=WorkerState(row["state"]),
        boot_billed=bool(row["boot_billed"]),
        paused=bool(row["paused"]),
        owned=bool(row["owned"]),
        capabilities=_capabilities_from(row["capabilities"]),
        resident=tuple(json.loads(row["resident"])),
        queues=tuple(json.loads(row["queues"])),
    )


_WORKER_PLAIN = tuple(
    one.name
    for one in fields(rows.Worker)
    if one.name not in {"state", "boot_billed", "paused", "owned", "capabilities", "resident", "queues"}
)


def event_from(row: sqlite3.Row) -> rows.Event:
    return rows.Event(
        id=row["id"],
        at=row["at"],
        kind=row["kind"],
        who=row["who"],
        job_id=row["job_id"],
        worker_id=row["worker_id"],
        seq=row["seq"],
        before=row["before"],
        after=row["after"],
        reason=row["reason"],
        data=json.loads(row["data"]),
    )
