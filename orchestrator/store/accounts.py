"""The store's verbs about people and what is theirs. Part of `Store`, and under the same rules.

`by` is whose doing it is: where it is given, one audit row is written in the same transaction, with the object before
and after, without hashes of passwords and keys. It is None only where nobody asked: at a start, or in a loop.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orchestrator.store import people


class Accounts(Protocol):
    # Users and subscriptions

    async def add_user(self, user: people.User, *, by: people.By | None = None) -> None:
        """Raises `Duplicate` for an id or an email that is taken."""
        ...

    async def get_user(self, user_id: str) -> people.User | None: ...

    async def find_user(self, email: str) -> people.User | None:
        """By email, in any case of letters."""
        ...

    async def list_users(self, *, after: str | None = None, limit: int = 100) -> list[people.User]:
        """Ordered by id, without the anonymous one, whose id is empty."""
        ...

    async def change_user(
        self, user_id: str, changes: Mapping[str, Any], *, by: people.By | None, now: float
    ) -> people.User | None:
        """Sets the named fields (not id, not created_at), and returns the user as it is now."""
        ...

    async def put_subscription(
        self, subscription: people.Subscription, *, by: people.By | None, now: float
    ) -> people.Subscription:
        """Makes or replaces it; an id of 0 takes the next number."""
        ...

    async def list_subscriptions(self) -> list[people.Subscription]:
        """By number. Number 1, `Default`, without bounds, is always there."""
        ...

    # Keys

    async def add_key(self, key: people.ApiKey, *, by: people.By | None = None) -> None: ...

    async def find_keys(self, prefix: str) -> list[people.ApiKey]:
        """All with that prefix, revoked and expired ones too, so that a refusal can say so."""
        ...

    async def list_keys(self, owner: str | None = None) -> list[people.ApiKey]: ...

    async def change_key(
        self, key_id: str, changes: Mapping[str, Any], *, by: people.By | None, now: float
    ) -> people.ApiKey | None: ...

    async def touch_keys(self, used: Mapping[str, float]) -> None:
        """Notes when keys were last used, many at once; an earlier time changes nothing."""
        ...

    # Projects

    async def add_project(self, project: people.Project, *, by: people.By | None = None) -> None:
        """Its owner becomes a member who may write."""
        ...

    async def get_project(self, project_id: str) -> people.Project | None: ...

    async def list_projects(
        self, member: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> list[people.Project]:
        """Ordered by id; those that `member` is in, or all."""
        ...

    async def change_project(
        self, project_id: str, changes: Mapping[str, Any], *, by: people.By | None, now: float
    ) -> people.Project | None: ...

    async def list_members(self, project_id: str) -> list[people.Member]: ...

    async def memberships(self, user_id: str) -> list[people.Member]: ...

    async def put_member(
        self, member: people.Member, *, by: people.By | None, now: float, remove: bool = False
    ) -> bool:
        """False where there is no such project or user, or nobody to remove."""
        ...

    # Ids of other systems

    async def alias(self, surface: str, kind: str, target: str, owner: str) -> int:
        """The integer by which a surface knows something of ours; the next free one if it has none yet."""
        ...

    async def aliases(self, surface: str, kind: str, targets: Sequence[str]) -> dict[str, int]:
        """Those that exist, by target."""
        ...

    async def resolve_alias(self, surface: str, kind: str, number: int) -> str | None: ...

    # Uploads and assets

    async def add_upload(self, upload: people.Upload, *, by: people.By | None = None) -> None: ...

    async def get_upload(self, upload_id: str) -> people.Upload | None: ...

    async def list_uploads(
        self, owner: str | None, *, before: tuple[float, str] | None, limit: int
    ) -> list[people.Upload]:
        """Newest first by (created_at, id)."""
        ...

    async def finish_upload(
        self, upload_id: str, *, size_bytes: int, sha256: str, now: float, by: people.By | None
    ) -> people.Upload | None:
        """It is stored now. A second time changes nothing."""
        ...

    async def remove_upload(
        self, upload_id: str, *, by: people.By | None, now: float
    ) -> people.Upload | None: ...

    async def add_asset_version(
        self, asset: people.Asset, version: people.AssetVersion, *, by: people.By | None
    ) -> tuple[people.Asset, people.AssetVersion]:
        """The next version of the asset of that name in that project (or of that owner), which is made if it is
        new; `version.number` is given here, and the asset's id stays the first one's.
        """
        ...

    async def get_asset(self, asset_id: str) -> people.Asset | None: ...

    async def find_asset(self, name: str, *, project_id: str | None, owner: str) -> people.Asset | None: ...

    async def list_assets(
        self, *, owner: str | None, projects: Sequence[str], after: str | None = None, limit: int = 100
    ) -> list[people.Asset]:
        """By id: that owner's own and those of the projects; with owner None, all."""
        ...

    async def list_asset_versions(self, asset_id: str) -> list[people.AssetVersion]:
        """Newest first."""
        ...

    async def remove_asset(self, asset_id: str, *, by: people.By | None, now: float) -> list[str]:
        """Returns the storage keys of its versions, which nothing names any more."""
        ...

    # Audit

    async def record_audit(  # noqa: PLR0913
        self,
        what: str,
        target: str,
        *,
        by: people.By,
        now: float,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """For a change that no verb of the store makes, such as a refused login."""
        ...

    async def list_audit(
        self, which: people.AuditFilter, *, after: int = 0, limit: int = 100
    ) -> list[people.Audit]:
        """Oldest first, those with an id above `after`."""
        ...
