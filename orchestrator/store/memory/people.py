"""The model's users, subscriptions, keys, projects, and the audit of what changes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.store import changes as words
from orchestrator.store.changes import Change, plain, shown
from orchestrator.store.errors import Duplicate, Missing
from orchestrator.store.memory.world import Model
from orchestrator.store.people import (
    ApiKey,
    Audit,
    AuditFilter,
    By,
    Member,
    Project,
    Subscription,
    User,
)


class PeopleVerbs(Model):
    # Users and subscriptions

    async def add_user(self, user: User, *, by: By | None = None) -> None:
        user = words.lowered(user)
        if user.id in self.world.users:
            raise Duplicate("a user with this id or this email is there already")
        self._check_user(user)
        self.world.users[user.id] = user
        self.audit(by, Change("user.add", user.id, user.created_at, after=shown(user)))

    async def get_user(self, user_id: str) -> User | None:
        return self.world.users.get(user_id)

    async def find_user(self, email: str) -> User | None:
        return next((one for one in self.world.users.values() if one.email == email.lower()), None)

    async def list_users(self, *, after: str | None = None, limit: int = 100) -> list[User]:
        return [one for name, one in sorted(self.world.users.items()) if name > (after or "")][:limit]

    async def change_user(
        self, user_id: str, changes: Mapping[str, Any], *, by: By | None, now: float
    ) -> User | None:
        before = self.world.users.get(user_id)
        if before is None:
            return None
        after = words.lowered(words.changed(before, changes))
        if after != before:
            self._check_user(after)
            self.world.users[user_id] = after
            self.audit(by, Change("user.change", user_id, now, shown(before), shown(after)))
        return after

    async def put_subscription(
        self, subscription: Subscription, *, by: By | None, now: float
    ) -> Subscription:
        known = self.world.subscriptions
        after = subscription if subscription.id else replace(subscription, id=max(known) + 1)
        if any(one.name == after.name and one.id != after.id for one in known.values()):
            raise Duplicate("a subscription of this name is there already")
        before = known.get(after.id)
        if after != before:
            known[after.id] = after
            row = Change("subscription.put", str(after.id), now, shown(before), shown(after))
            self.audit(by, row)
        return after

    async def list_subscriptions(self) -> list[Subscription]:
        return [one for _, one in sorted(self.world.subscriptions.items())]

    def _check_user(self, user: User) -> None:
        others = [one for one in self.world.users.values() if one.id != user.id]
        if user.email and any(one.email == user.email for one in others):
            raise Duplicate("a user with this id or this email is there already")
        if user.subscription_id not in self.world.subscriptions:
            raise Missing("it names something that is not there")

    # Keys

    async def add_key(self, key: ApiKey, *, by: By | None = None) -> None:
        if key.id in self.world.keys:
            raise Duplicate("a key with this id or this secret is there already")
        self._check_key(key)
        self.world.keys[key.id] = key
        self.audit(by, Change("key.add", key.id, key.created_at, after=shown(key)))

    async def find_keys(self, prefix: str) -> list[ApiKey]:
        return [one for one in await self.list_keys() if one.prefix == prefix]

    async def list_keys(self, owner: str | None = None) -> list[ApiKey]:
        found = [one for one in self.world.keys.values() if owner in (None, one.owner)]
        return sorted(found, key=lambda one: (one.created_at, one.id))

    async def change_key(
        self, key_id: str, changes: Mapping[str, Any], *, by: By | None, now: float
    ) -> ApiKey | None:
        before = self.world.keys.get(key_id)
        if before is None:
            return None
        after = words.changed(before, changes)
        if after != before:
            self._check_key(after)
            self.world.keys[key_id] = after
            self.audit(by, words.key_changed(before, after, now))
        return after

    async def touch_keys(self, used: Mapping[str, float]) -> None:
        for key_id, at in used.items():
            key = self.world.keys.get(key_id)
            if key is not None and (key.last_used_at is None or key.last_used_at < at):
                self.world.keys[key_id] = replace(key, last_used_at=at)

    def _check_key(self, key: ApiKey) -> None:
        if any(one.hash == key.hash and one.id != key.id for one in self.world.keys.values()):
            raise Duplicate("a key with this id or this secret is there already")
        self._need_user(key.owner)

    def _need_user(self, user_id: str) -> None:
        if user_id not in self.world.users:
            raise Missing("it names something that is not there")

    # Projects

    async def add_project(self, project: Project, *, by: By | None = None) -> None:
        if project.id in self.world.projects:
            raise Duplicate("a project with this id is there already")
        self._need_user(project.owner)
        self.world.projects[project.id] = project
        self.world.members[project.id, project.owner] = Member(project.id, project.owner, "write")
        self.audit(by, Change("project.add", project.id, project.created_at, after=shown(project)))

    async def get_project(self, project_id: str) -> Project | None:
        return self.world.projects.get(project_id)

    async def list_projects(
        self, member: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> list[Project]:
        found = [
            one
            for name, one in sorted(self.world.projects.items())
            if name > (after or "") and (member is None or (name, member) in self.world.members)
        ]
        return found[:limit]

    async def change_project(
        self, project_id: str, changes: Mapping[str, Any], *, by: By | None, now: float
    ) -> Project | None:
        before = self.world.projects.get(project_id)
        if before is None:
            return None
        after = words.changed(before, changes)
        if after != before:
            self._need_user(after.owner)
            self.world.projects[project_id] = after
            self.audit(by, Change("project.change", project_id, now, shown(before), shown(after)))
        return after

    async def list_members(self, project_id: str) -> list[Member]:
        return [one for key, one in sorted(self.world.members.items()) if key[0] == project_id]

    async def memberships(self, user_id: str) -> list[Member]:
        return [one for key, one in sorted(self.world.members.items()) if key[1] == user_id]

    async def put_member(self, member: Member, *, by: By | None, now: float, remove: bool = False) -> bool:
        key = (member.project_id, member.user_id)
        before = self.world.members.get(key)
        if remove:
            if before is None:
                return False
            del self.world.members[key]
        else:
            if member.project_id not in self.world.projects or member.user_id not in self.world.users:
                return False
            self.world.members[key] = member
        if remove or member != before:
            self.audit(by, words.member_put(before, member, now, remove=remove))
        return True

    # Audit

    async def record_audit(  # noqa: PLR0913
        self,
        what: str,
        target: str,
        *,
        by: By,
        now: float,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        self.audit(by, Change(what, target, now, plain(before), plain(after)))

    async def list_audit(self, which: AuditFilter, *, after: int = 0, limit: int = 100) -> list[Audit]:
        return [one for one in self.world.audit if one.id > after and _matches(one, which)][:limit]


def _matches(one: Audit, which: AuditFilter) -> bool:
    return (
        which.who in (None, one.who)
        and which.what in (None, one.what)
        and which.target in (None, one.target)
        and (which.since is None or one.at >= which.since)
        and (which.until is None or one.at < which.until)
    )
