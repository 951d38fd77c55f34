"""Logins: passwords, tokens that end, refreshing, registering, and who is made to wait."""

import asyncio
import base64
import json
from threading import Event

import jwt
import pytest
from access_bench import bearer, newcomer
from argon2 import PasswordHasher

from gpulease.contract.problems import ProblemError
from orchestrator.access.passwords import Passwords
from orchestrator.access.sessions import Registration, Sessions
from orchestrator.keys import session_key
from orchestrator.settings import Settings
from orchestrator.store.people import AuditFilter, By

ORIGIN = "192.0.2.7"
EMAIL = "ann@example.com"
PASSWORD = "correct horse battery"


@pytest.fixture
async def ann(store, clock, sessions):
    return await newcomer(
        store, clock, email=EMAIL, password_hash=await sessions.passwords.hash(PASSWORD), role="operator"
    )


async def refusal(doing):
    with pytest.raises(ProblemError) as refused:
        await doing
    return refused.value.problem


async def test_a_password_becomes_a_session_that_ends_by_itself(access, sessions, ann, clock):
    session = await sessions.login(" ANN@Example.com ", PASSWORD, ORIGIN)
    assert session.expires_s == 3600
    caller = await access.identify(bearer(session.access), ORIGIN)
    assert (caller.owner, caller.role, caller.key_id, caller.scopes) == (ann.id, "operator", None, ())
    clock.advance(3600)
    assert "expired" in (await refusal(access.identify(bearer(session.access), ORIGIN))).detail


async def test_a_session_is_refreshed_without_a_password_for_a_week_and_no_longer(
    access, sessions, ann, clock
):
    session = await sessions.login(EMAIL, PASSWORD, ORIGIN)
    for _ in range(7):
        clock.advance(86_400 - 1)
        session = await sessions.refresh(session.refresh)
        assert (await access.identify(bearer(session.access), ORIGIN)).owner == ann.id
    assert session.expires_s == 7, "no longer than the week"
    clock.advance(7)
    assert (await refusal(sessions.refresh(session.refresh))).status == 401


async def test_each_token_is_for_its_use(access, sessions, ann):
    session = await sessions.login(EMAIL, PASSWORD, ORIGIN)
    assert "refresh token" in (await refusal(access.identify(bearer(session.refresh), ORIGIN))).detail
    assert (await refusal(sessions.refresh(session.access))).status == 401
    assert (await sessions.refresh(session.access, ("access", "refresh"))).user == ann


async def test_tokens_of_others_or_of_no_algorithm_are_not_ours(access, sessions, settings, ann):
    session, store, clock = await sessions.login(EMAIL, PASSWORD, ORIGIN), access.store, access.clock
    claims = jwt.decode(session.access, options={"verify_signature": False})
    other = Sessions(store, clock, settings, session_key(b"another"))
    other_token = jwt.encode(claims, session_key(b"another"), "HS256")
    assert (await other.user_of(other_token)) == ann
    head, body, sign = session.access.split(".")
    bare = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    key = session_key(b"deployment")
    forged = [
        other_token,
        f"{bare}.{body}.",
        f"{head}.{body}.{sign[:-2]}AA",
        jwt.encode(claims, key, "HS512"),
        jwt.encode({name: value for name, value in claims.items() if name != "ver"}, key, "HS256"),
    ]
    for token in forged:
        assert (await refusal(access.identify(bearer(token), ORIGIN))).status == 401


async def test_a_wrong_password_and_an_unknown_email_are_the_same_to_who_tries(sessions, store, ann):
    wrong = await refusal(sessions.login(EMAIL, "not the password", ORIGIN))
    unknown = await refusal(sessions.login("bo@example.com", "not the password", ORIGIN))
    assert wrong == unknown
    rows = await store.list_audit(AuditFilter(what="login.refused"))
    assert [(row.target, row.origin) for row in rows] == [
        (f"user:{ann.id}", ORIGIN),
        ("email:bo@example.com", ORIGIN),
    ]
    assert "not the password" not in repr(rows)


async def test_who_has_no_password_cannot_log_in(sessions, store, clock):
    await newcomer(store, clock, email="bo@example.com")
    assert (await refusal(sessions.login("bo@example.com", "", ORIGIN))).status == 401


async def test_who_is_not_active_is_told_so_after_the_right_password_only(
    access, sessions, store, clock, ann
):
    session = await sessions.login(EMAIL, PASSWORD, ORIGIN)
    await store.change_user(ann.id, {"active": False}, by=None, now=clock.now())
    assert "not active" in (await refusal(sessions.login(EMAIL, PASSWORD, ORIGIN))).detail
    assert "wrong" in (await refusal(sessions.login(EMAIL, "not the password", ORIGIN))).detail
    for doing in (access.identify(bearer(session.access), ORIGIN), sessions.refresh(session.refresh)):
        assert (await refusal(doing)).status == 401


async def test_after_five_failures_an_email_waits_from_anywhere(sessions, clock, ann):
    for number in range(5):
        assert (await refusal(sessions.login(EMAIL, "not the password", f"192.0.2.{number}"))).status == 401
    held = await refusal(sessions.login(EMAIL, PASSWORD, "192.0.2.99"))
    assert (held.status, held.retry_after_s) == (429, 30)
    clock.advance(30)
    assert (await sessions.login(EMAIL, PASSWORD, "192.0.2.99")).user == ann
    assert (await refusal(sessions.login(EMAIL, "not the password", "192.0.2.99"))).status == 401


