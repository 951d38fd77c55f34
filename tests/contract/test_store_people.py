"""Users, subscriptions and keys: found, changed, and never left pointing at nothing."""

from dataclasses import replace

import pytest
import store_world
from store_world import BY, add_user, audit_of

from orchestrator.store import people
from orchestrator.store.errors import Duplicate, Missing

store = store_world.store
KEY = people.ApiKey("k1", "ann", "laptop", "submitter", "gpl_abcdefgh", "hash1", 1.0, scopes=("jobs:read",))


async def test_the_anonymous_admin_and_the_first_subscription_are_always_there(store):
    assert await store.get_user("") == people.ANONYMOUS
    assert await store.list_users() == []
    assert await store.list_subscriptions() == [people.Subscription(1, "Default")]


async def test_a_user_is_found_by_id_and_by_email_in_any_case(store):
    ann = await add_user(store, email="ann@example.org", password_hash="argon2…")
    await add_user(store, "bob")
    assert await store.get_user("ann") == ann
    for email in ("ann@example.org", "Ann@Example.ORG"):
        assert await store.find_user(email) == ann
    assert await store.get_user("nope") is None
    assert await store.find_user("nope@example.org") is None


async def test_an_email_is_kept_in_lower_case(store):
    await add_user(store, email="ANN@Example.org")
    assert (await store.find_user("ann@example.org")).email == "ann@example.org"
    changed = await store.change_user("ann", {"email": "Other@Example.org"}, by=None, now=1.0)
    assert changed.email == "other@example.org"
    assert await store.find_user("ann@example.org") is None


async def test_an_id_and_an_email_are_one_users_only(store):
    await add_user(store, email="ann@example.org")
    bob = await add_user(store, "bob", email="bob@example.org")
    with pytest.raises(Duplicate):
        await add_user(store)
    with pytest.raises(Duplicate):
        await add_user(store, "cat", email="Ann@example.org")
    with pytest.raises(Duplicate):
        await store.change_user("bob", {"email": "ann@example.org"}, by=BY, now=1.0)
    assert await store.get_user("bob") == bob
    assert await audit_of(store) == []


async def test_users_are_listed_page_by_page(store):
    made = [await add_user(store, name) for name in ("cat", "ann", "bob")]
    by_id = sorted(made, key=lambda one: one.id)
    assert await store.list_users(limit=2) == by_id[:2]
    assert await store.list_users(after="bob") == by_id[2:]


async def test_a_user_is_changed_in_the_named_fields_only(store):
    ann = await add_user(store, email="ann@example.org")
    wanted = {"role": "operator", "active": False, "session_version": 2, "webhook_rotated_at": 7.0}
    changed = await store.change_user("ann", wanted, by=None, now=3.0)
    assert changed == replace(ann, **wanted) == await store.get_user("ann")
    assert await store.change_user("nope", wanted, by=None, now=3.0) is None
    for field in ("id", "created_at", "colour"):
        with pytest.raises(ValueError, match=field):
            await store.change_user("ann", {field: "x"}, by=None, now=3.0)


async def test_a_subscription_is_made_and_replaced(store):
    asked = people.Subscription(0, "Gold", people.Quota(5, 2, 12.5), 3.0)
    gold = await store.put_subscription(asked, by=BY, now=1.0)
    assert gold == replace(asked, id=2)
    wider = replace(gold, quota=people.Quota(queued_max=9))
    assert await store.put_subscription(wider, by=BY, now=2.0) == wider
    assert await store.put_subscription(wider, by=BY, now=3.0) == wider
    assert await store.list_subscriptions() == [people.Subscription(1, "Default"), wider]
    assert [(one.target, one.at) for one in await audit_of(store)] == [("2", 1.0), ("2", 2.0)]
    with pytest.raises(Duplicate):
        await store.put_subscription(replace(gold, id=0), by=BY, now=4.0)
    await add_user(store, subscription_id=2)
    with pytest.raises(Missing):
        await store.change_user("ann", {"subscription_id": 9}, by=BY, now=5.0)
    with pytest.raises(Missing):
        await add_user(store, "bob", subscription_id=9)


async def test_keys_are_found_by_prefix(store):
    await add_user(store)
    twin = replace(KEY, id="k2", hash="hash2", created_at=0.5, revoked_at=3.0, expires_at=9.0, scopes=())
    other = replace(KEY, id="k3", prefix="other", hash="hash3", owner="")
    for key in (KEY, twin, other):
        await store.add_key(key)
    assert await store.find_keys(KEY.prefix) == [twin, KEY]
    assert await store.find_keys("nope") == []
    assert await store.list_keys() == [twin, KEY, other]
    assert await store.list_keys("ann") == [twin, KEY]
    assert await store.list_keys("nope") == []


async def test_a_key_is_somebodys_and_its_secret_is_its_own(store):
    with pytest.raises(Missing):
        await store.add_key(KEY, by=BY)
    await add_user(store)
    await store.add_key(KEY, by=BY)
    for taken in (replace(KEY, hash="hash9"), replace(KEY, id="k9")):
        with pytest.raises(Duplicate):
            await store.add_key(taken, by=BY)
    assert await store.list_keys() == [KEY]
    assert len(await audit_of(store)) == 1


async def test_a_key_is_changed_and_revoked(store):
    await add_user(store)
    await store.add_key(KEY)
    renamed = await store.change_key("k1", {"name": "desk", "scopes": ("fleet:read",)}, by=BY, now=2.0)
    assert renamed == replace(KEY, name="desk", scopes=("fleet:read",))
    revoked = await store.change_key("k1", {"revoked_at": 3.0}, by=BY, now=3.0)
    assert await store.find_keys(KEY.prefix) == [revoked] == [replace(renamed, revoked_at=3.0)]
    assert await store.change_key("nope", {"name": "x"}, by=BY, now=4.0) is None
    assert [one.what for one in await audit_of(store)] == ["key.change", "key.revoke"]


async def test_the_last_use_of_keys_only_goes_forward(store):
    await add_user(store)
    await store.add_key(KEY)
    await store.add_key(replace(KEY, id="k2", hash="hash2"))
    await store.touch_keys({"k1": 5.0, "k2": 6.0, "nope": 7.0})
    await store.touch_keys({"k1": 4.0, "k2": 8.0})
    await store.touch_keys({})
    assert [(one.id, one.last_used_at) for one in await store.list_keys()] == [("k1", 5.0), ("k2", 8.0)]
