"""What tests of access share: both stores, the time in hand, and users with keys."""

import pytest
from argon2 import PasswordHasher

from orchestrator.access.identify import Access
from orchestrator.access.issue import NewKey, create_key
from orchestrator.access.newcomers import Newcomer, user_of
from orchestrator.access.passwords import Passwords
from orchestrator.access.rates import Rates
from orchestrator.access.sessions import Sessions
from orchestrator.clock import ManualClock
from orchestrator.keys import session_key
from orchestrator.settings import Settings
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sqlite import open_sqlite

HERE = {"host": "127.0.0.1:8080"}


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    opened = MemoryStore() if request.param == "memory" else await open_sqlite(tmp_path / "gpulease.db")
    yield opened
    await opened.aclose()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def settings(tmp_path):
    return Settings(data=tmp_path, register_auth_code="the code", _env_file=None)


@pytest.fixture
def sessions(store, clock, settings):
    """With hashes that cost little."""
    made = Sessions(store, clock, settings, session_key(b"deployment"))
    made.passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return made


@pytest.fixture
def access(store, clock, sessions):
    return Access(store, clock, sessions, Rates(store, clock, 10.0), loopback=True)


async def newcomer(store, clock, role="submitter", email=None, **known):
    user = user_of(Newcomer(known.pop("name", "ann"), role, email), clock.now())
    await store.add_user(user)
    return await store.change_user(user.id, known, by=None, now=clock.now())


async def keyed(store, clock, user_role="submitter", email=None, **key):
    user = await newcomer(store, clock, user_role, email)
    return await create_key(store, user, NewKey("k", **key), by=None, now=clock.now())


def bearer(secret):
    return {**HERE, "authorization": f"Bearer {secret}"}
