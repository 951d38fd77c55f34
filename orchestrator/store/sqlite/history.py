"""What is remembered of attempts and boots after they end: busy seconds, durations, the last finish."""

from sqlite_utils import Database

from gpulease.contract.jobs import Result
from orchestrator.store import rules
from orchestrator.store.rows import Attempt, BootTime, ServiceTime
from scaling.snapshot import Need

_ADD_BUSY = "UPDATE leases SET busy_s = busy_s + ? WHERE worker_id = ?"
_ADD_SPENT = """
    INSERT INTO spending (owner, project, held_from, held_until, usd_per_hour)
    SELECT j.owner, j.project, a.started_at, ?, w.usd_per_hour
    FROM attempts a JOIN jobs j ON j.pk = a.job_pk JOIN workers w ON w.id = a.worker_id
    WHERE a.id = ? AND w.usd_per_hour > 0
"""
_FINISHED = "UPDATE workers SET last_finish_at = ? WHERE id = ?"
_ADD_SERVICE = """
    INSERT INTO service_times (engine, model, gpu_class, seconds)
    SELECT ?, ?, gpu_class, ? FROM workers WHERE id = ?
    RETURNING engine, model, gpu_class
"""
_TRIM_SERVICE = """
    DELETE FROM service_times WHERE engine = :engine AND model = :model AND gpu_class = :gpu_class AND id <= (
        SELECT id FROM service_times WHERE engine = :engine AND model = :model AND gpu_class = :gpu_class
        ORDER BY id DESC LIMIT 1 OFFSET :most)
"""
_ADD_LOAD = _ADD_SERVICE.replace("service_times", "load_times")
_TRIM_LOAD = _TRIM_SERVICE.replace("service_times", "load_times")
_ADD_BOOT = "INSERT INTO boot_times (provider, gpu_class, seconds) VALUES (?, ?, ?)"
_TRIM_BOOT = """
    DELETE FROM boot_times WHERE provider = :provider AND gpu_class = :gpu_class AND id <= (
        SELECT id FROM boot_times WHERE provider = :provider AND gpu_class = :gpu_class
        ORDER BY id DESC LIMIT 1 OFFSET :most)
"""


def slot_freed(database: Database, attempt: Attempt, now: float) -> None:
    """The attempt let go of its slot; it may still be uploading."""
    database.execute(_ADD_BUSY, (rules.slot_s(attempt, now), attempt.worker_id))
    database.execute(_ADD_SPENT, (now, attempt.id))
    database.execute(_FINISHED, (now, attempt.worker_id))


def attempt_ended(database: Database, attempt: Attempt, now: float) -> None:
    if attempt.slot_freed_at is None:
        slot_freed(database, attempt, now)
    else:
        database.execute(_FINISHED, (now, attempt.worker_id))


def count_job(database: Database, worker_id: str) -> None:
    database.execute("UPDATE workers SET jobs_done = jobs_done + 1 WHERE id = ?", (worker_id,))


def service_took(database: Database, need: Need, attempt: Attempt, result: Result | None) -> None:
    """Loading the model, where its worker told of it, is learned apart."""
    seconds = rules.slot_s(attempt, attempt.ended_at or attempt.reported_at)
    load_s = rules.load_s(result, seconds)
    kind = (need.engine, need.model or "")
    added = (*kind, seconds - (load_s or 0.0), attempt.worker_id)
    row = database.execute(_ADD_SERVICE, added).fetchone()
    if row is not None:
        database.execute(_TRIM_SERVICE, {**dict(row), "most": rules.SERVICE_TIMES_MAX})
    if row is not None and load_s is not None:
        database.execute(_ADD_LOAD, (*kind, load_s, attempt.worker_id)).fetchone()
        database.execute(_TRIM_LOAD, {**dict(row), "most": rules.LOAD_TIMES_MAX})


def boot_took(database: Database, provider: str, gpu_class: str, seconds: float) -> None:
    database.execute(_ADD_BOOT, (provider, gpu_class, seconds))
    kind = {"provider": provider, "gpu_class": gpu_class}
    database.execute(_TRIM_BOOT, {**kind, "most": rules.BOOT_TIMES_MAX})


def service_times(database: Database) -> tuple[ServiceTime, ...]:
    """Newest first, by engine, model and GPU class."""
    return _times(database, "SELECT * FROM service_times ORDER BY engine, model, gpu_class, id DESC")


def load_times(database: Database) -> tuple[ServiceTime, ...]:
    return _times(database, "SELECT * FROM load_times ORDER BY engine, model, gpu_class, id DESC")


def _times(database: Database, query: str) -> tuple[ServiceTime, ...]:
    kinds: dict[tuple[str, str, str], list[float]] = {}
    for row in database.execute(query):
        kinds.setdefault((row["engine"], row["model"], row["gpu_class"]), []).append(row["seconds"])
    return tuple(ServiceTime(*kind, tuple(seconds)) for kind, seconds in kinds.items())


def boot_times(database: Database) -> tuple[BootTime, ...]:
    kinds: dict[tuple[str, str], list[float]] = {}
    for row in database.execute("SELECT * FROM boot_times ORDER BY provider, gpu_class, id DESC"):
        kinds.setdefault((row["provider"], row["gpu_class"]), []).append(row["seconds"])
    return tuple(BootTime(*kind, tuple(seconds)) for kind, seconds in kinds.items())
