"""Whatever is done to users, keys, projects, uploads and assets, SQLite answers as the model does."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from two_stores import TwoStores

from orchestrator.store import people
from orchestrator.store.errors import Duplicate, Missing
from orchestrator.store.protocol import Store

pytestmark = pytest.mark.slow

USERS = st.sampled_from(["", "ann", "bob", "cat"])
PROJECTS = st.sampled_from(["p1", "p2"])
NAMES = st.sampled_from(["one", "two"])
ROLES = st.sampled_from(["admin", "viewer"])
EMAILS = st.sampled_from([None, "ann@example.org", "Ann@Example.org", "bob@example.org"])
SUBSCRIPTIONS = st.integers(1, 3)
QUOTAS = st.builds(people.Quota, st.sampled_from([None, 0, 5]), usd_per_day_max=st.sampled_from([None, 2.5]))
BYS = st.sampled_from([None, people.By("user:ann", "k1", "127.0.0.1")])
KEY_CHANGES = st.dictionaries(
    st.sampled_from(["name", "expires_at", "revoked_at"]), st.sampled_from([1.0, 2.0]), max_size=2
)


class StoresAgreeOnPeople(TwoStores):
    answers = (Duplicate, Missing)

    def both(self, verb: Callable[[Store], Coroutine[Any, Any, Any]]) -> Any:
        """Time passes with every question."""
        answer = super().both(verb)
        self.now += 1.0
        return answer

    @rule(user_id=USERS, role=ROLES, email=EMAILS, subscription=SUBSCRIPTIONS, by=BYS)
    def add_user(self, user_id, role, email, subscription, by) -> None:
        user = people.User(user_id, user_id, role, self.now, email, subscription, password_hash="secret")
        self.both(lambda store: store.add_user(user, by=by))

    @rule(user_id=USERS, role=ROLES, email=EMAILS, subscription=SUBSCRIPTIONS, by=BYS)
    def change_user(self, user_id, role, email, subscription, by) -> None:
        wanted = {"role": role, "email": email, "subscription_id": subscription}
        self.both(lambda store: store.change_user(user_id, wanted, by=by, now=self.now))

    @rule(number=st.integers(0, 3), name=NAMES, quota=QUOTAS, by=BYS)
    def put_subscription(self, number, name, quota, by) -> None:
        wanted = people.Subscription(number, name, quota, 2.0)
        self.both(lambda store: store.put_subscription(wanted, by=by, now=self.now))

    @rule(key_id=NAMES, owner=USERS, digest=NAMES, by=BYS)
    def add_key(self, key_id, owner, digest, by) -> None:
        key = people.ApiKey(key_id, owner, "n", "viewer", digest[:2], digest, self.now, scopes=("a", "b"))
        self.both(lambda store: store.add_key(key, by=by))

    @rule(key_id=NAMES, changes=KEY_CHANGES, owner=USERS, by=BYS)
    def change_key(self, key_id, changes, owner, by) -> None:
        wanted = {name: str(value) if name == "name" else value for name, value in changes.items()}
        self.both(lambda store: store.change_key(key_id, wanted | {"owner": owner}, by=by, now=self.now))
        self.both(lambda store: store.touch_keys({key_id: self.now % 7, "nope": 1.0}))

    @rule(project_id=PROJECTS, owner=USERS, quota=QUOTAS, by=BYS)
    def add_project(self, project_id, owner, quota, by) -> None:
        project = people.Project(project_id, "n", owner, self.now, quota, {"a": [1]})
        self.both(lambda store: store.add_project(project, by=by))

    @rule(project_id=PROJECTS, owner=USERS, quota=QUOTAS, by=BYS)
    def change_project(self, project_id, owner, quota, by) -> None:
        wanted = {"owner": owner, "quota": quota}
        self.both(lambda store: store.change_project(project_id, wanted, by=by, now=self.now))

    @rule(project_id=PROJECTS, user_id=USERS, right=st.sampled_from(["read", "write"]), remove=st.booleans())
    def put_member(self, project_id, user_id, right, remove) -> None:
        member = people.Member(project_id, user_id, right)
        by = people.By("user:bob")
        self.both(lambda store: store.put_member(member, by=by, now=self.now, remove=remove))

    @rule(upload_id=NAMES, owner=USERS, by=BYS)
    def add_upload(self, upload_id, owner, by) -> None:
        times = (self.now, self.now + 20)
        upload = people.Upload(upload_id, owner, "a", f"up/{upload_id}", 0, "", "x/y", *times, parts_id="m")
        self.both(lambda store: store.add_upload(upload, by=by))

    @rule(upload_id=NAMES, remove=st.booleans(), by=BYS)
    def end_upload(self, upload_id, remove, by) -> None:
        if remove:
            self.both(lambda store: store.remove_upload(upload_id, by=by, now=self.now))
        else:
            self.both(
                lambda store: store.finish_upload(upload_id, size_bytes=1, sha256="0", now=self.now, by=by)
            )

    @rule(asset_id=NAMES, name=NAMES, owner=USERS, project=st.one_of(st.none(), PROJECTS), by=BYS)
    def add_asset(self, asset_id, name, owner, project, by) -> None:
        asset = people.Asset(asset_id, name, "blend", owner, project, self.now)
        version = people.AssetVersion("", 0, f"k/{self.now}", 1, "0", self.now, owner, {"cameras": 1})
        self.both(lambda store: store.add_asset_version(asset, version, by=by))

    @rule(asset_id=NAMES, by=BYS)
    def remove_asset(self, asset_id, by) -> None:
        self.both(lambda store: store.remove_asset(asset_id, by=by, now=self.now))

    @rule()
    def purge(self) -> None:
        self.both(lambda store: store.purge(finished_before=self.now, now=self.now))

    @invariant()
    def the_same_is_remembered(self) -> None:
        self.both(lambda store: store.list_users())
        self.both(lambda store: store.list_subscriptions())
        self.both(lambda store: store.list_keys())
        self.both(lambda store: store.list_projects())
        self.both(lambda store: store.list_uploads(None, before=None, limit=9))
        self.both(lambda store: store.list_assets(owner=None, projects=()))
        self.both(lambda store: store.list_audit(people.AuditFilter(), limit=1000))

    @invariant()
    def the_same_is_each_ones_own(self) -> None:
        self.both(lambda store: store.find_user("ANN@example.org"))
        self.both(lambda store: store.find_keys("on"))
        for name in ("one", "two"):
            self.both(lambda store, of=name: store.list_asset_versions(of))
            self.both(lambda store, of=name: store.find_asset(of, project_id=None, owner="ann"))
            self.both(lambda store, of=name: store.find_asset(of, project_id="p1", owner="ann"))
        for user_id in ("ann", "bob"):
            self.both(lambda store, of=user_id: store.list_keys(of))
            self.both(lambda store, of=user_id: store.memberships(of))
            self.both(lambda store, of=user_id: store.list_projects(of, after="p1"))
            self.both(lambda store, of=user_id: store.list_assets(owner=of, projects=("p2",)))
            self.both(lambda store, of=user_id: store.list_uploads(of, before=(99.0, "one"), limit=1))
        self.both(lambda store: store.list_members("p1"))


TestStoresAgreeOnPeople = StoresAgreeOnPeople.TestCase
TestStoresAgreeOnPeople.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
