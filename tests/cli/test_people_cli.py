"""`gpulease keys` and `gpulease users`, on a data directory, with no server."""

import asyncio
import io
import json
import sys
import time
from dataclasses import dataclass

import pytest

from gpulease.cli.main import main
from orchestrator.access.issue import find_key
from orchestrator.access.passwords import Passwords
from orchestrator.store.people import AuditFilter
from orchestrator.store.sqlite import open_sqlite


@dataclass
class Done:
    status: int
    stdout: str
    stderr: str

    def json(self):
        assert self.status == 0, self.stderr
        return json.loads(self.stdout)


@pytest.fixture
def gpulease(tmp_path, monkeypatch, capsys):
    """Runs `gpulease …` in a folder of its own, with `typed` on stdin."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, typed=""):
        sys.stdin = io.StringIO(typed)
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--data", "d"])
        return Done(ended.value.code, *capsys.readouterr())

    before = sys.stdin
    yield run
    sys.stdin = before


@pytest.fixture
def stored(tmp_path):
    """What the store says to a question."""

    async def ask(question):
        store = await open_sqlite(tmp_path / "d" / "gpulease.db")
        try:
            return await question(store)
        finally:
            await store.aclose()

    return lambda question: asyncio.run(ask(question))


def test_a_user_gets_a_key_of_a_weaker_role_for_some_days(gpulease, stored):
    user_id = gpulease("users", "create", "--email", "Ann@Example.com", "--role", "operator").stdout.strip()
    options = ("--user", "ann@example.com", "--role", "viewer", "--scope", "jobs:read", "--expires-in", "2")
    made = gpulease("keys", "create", "--name", "phone", *options, "--json").json()
    assert (made["user"], made["role"], made["scopes"]) == (user_id, "viewer", ["jobs:read"])
    key = stored(lambda store: find_key(store, made["key"]))
    assert (key.owner, key.name, key.role, key.scopes) == (user_id, "phone", "viewer", ("jobs:read",))
    assert key.expires_at == pytest.approx(time.time() + 2 * 86_400, abs=60)
    (row,) = stored(lambda store: store.list_audit(AuditFilter(what="key.add")))
    assert (row.who, row.target) == ("command line", key.id)


def test_without_a_user_a_new_one_has_the_keys_name_and_role(gpulease):
    gpulease("keys", "create", "--role", "admin", "--name", "me")
    (user,) = gpulease("users", "list", "--json").json()
    assert (user["name"], user["role"], user["email"], user["active"]) == ("me", "admin", None, True)
    (key,) = gpulease("keys", "list", "--json").json()
    assert (key["user"], key["role"]) == (user["id"], "admin")
    assert gpulease("keys", "list", "--user", user["id"], "--json").json() == [key]


def test_a_chosen_secret_comes_by_stdin_and_is_on_no_command_line(gpulease, stored):
    done = gpulease("keys", "create", "--secret-stdin", typed="my-secret-token-of-old\n")
    assert (done.status, done.stdout) == (0, "my-secret-token-of-old\n")
    assert stored(lambda store: find_key(store, "my-secret-token-of-old")).role == "submitter"
    again = gpulease("keys", "create", "--secret-stdin", typed="my-secret-token-of-old\n")
    assert again.status == 1
    assert "already" in again.stderr


def test_a_key_is_rotated_and_revoked_by_its_id_or_its_public_letters(gpulease, stored):
    old = gpulease("keys", "create", "--role", "admin", "--json").json()
    new = gpulease("keys", "rotate", old["prefix"], "--grace", "1", "--json").json()
    assert new["key"] != old["key"]
    ending = stored(lambda store: find_key(store, old["key"]))
    assert ending.expires_at == pytest.approx(time.time() + 3600, abs=60)
    last = gpulease("keys", "rotate", new["id"], "--grace", "0").stdout.strip()
    assert stored(lambda store: find_key(store, new["key"])).revoked_at is not None
    key = stored(lambda store: find_key(store, last))
    assert "revoked" in gpulease("keys", "revoke", key.prefix).stderr
    assert stored(lambda store: find_key(store, last)).revoked_at is not None
    assert gpulease("keys", "rotate", key.id).status == 1


def test_a_password_comes_by_stdin_and_is_kept_as_its_hash(gpulease, stored):
    options = ("--email", "ann@example.com", "--password-stdin")
    user_id = gpulease("users", "create", *options, typed="a long password\n").stdout.strip()
    user = stored(lambda store: store.get_user(user_id))
    assert asyncio.run(Passwords().check("a long password", user.password_hash))
    assert "a long password" not in repr(user)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("keys", "create", "--role", "boss"), 2, "submitter"),
        (("keys", "create", "--scope", "jobs:burn"), 2, "jobs:read"),
        (("keys", "create", "--secret-stdin"), 2, "16 letters"),
        (("keys", "create", "--user", "nobody"), 1, "gpulease users list"),
        (("keys", "create", "--expires-in", "0"), 2, "expires-in"),
        (("keys", "revoke", "nonesuch"), 1, "gpulease keys list"),
        (("users", "create"), 2, "name"),
        (("users", "create", "--email", "no email"), 2, "email"),
        (("users", "create", "--name", "a", "--role", "worker"), 2, "viewer"),
        (("users", "create", "--name", "a", "--password-stdin"), 2, "10 to"),
    ],
)
def test_what_is_asked_wrongly_says_how_to_mend_it_and_makes_nothing(gpulease, arguments, status, said):
    gpulease("keys", "list")
    (known,) = [gpulease("users", "create", "--name", "bo").stdout.strip()]
    done = gpulease(*arguments, typed="short\n")
    assert done.status == status
    assert said in done.stderr
    assert [user["id"] for user in gpulease("users", "list", "--json").json()] == [known]
    assert gpulease("keys", "list", "--json").json() == []


def test_a_weaker_users_key_cannot_be_stronger(gpulease):
    user_id = gpulease("users", "create", "--name", "bo", "--role", "viewer").stdout.strip()
    done = gpulease("keys", "create", "--user", user_id, "--role", "admin")
    assert done.status == 2
    assert "role" in done.stderr


def test_tables_have_no_secrets(gpulease):
    secret = gpulease("keys", "create", "--name", "me").stdout.strip()
    shown = gpulease("keys", "list").stdout
    assert secret[:12] in shown
    assert secret not in shown
    assert "me" in gpulease("users", "list").stdout


@pytest.mark.parametrize("command", [("keys", "list"), ("keys", "revoke", "x"), ("users", "list")])
def test_no_data_directory_is_made_by_looking(gpulease, tmp_path, command):
    done = gpulease(*command)
    assert done.status == 2
    assert not (tmp_path / "d").exists()
