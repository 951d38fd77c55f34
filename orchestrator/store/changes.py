"""The audit rows that changes write, worded alike in every store. Hashes of passwords and keys are left out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from orchestrator.store import people, rows

FIXED = frozenset({"id", "created_at"})
SECRET = frozenset({"password_hash", "hash"})
Row = TypeVar("Row", people.User, people.ApiKey, people.Project)
Shown = (
    people.User
    | people.Subscription
    | people.ApiKey
    | people.Project
    | people.Member
    | people.Upload
    | people.Asset
    | people.AssetVersion
)


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb did, to what, and when."""

    what: str
    target: str
    at: float
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None

    def by(self, who: people.By, number: int) -> people.Audit:
        return people.Audit(
            number, self.at, who.who, who.key_id, who.origin, self.what, self.target, self.before, self.after
        )


def shown(row: Shown | None) -> dict[str, Any] | None:
    """As it is kept: plain JSON, and nothing secret."""
    return plain({name: value for name, value in asdict(row).items() if name not in SECRET}) if row else None


def plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    copied: dict[str, Any] = json.loads(json.dumps(dict(value)))
    return copied


def changed(row: Row, changes: Mapping[str, Any]) -> Row:
    """The row with these fields set.

    Raises:
        ValueError: for a field that it has not, or that never changes.
    """
    known = {one.name for one in fields(row)} - FIXED
    if unknown := changes.keys() - known:
        raise ValueError(f"no field that can be changed: {', '.join(sorted(unknown))}")
    return replace(row, **changes)


def lowered(user: people.User) -> people.User:
    return replace(user, email=user.email.lower()) if user.email else user


def key_changed(before: people.ApiKey, after: people.ApiKey, now: float) -> Change:
    revoked = before.revoked_at is None and after.revoked_at is not None
    return Change("key.revoke" if revoked else "key.change", after.id, now, shown(before), shown(after))


def member_put(before: people.Member | None, after: people.Member, now: float, *, remove: bool) -> Change:
    what = "member.remove" if remove else "member.put"
    return Change(what, after.project_id, now, shown(before), None if remove else shown(after))


def asset_added(asset: people.Asset, version: people.AssetVersion) -> Change:
    after = {"asset": shown(asset), "version": shown(version)}
    return Change("asset.add", asset.id, version.created_at, after=after)


def asset_removed(asset: people.Asset, versions: int, now: float) -> Change:
    return Change("asset.remove", asset.id, now, before={"asset": shown(asset), "versions": versions})


def submitted(jobs: Sequence[rows.Job]) -> Change:
    """One row for a call, however many jobs it made."""
    first = jobs[0]
    after: dict[str, Any] = {"engine": first.need.engine} if len(jobs) == 1 else {"jobs": len(jobs)}
    return Change("job.submit", first.id, first.created_at, after=after)


def cancelled(before: rows.Job, after: rows.Job, now: float) -> Change:
    code = after.fault.code if after.fault else None
    return Change(
        "job.cancel", after.id, now, {"state": before.state.value}, {"state": after.state.value, "code": code}
    )


def forgotten(job: rows.Job, now: float) -> Change:
    before = {"state": job.state.value, "engine": job.need.engine, "owner": job.need.owner}
    return Change("job.forget", job.id, now, before=before)


def replayed(before: rows.Delivery, after: rows.Delivery, now: float) -> Change:
    """Without its URL and its errors, which may tell a secret of its receiver."""
    was, is_now = (
        {"job_id": one.job_id, "tries": one.tries, "done_at": one.done_at} for one in (before, after)
    )
    return Change("delivery.replay", str(after.id), now, was, is_now)


def setting_written(name: str, before: Any, after: Any, now: float) -> Change:
    return Change("setting.write", name, now, plain({"value": before}), plain({"value": after}))


def paused(worker_id: str, now: float, *, on: bool) -> Change:
    what = "worker.pause" if on else "worker.resume"
    return Change(what, worker_id, now, {"paused": not on}, {"paused": on})