async def test_after_five_failures_an_address_waits_whomever_it_names(sessions, clock, ann):
    for number in range(5):
        await refusal(sessions.login(f"a{number}@example.com", "not the password", ORIGIN))
    assert (await refusal(sessions.login(EMAIL, PASSWORD, ORIGIN))).status == 429
    assert (await sessions.login(EMAIL, PASSWORD, "192.0.2.99")).user == ann


async def test_ones_own_login_does_not_pay_for_guesses_at_others(sessions, ann):
    statuses = []
    for number in range(6):
        statuses.append((await refusal(sessions.login(f"a{number}@example.com", "guess", ORIGIN))).status)
        if number < 4:
            await sessions.login(EMAIL, PASSWORD, ORIGIN)
    assert statuses == [401] * 5 + [429]


async def test_a_new_password_ends_all_sessions(access, sessions, ann):
    session = await sessions.login(EMAIL, PASSWORD, ORIGIN)
    by = By(f"user:{ann.id}", None, ORIGIN)
    assert (
        await refusal(sessions.change_password(ann, "not the password", "a new password", by))
    ).status == 403
    assert (await refusal(sessions.change_password(ann, PASSWORD, "short", by))).status == 422
    changed = await sessions.change_password(ann, PASSWORD, "a new password", by)
    assert changed.session_version == ann.session_version + 1
    for doing in (access.identify(bearer(session.access), ORIGIN), sessions.refresh(session.refresh)):
        assert "ended" in (await refusal(doing)).detail
    assert (await refusal(sessions.login(EMAIL, PASSWORD, ORIGIN))).status == 401
    assert (await sessions.login(EMAIL, "a new password", ORIGIN)).user == changed


async def test_guessing_the_old_password_is_slowed_too(sessions, ann):
    by = By(f"user:{ann.id}", None, ORIGIN)
    doing = [
        await refusal(sessions.change_password(ann, "not the password", "a new password", by))
        for _ in range(6)
    ]
    assert [one.status for one in doing] == [403] * 5 + [429]


async def test_registering_makes_a_submitter_who_is_logged_in(access, sessions, store):
    session = await sessions.register(Registration("the code", "Bo@Example.com", "a long password"), ORIGIN)
    caller = await access.identify(bearer(session.access), ORIGIN)
    assert (caller.user.email, caller.user.name, caller.role) == ("bo@example.com", "bo", "submitter")
    (row,) = await store.list_audit(AuditFilter(what="user.add"))
    assert (row.target, row.origin) == (caller.owner, ORIGIN)
    assert "password_hash" not in row.after
    assert (await sessions.login("bo@example.com", "a long password", ORIGIN)).user == caller.user


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (Registration("not the code", "bo@example.com", "a long password"), 403),
        (Registration("", "bo@example.com", "a long password"), 403),
        (Registration("the code", "no email", "a long password"), 422),
        (Registration("the code", "", "a long password"), 422),
        (Registration("the code", "bo@example.com", "short"), 422),
        (Registration("the code", "bo@example.com", "a long password", "n" * 101), 422),
        (Registration("the code", EMAIL, "a long password"), 409),
    ],
)
async def test_registering_wrongly_makes_nobody(sessions, store, ann, asked, status):
    assert (await refusal(sessions.register(asked, ORIGIN))).status == status
    assert await store.list_users() == [ann]


async def test_the_code_cannot_be_guessed_quickly(sessions):
    tries = [
        await refusal(
            sessions.register(Registration(str(number), "bo@example.com", "a long password"), ORIGIN)
        )
        for number in range(6)
    ]
    assert [one.status for one in tries] == [403] * 5 + [429]


@pytest.mark.parametrize("code", [None, ""])
async def test_registration_is_closed_without_a_code(store, clock, tmp_path, code):
    settings = Settings(data=tmp_path, register_auth_code=code, _env_file=None)
    closed = Sessions(store, clock, settings, session_key(b"deployment"))
    asked = Registration("", "bo@example.com", "a long password")
    assert "closed" in (await refusal(closed.register(asked, ORIGIN))).title


async def test_passwords_are_hashed_two_at_once_and_no_more_than_so_many_wait():
    counted = Counting()
    passwords = Passwords(counted)
    doing = [passwords.check("a password", None) for _ in range(60)]
    done = await asyncio.gather(*doing, return_exceptions=True)
    assert counted.most == 2
    refused = [one for one in done if isinstance(one, ProblemError)]
    assert {one.problem.status for one in refused} == {503}
    assert 0 < len(refused) < 60
    assert not any(one is True for one in done)


class Counting(PasswordHasher):
    """Cheap, and knows how many of it work at once: the first waits for a second."""

    def __init__(self):
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.now = self.most = 0
        self.met = Event()

    def verify(self, *given):
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now > 1:
            self.met.set()
        self.met.wait(10)
        try:
            return super().verify(*given)
        finally:
            self.now -= 1
