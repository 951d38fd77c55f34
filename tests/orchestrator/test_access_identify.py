"""From headers to callers: each credential, each refusal, who is held up, and what a first look costs."""

from dataclasses import replace

import pytest
from access_bench import HERE, bearer, keyed, newcomer

from gpulease.contract.problems import ProblemError
from orchestrator.access.issue import NewKey, create_key, revoke_key
from orchestrator.access.rates import NAMES_MAX, Buckets, Rates
from orchestrator.access.throttle import Guesses, Throttle
from orchestrator.store.people import Subscription

ORIGIN = "192.0.2.7"


async def refusal(access, headers, origin=ORIGIN):
    with pytest.raises(ProblemError) as refused:
        await access.identify(headers, origin)
    return refused.value.problem


async def test_a_key_is_taken_in_each_of_its_ways(access, store, clock):
    made = await keyed(store, clock, "operator", "Ann@Example.com", role="submitter", scopes=("jobs:read",))
    for headers in (
        {"authorization": f"Bearer {made.secret}"},
        {"authorization": f"bearer  {made.secret} "},
        {"x-c3-render-key": made.secret},
        {"email": "ann@example.com", "token": made.secret},
        {"email": " ANN@example.COM", "token": made.secret},
    ):
        caller = await access.identify(headers, ORIGIN)
        assert (caller.user.email, caller.role, caller.scopes) == (
            "ann@example.com",
            "submitter",
            ("jobs:read",),
        )
        assert (caller.by.who, caller.by.key_id, caller.by.origin) == (
            f"user:{caller.owner}",
            made.key.id,
            ORIGIN,
        )


async def test_a_chosen_secret_of_another_system_is_a_key_too(access, store, clock):
    secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    made = await keyed(store, clock, secret=secret)
    assert (await access.identify(bearer(secret), ORIGIN)).key_id == made.key.id


async def test_the_weaker_role_of_key_and_user_counts(access, store, clock):
    made = await keyed(store, clock, "admin")
    assert (await access.identify(bearer(made.secret), ORIGIN)).role == "admin"
    await store.change_user(made.key.owner, {"role": "viewer"}, by=None, now=clock.now())
    assert (await access.identify(bearer(made.secret), ORIGIN)).role == "viewer"


async def test_what_is_wrong_is_told_to_who_has_the_true_secret_only(access, store, clock):
    revoked = await keyed(store, clock)
    expiring = await keyed(store, clock, email="bo@example.com", expires_at=clock.now() + 60)
    await revoke_key(store, revoked.key, by=None, now=clock.now())
    clock.advance(60)
    assert "revoked" in (await refusal(access, bearer(revoked.secret))).detail
    assert "expired" in (await refusal(access, bearer(expiring.secret))).detail
    guessed = revoked.secret[:12] + "A" * 43
    unknown = await refusal(access, bearer(guessed))
    assert unknown == await refusal(access, {"email": "no@example.com", "token": guessed})
    assert unknown == await refusal(access, {"email": "bo@example.com", "token": guessed})
    assert unknown == await refusal(access, {"email": "no@example.com", "token": expiring.secret})
    assert unknown.status == 401


async def test_a_user_who_is_not_active_is_refused_at_once(access, store, clock):
    made = await keyed(store, clock)
    await access.identify(bearer(made.secret), ORIGIN)
    await store.change_user(made.key.owner, {"active": False}, by=None, now=clock.now())
    assert "not active" in (await refusal(access, bearer(made.secret))).detail


@pytest.mark.parametrize(
    "headers", [{"email": "a@example.com"}, {"token": "x"}, {"authorization": "Bearer "}]
)
async def test_half_a_credential_is_none(access, headers):
    assert (await refusal(access, {**HERE, **headers})).status == 401


async def test_without_any_key_the_loopback_is_an_admins(access, store, clock):
    caller = await access.identify(HERE, "127.0.0.1")
    assert (caller.owner, caller.role, caller.by.who) == ("", "admin", "anonymous")
    made = await keyed(store, clock)
    assert (await refusal(access, HERE, "127.0.0.1")).status == 401
    await revoke_key(store, made.key, by=None, now=clock.now())
    assert (await refusal(access, HERE, "127.0.0.1")).status == 401, "a key's end must make nobody an admin"


async def test_elsewhere_nobody_is_anonymous(access):
    assert (await refusal(replace_loopback(access), HERE)).status == 401


def replace_loopback(access):
    access.loopback = False
    return access


@pytest.mark.parametrize(
    "added",
    [
        {"x-forwarded-for": "203.0.113.5"},
        {"forwarded": "for=203.0.113.5"},
        {"host": "rebound.example.com:8080"},
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"origin": "http://[bad"},
        {"host": ""},
    ],
)
async def test_a_proxy_or_another_sites_page_is_not_on_this_machine(access, added):
    assert (await refusal(access, {**HERE, **added})).status == 401


@pytest.mark.parametrize(
    "added",
    [
        {"origin": "http://localhost:8080"},
        {"host": "localhost"},
        {"host": "[::1]:8080"},
        {"origin": "https://ours.example.com"},
    ],
)
async def test_this_machines_own_pages_are(access, added):
    access.pages = ("https://ours.example.com",)
    assert (await access.identify({**HERE, **added}, "127.0.0.1")).role == "admin"


