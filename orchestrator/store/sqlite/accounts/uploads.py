"""Files that somebody sent, or is sending."""

from dataclasses import asdict, dataclass, replace

from sqlite_utils import Database

from orchestrator.store.changes import Change, shown
from orchestrator.store.people import By, Upload
from orchestrator.store.sqlite.accounts import audit
from orchestrator.store.sqlite.accounts.writing import write

_ADD = """
    INSERT INTO uploads VALUES (:id, :owner, :name, :key, :size_bytes, :sha256, :content_type, :created_at,
        :expires_at, :stored_at, :parts_id)
"""
_FINISH = """
    UPDATE uploads SET size_bytes = :size_bytes, sha256 = :sha256, stored_at = :stored_at, parts_id = NULL
    WHERE id = :id
"""
_LISTED = "SELECT * FROM uploads WHERE {} ORDER BY created_at DESC, id DESC LIMIT :limit"
_CONDITIONS = {"owner": "owner = :owner", "before_at": "(created_at, id) < (:before_at, :before_id)"}


@dataclass(frozen=True, slots=True)
class Found:
    """What the storage has, once all of it is there."""

    id: str
    size_bytes: int
    sha256: str
    at: float


def add(database: Database, upload: Upload, by: By | None) -> None:
    write(database, _ADD, asdict(upload), "an upload with this id is there already")
    audit.record(database, by, Change("upload.add", upload.id, upload.created_at, after=shown(upload)))


def get(database: Database, upload_id: str) -> Upload | None:
    row = database.execute("SELECT * FROM uploads WHERE id = ?", (upload_id,)).fetchone()
    return Upload(**dict(row)) if row is not None else None


def listed(
    database: Database, owner: str | None, before: tuple[float, str] | None, limit: int
) -> list[Upload]:
    before_at, before_id = before or (None, None)
    asked = {"owner": owner, "before_at": before_at, "before_id": before_id, "limit": limit}
    where = " AND ".join(text for name, text in _CONDITIONS.items() if asked[name] is not None) or "TRUE"
    return [Upload(**dict(row)) for row in database.execute(_LISTED.format(where), asked).fetchall()]


def finish(database: Database, found: Found, by: By | None) -> Upload | None:
    before = get(database, found.id)
    if before is None or before.stored_at is not None:
        return before
    after = replace(
        before, size_bytes=found.size_bytes, sha256=found.sha256, stored_at=found.at, parts_id=None
    )
    database.execute(_FINISH, asdict(after))
    audit.record(database, by, Change("upload.finish", after.id, found.at, shown(before), shown(after)))
    return after


def remove(database: Database, upload_id: str, by: By | None, now: float) -> Upload | None:
    before = get(database, upload_id)
    if before is not None:
        database.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
        audit.record(database, by, Change("upload.remove", upload_id, now, before=shown(before)))
    return before
