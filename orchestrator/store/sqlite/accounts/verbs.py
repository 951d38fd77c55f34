"""The verbs about people and what is theirs: which of them write, which read."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.store import people
from orchestrator.store.changes import Change, plain
from orchestrator.store.sqlite.accounts import aliases, assets, audit, keys, projects, uploads, users
from orchestrator.store.sqlite.connection.readers import Readers
from orchestrator.store.sqlite.connection.writer import Writer


class SqliteAccounts:
    """See `orchestrator.store.accounts.Accounts`."""

    _writer: Writer
    _readers: Readers

    # Users and subscriptions

    async def add_user(self, user: people.User, *, by: people.By | None = None) -> None:
        await self._writer.do_durably(users.add, user, by)

    async def get_user(self, user_id: str) -> people.User | None:
        return self._readers.point(users.get, user_id)

    async def find_user(self, email: str) -> people.User | None:
        return self._readers.point(users.find, email)

    async def list_users(self, *, after: str | None = None, limit: int = 100) -> list[people.User]:
        return await self._readers.do(users.listed, after, limit)

    async def change_user(
        self, user_id: str, changes: Mapping[str, Any], *, by: people.By | None, now: float
    ) -> people.User | None:
        return await self._writer.do_durably(users.change, user_id, changes, by, now)

    async def put_subscription(
        self, subscription: people.Subscription, *, by: people.By | None, now: float
    ) -> people.Subscription:
        return await self._writer.do_durably(users.put_subscription, subscription, by, now)

    async def list_subscriptions(self) -> list[people.Subscription]:
        return self._readers.point(users.subscriptions)

    # Keys

    async def add_key(self, key: people.ApiKey, *, by: people.By | None = None) -> None:
        await self._writer.do_durably(keys.add, key, by)

    async def find_keys(self, prefix: str) -> list[people.ApiKey]:
        return self._readers.point(keys.with_prefix, prefix)

    async def list_keys(self, owner: str | None = None) -> list[people.ApiKey]:
        return self._readers.point(keys.listed, owner)

    async def change_key(
        self, key_id: str, changes: Mapping[str, Any], *, by: people.By | None, now: float
    ) -> people.ApiKey | None:
        return await self._writer.do_durably(keys.change, key_id, changes, by, now)

    async def touch_keys(self, used: Mapping[str, float]) -> None:
        await self._writer.do(keys.touch, used)

    # Projects

    async def add_project(self, project: people.Project, *, by: people.By | None = None) -> None:
        await self._writer.do_durably(projects.add, project, by)

    async def get_project(self, project_id: str) -> people.Project | None:
        return self._readers.point(projects.get, project_id)

    async def list_projects(
        self, member: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> list[people.Project]:
        return await self._readers.do(projects.listed, member, after, limit)

    async def change_project(
        self, project_id: str, changes: Mapping[str, Any], *, by: people.By | None, now: float
    ) -> people.Project | None:
        return await self._writer.do_durably(projects.change, project_id, changes, by, now)

    async def list_members(self, project_id: str) -> list[people.Member]:
        return await self._readers.do(projects.members, project_id)

    async def memberships(self, user_id: str) -> list[people.Member]:
        return self._readers.point(projects.memberships, user_id)

    async def put_member(
        self, member: people.Member, *, by: people.By | None, now: float, remove: bool = False
    ) -> bool:
        return await self._writer.do_durably(projects.put_member, member, by, now, remove=remove)

    # Ids of other systems

    async def alias(self, surface: str, kind: str, target: str, owner: str) -> int:
        known = self._readers.point(aliases.known, surface, kind, target)
        if known is not None:
            return known
        return await self._writer.do_durably(aliases.give, surface, kind, target, owner)

    async def aliases(self, surface: str, kind: str, targets: Sequence[str]) -> dict[str, int]:
        return self._readers.point(aliases.of_targets, surface, kind, targets)

    async def resolve_alias(self, surface: str, kind: str, number: int) -> str | None:
        return self._readers.point(aliases.resolve, surface, kind, number)

    # Uploads and assets

    async def add_upload(self, upload: people.Upload, *, by: people.By | None = None) -> None:
        await self._writer.do_durably(uploads.add, upload, by)

    async def get_upload(self, upload_id: str) -> people.Upload | None:
        return self._readers.point(uploads.get, upload_id)

    async def list_uploads(
        self, owner: str | None, *, before: tuple[float, str] | None, limit: int
    ) -> list[people.Upload]:
        return await self._readers.do(uploads.listed, owner, before, limit)

    async def finish_upload(
        self, upload_id: str, *, size_bytes: int, sha256: str, now: float, by: people.By | None
    ) -> people.Upload | None:
        found = uploads.Found(upload_id, size_bytes, sha256, now)
        return await self._writer.do_durably(uploads.finish, found, by)

    async def remove_upload(
        self, upload_id: str, *, by: people.By | None, now: float
    ) -> people.Upload | None:
        return await self._writer.do_durably(uploads.remove, upload_id, by, now)

    async def add_asset_version(
        self, asset: people.Asset, version: people.AssetVersion, *, by: people.By | None
    ) -> tuple[people.Asset, people.AssetVersion]:
        return await self._writer.do_durably(assets.add_version, asset, version, by)

    async def get_asset(self, asset_id: str) -> people.Asset | None:
        return self._readers.point(assets.get, asset_id)

    async def find_asset(self, name: str, *, project_id: str | None, owner: str) -> people.Asset | None:
        return self._readers.point(assets.find, name, project_id, owner)

    async def list_assets(
        self, *, owner: str | None, projects: Sequence[str], after: str | None = None, limit: int = 100
    ) -> list[people.Asset]:
        return await self._readers.do(assets.listed, owner, projects, after, limit)

    async def list_asset_versions(self, asset_id: str) -> list[people.AssetVersion]:
        return await self._readers.do(assets.versions, asset_id)

    async def remove_asset(self, asset_id: str, *, by: people.By | None, now: float) -> list[str]:
        return await self._writer.do_durably(assets.remove, asset_id, by, now)

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
        change = Change(what, target, now, plain(before), plain(after))
        await self._writer.do_durably(audit.record, by, change)

    async def list_audit(
        self, which: people.AuditFilter, *, after: int = 0, limit: int = 100
    ) -> list[people.Audit]:
        return await self._readers.do(audit.listed, which, after, limit)