async def test_when_a_key_was_last_used_is_written_later_and_together(access, store, clock):
    made = [await keyed(store, clock) for _ in range(3)]
    for one in made:
        await access.identify(bearer(one.secret), ORIGIN)
    assert {key.last_used_at for key in await store.list_keys()} == {None}
    await access.flush()
    assert {key.last_used_at for key in await store.list_keys()} == {clock.now()}
    await access.flush()


async def test_guessing_is_slowed_and_right_keys_are_not(access, store, clock):
    made = await keyed(store, clock)
    chosen = await keyed(store, clock, secret="a chosen secret, long")
    for _ in range(20):
        assert (await refusal(access, bearer("wrong"))).status == 401
    held = await refusal(access, bearer("wrong"))
    assert held.status == 429
    assert held.retry_after_s == 3
    assert (await refusal(access, bearer(chosen.secret))).status == 429, "it may be a guess"
    assert (await refusal(access, bearer("wrong"), "192.0.2.8")).status == 401
    assert (await access.identify(bearer(chosen.secret), "192.0.2.8")).key_id == chosen.key.id
    assert (await access.identify(bearer(made.secret), ORIGIN)).key_id == made.key.id
    assert (await access.identify(bearer(chosen.secret), ORIGIN)).key_id == chosen.key.id
    clock.advance(3)
    assert (await refusal(access, bearer("wrong"))).status == 401


def test_tries_wait_longer_and_longer(clock):
    throttle, waits = Throttle(clock), []
    for _ in range(5):
        assert throttle.begin("ann") == 0
    for _ in range(8):
        waits.append(wait_s := throttle.begin("ann"))
        clock.advance(wait_s)
        assert throttle.begin("ann") == 0
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    assert throttle.begin("bo") == 0


def test_many_tries_at_once_are_not_more_than_one_after_the_other(clock):
    throttle = Throttle(clock)
    assert sum(throttle.begin("ann", f"address {number}") == 0 for number in range(50)) == 5


def test_a_try_that_was_right_is_none_and_those_before_it_stay(clock):
    throttle = Throttle(clock)
    for _ in range(4):
        throttle.begin("here")
    for _ in range(10):
        assert throttle.begin("here") == 0
        throttle.excuse("here")
    assert throttle.begin("here") == 0
    assert throttle.begin("here") == 30
    throttle.clear("here")
    assert throttle.begin("here") == 0


def test_failures_are_forgotten_after_a_day(clock):
    throttle = Throttle(clock)
    for _ in range(5):
        throttle.begin("ann")
    clock.advance(86_401)
    assert [throttle.begin("ann") for _ in range(5)] == [0] * 5


def test_what_is_remembered_is_bounded(clock):
    throttle, buckets, guesses = Throttle(clock), Buckets(clock), Guesses(clock)
    for number in range(NAMES_MAX + 50):
        throttle.begin(str(number))
        buckets.take(str(number), 1.0, 5.0)
        guesses.right(str(number))
    assert len(throttle._tries) == len(buckets._buckets) == len(guesses._good) == NAMES_MAX


def test_a_bucket_gives_its_burst_and_then_its_rate(clock):
    buckets = Buckets(clock)
    assert [buckets.take("a", 2.0, 3.0) for _ in range(4)] == [0, 0, 0, 0.5]
    clock.advance(0.5)
    assert [buckets.take("a", 2.0, 3.0) for _ in range(2)] == [0, 0.5]
    assert buckets.take("b", 2.0, 3.0) == 0
    clock.advance(1000)
    assert [buckets.take("a", 2.0, 3.0) for _ in range(4)] == [0, 0, 0, 0.5]


async def test_a_subscription_has_its_own_rate(store, clock):
    rates = Rates(store, clock, per_s=1.0)
    ann = await newcomer(store, clock)
    made = await store.put_subscription(
        Subscription(0, "fast", requests_per_s=50.0), by=None, now=clock.now()
    )
    bo = await newcomer(store, clock, subscription_id=made.id)

    async def allowed(user):
        return [await rates.wait_s(user) for _ in range(200)].count(0.0)

    assert (await allowed(ann), await allowed(bo)) == (20, 100)
    await store.put_subscription(replace(made, requests_per_s=100.0), by=None, now=clock.now())
    clock.advance(10)
    assert await allowed(bo) == 200
    assert await Rates(store, clock, None).wait_s(ann) == 0


async def test_a_key_of_a_key_is_found_among_those_of_the_same_letters(access, store, clock):
    user = await newcomer(store, clock)
    letters = "gpl_abcdefgh"
    ones = [letters + mark * 43 for mark in "ABC"]
    made = [await create_key(store, user, NewKey("k", secret=one), by=None, now=clock.now()) for one in ones]
    for one, secret in zip(made, ones, strict=True):
        assert (await access.identify(bearer(secret), ORIGIN)).key_id == one.key.id
    assert (await refusal(access, bearer(letters + "D" * 43))).status == 401
