"""API keys: made, found, narrowed, rotated, revoked; and those that settings name."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from access_bench import keyed, newcomer

from gpulease.contract.problems import ProblemError
from orchestrator.access.callers import Caller
from orchestrator.access.configured import anyone_may_come, ensure_keys, first_admin_key
from orchestrator.access.issue import (
    NewKey,
    check_grant,
    create_key,
    find_key,
    revoke_key,
    rotate_key,
    usable,
)
from orchestrator.keys import hash_key, made_here, new_secret, prefix_of, read_secret
from orchestrator.settings import Settings, SettingsError
from orchestrator.store.people import ApiKey, AuditFilter, By, User

BY = By("user:root", "k1", "192.0.2.1")


def with_settings(tmp_path, **given):
    return Settings(data=tmp_path, _env_file=None, **given)


def test_a_secret_has_public_letters_and_256_bits_that_are_not():
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert re.fullmatch(r"gpl_[a-z0-9]{8}[\w-]{43}", secret)
        assert prefix_of(secret) == secret[:12]
        assert made_here(secret)


@pytest.mark.parametrize("chosen", ["a-token-of-another-system", "gpl_short", "gpl_" + "A" * 51])
def test_of_a_chosen_secret_nothing_can_be_read_in_the_prefix(chosen):
    assert not made_here(chosen)
    assert prefix_of(chosen) == hashlib.sha256(chosen.encode()).hexdigest()[:12]


async def test_a_secret_is_not_kept_and_its_making_is_in_the_audit(store, clock):
    user = await newcomer(store, clock)
    made = await create_key(store, user, NewKey("phone"), by=BY, now=clock.now())
    assert made.secret not in repr(await store.list_keys())
    (row,) = await store.list_audit(AuditFilter(what="key.add"))
    assert (row.who, row.key_id, row.origin, row.target) == (BY.who, "k1", "192.0.2.1", made.key.id)
    assert made.secret not in repr(row)
    assert made.key.hash not in repr(row)
    assert await find_key(store, made.secret) == made.key
    assert await find_key(store, made.secret[:-1] + "-") is None


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"role": "operator"}, "role"),
        ({"scopes": ("jobs:read", "jobs:burn")}, "scopes"),
        ({"expires_at": 5.0}, "expires_at"),
        ({"secret": "short"}, "secret"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_by_its_field(store, clock, asked, field):
    user = await newcomer(store, clock)
    with pytest.raises(ProblemError) as refused:
        await create_key(store, user, NewKey("k", **asked), by=None, now=clock.now())
    assert refused.value.problem.status == 422
    assert [one.field for one in refused.value.problem.errors] == [field]
    assert await store.list_keys() == []


async def test_two_cannot_choose_the_same_secret(store, clock):
    await keyed(store, clock, secret="a secret of full length")
    with pytest.raises(ProblemError, match="Choose another"):
        await keyed(store, clock, secret="a secret of full length")


async def test_a_rotated_key_leaves_the_old_secret_its_grace(store, clock):
    old = await keyed(store, clock, scopes=("jobs:read",), expires_at=clock.now() + 10 * 86_400)
    new = await rotate_key(store, old.key, by=BY, now=clock.now())
    assert (new.key.name, new.key.role, new.key.scopes, new.key.expires_at) == (
        old.key.name,
        old.key.role,
        old.key.scopes,
        old.key.expires_at,
    )
    left = await find_key(store, old.secret)
    assert usable(left, clock.now() + 86_399)
    assert not usable(left, clock.now() + 86_400)


async def test_without_grace_the_old_secret_ends_at_once(store, clock):
    old = await keyed(store, clock)
    await rotate_key(store, old.key, grace_s=0, by=BY, now=clock.now())
    ended = await find_key(store, old.secret)
    assert ended.revoked_at == clock.now()
    with pytest.raises(ProblemError, match="make a new one"):
        await rotate_key(store, ended, by=BY, now=clock.now())


async def test_a_grace_is_no_longer_than_the_key_itself(store, clock):
    old = await keyed(store, clock, expires_at=clock.now() + 60)
    await rotate_key(store, old.key, by=BY, now=clock.now())
    assert (await find_key(store, old.secret)).expires_at == clock.now() + 60


async def test_revoking_twice_is_once(store, clock):
    made = await keyed(store, clock)
    first = await revoke_key(store, made.key, by=BY, now=clock.now())
    clock.advance(5)
    assert await revoke_key(store, first, by=BY, now=clock.now()) == first
    assert len(await store.list_audit(AuditFilter(what="key.revoke"))) == 1


def caller(role, *scopes):
    return Caller(User("u", "u", role, 0.0), role, "k1", scopes)


def test_no_key_makes_one_that_may_more():
    assert check_grant(caller("admin"), NewKey("k", "admin")) == NewKey("k", "admin")
    assert check_grant(caller("viewer", "people:write"), NewKey("k")) == NewKey(
        "k", "viewer", ("people:write",)
    )
    with pytest.raises(ProblemError, match="'submitter'"):
        check_grant(caller("submitter"), NewKey("k", "operator"))
    with pytest.raises(ProblemError, match="lacks jobs:write"):
        check_grant(caller("submitter", "people:write"), NewKey("k", scopes=("jobs:write",)))


async def test_the_settings_keys_are_there_from_the_start_and_only_once(store, clock, tmp_path):
    named = with_settings(
        tmp_path, admin_key="an admin's first key", C3_RENDER_API_KEY="render clients have it"
    )
    for _ in range(2):
        await ensure_keys(store, named, clock.now())
    keys = {key.name: key for key in await store.list_keys()}
    assert {name: key.role for name, key in keys.items()} == {
        "GPULEASE_ADMIN_KEY": "admin",
        "C3_RENDER_API_KEY": "submitter",
    }
    user = await store.get_user(keys["C3_RENDER_API_KEY"].owner)
    assert (user.name, user.role) == ("C3_RENDER_API_KEY", "submitter")


async def test_another_setting_ends_the_key_of_the_one_before_and_keeps_its_user(store, clock, tmp_path):
    for secret in ("the first admin key", "the second admin key"):
        await ensure_keys(store, with_settings(tmp_path, admin_key=secret), clock.now())
    first, second = [await find_key(store, f"the {one} admin key") for one in ("first", "second")]
    assert first.revoked_at is not None
    assert second.revoked_at is None
    assert first.owner == second.owner
    await ensure_keys(store, with_settings(tmp_path, admin_key="the first admin key"), clock.now())
    assert (await find_key(store, "the first admin key")).revoked_at is None
    assert (await find_key(store, "the second admin key")).revoked_at is not None


async def test_a_setting_takes_over_its_key_from_before_there_were_users(store, clock, tmp_path):
    old = "an old admin's key, long"
    await store.add_user(User("k0", "GPULEASE_ADMIN_KEY", "admin", 0.0))
    await store.add_key(ApiKey("k0", "k0", "GPULEASE_ADMIN_KEY", "admin", prefix_of(old), hash_key(old), 0.0))
    await ensure_keys(store, with_settings(tmp_path, admin_key=old), clock.now())
    assert [key.id for key in await store.list_keys()] == ["k0"]
    await ensure_keys(store, with_settings(tmp_path, admin_key="a new admin's key, long"), clock.now())
    assert (await find_key(store, old)).revoked_at is not None
    assert (await find_key(store, "a new admin's key, long")).owner == "k0"


async def test_somebodys_key_of_that_name_is_not_the_settings(store, clock, tmp_path):
    user = await newcomer(store, clock)
    theirs = await create_key(store, user, NewKey("GPULEASE_ADMIN_KEY"), by=None, now=clock.now())
    await ensure_keys(store, with_settings(tmp_path, admin_key="an admin's first key"), clock.now())
    assert (await find_key(store, theirs.secret)).revoked_at is None


async def test_the_first_key_of_all_is_made_once(store, clock):
    assert not await anyone_may_come(store, clock.now())
    secret = await first_admin_key(store, clock.now())
    assert (await find_key(store, secret)).role == "admin"
    assert await anyone_may_come(store, clock.now())
    assert await first_admin_key(store, clock.now()) is None


async def test_nobody_may_come_by_keys_that_have_ended(store, clock):
    made = await keyed(store, clock, expires_at=clock.now() + 60)
    assert await anyone_may_come(store, clock.now())
    await store.change_user(made.key.owner, {"active": False}, by=None, now=clock.now())
    assert not await anyone_may_come(store, clock.now())
    await store.change_user(made.key.owner, {"active": True}, by=None, now=clock.now())
    assert not await anyone_may_come(store, clock.now() + 60)


def test_all_who_ask_first_get_the_same_secret_of_the_deployment(tmp_path):
    path = tmp_path / "deployment.key"
    with ThreadPoolExecutor(16) as pool:
        secrets = set(pool.map(lambda _: read_secret(path), range(64)))
    assert [len(secret) for secret in secrets] == [32]
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_a_crash_left_empty_is_no_secret(tmp_path):
    path = tmp_path / "deployment.key"
    path.touch()
    with pytest.raises(SettingsError, match="0 bytes"):
        read_secret(path)
