"""`gpulease projects` and `gpulease audit`, and the client's calls behind them, against an orchestrator on a socket."""

import asyncio
import json
import threading

import pytest

from gpulease.cli.main import main
from gpulease.client import AsyncClient
from loopback_server import LoopbackServer
from orchestrator.access.issue import NewKey, create_key
from orchestrator.app import Address, build, create_app
from orchestrator.clock import SteadyClock
from orchestrator.settings import Settings
from orchestrator.store.memory import MemoryStore
from orchestrator.store.people import By, User


class Served:
    """On a loop and a thread of its own, with an admin and their key."""

    def __init__(self, folder):
        self._folder = folder
        self.store = MemoryStore()

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="served", daemon=True)
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(self, *_):
        self._do(self._server.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self):
        settings = Settings(data=self._folder, providers=(), _env_file=None)
        orchestrator = await build(settings, Address(settings, 80), self.store, SteadyClock(), {})
        self.admin = await self._user("admin")
        self.guest = await self._user("viewer")
        issued = await create_key(self.store, self.admin, NewKey("a key"), by=None, now=0.0)
        self.key = issued.secret
        self._server = await LoopbackServer.start(create_app(orchestrator))
        self.url = f"http://{self._server.address}"

    async def _user(self, role):
        user = User(f"u-{role}", f"the {role}", role, 0.0)
        await self.store.add_user(user)
        return user

    def record(self, what, target, **facts):
        self._do(self.store.record_audit(what, target, by=By("user:x"), now=SteadyClock().now(), **facts))

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


@pytest.fixture
def served(tmp_path):
    with Served(tmp_path) as server:
        yield server


@pytest.fixture
def gpulease(served, monkeypatch, capsys):
    monkeypatch.setenv("GPULEASE_URL", served.url)
    monkeypatch.setenv("GPULEASE_API_KEY", served.key)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def test_projects_are_made_listed_and_shared(gpulease, served):
    assert gpulease("projects", "list")[1:] == ("", "No projects.\n")
    code, made, _ = gpulease("projects", "create", "A long film")
    assert code == 0
    project = made.strip()
    (listed,) = json.loads(gpulease("projects", "list", "--json")[1])
    assert (listed["id"], listed["name"], listed["owner"]) == (project, "A long film", served.admin.id)
    _, shown, _ = gpulease("projects", "members", project, "--add", served.guest.id, "--write", "--json")
    assert {one["user"]: one["right"] for one in json.loads(shown)} == {
        served.admin.id: "write",
        served.guest.id: "write",
    }
    _, shown, _ = gpulease("projects", "members", project, "--remove", served.guest.id)
    assert served.guest.id not in shown
    assert "the admin" in shown


def test_what_is_asked_wrongly_is_said(gpulease):
    code, _, said = gpulease("projects", "members", "nonesuch")
    assert code == 1
    assert "nonesuch" in said
    assert gpulease("projects", "members", "nonesuch", "--write")[0] == 2
    assert gpulease("projects", "create", "two\nlines")[0] == 1


def test_the_audit_is_shown_filtered_and_as_json(gpulease, served):
    gpulease("projects", "create", "Film")
    served.record("probe", "thing", before={"role": "viewer", "x": 1}, after={"role": "admin", "x": 1})
    _, shown, _ = gpulease("audit")
    assert "project.add" in shown
    assert "role=admin" in shown
    assert "x=1" not in shown
    (row,) = json.loads(gpulease("audit", "--what", "probe", "--json")[1])
    assert (row["who"], row["target"], row["before"]["role"]) == ("user:x", "thing", "viewer")
    assert gpulease("audit", "--what", "nonesuch")[2] == "Nothing was changed.\n"


def test_the_audit_says_nothing_to_the_terminal(gpulease, served):
    served.record("login.refused", "email:\x1b]0;owned\x07@example.com")
    _, shown, _ = gpulease("audit")
    assert "owned" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_many_rows_come_over_several_pages(gpulease, served):
    for number in range(450):
        served.record("probe", str(number))
    rows = json.loads(gpulease("audit", "--what", "probe", "--json")[1])
    assert [row["target"] for row in rows] == [str(number) for number in range(450)]


async def test_the_async_client_does_the_same(served):
    async with AsyncClient(served.url, served.key) as client:
        project = (await client.create_project("Film"))["id"]
        assert (await client.put_member(project, served.guest.id))["right"] == "read"
        assert len([one async for one in client.members(project)]) == 2
        await client.remove_member(project, served.guest.id)
        assert [one["id"] async for one in client.projects()] == [project]
        changes = [row["what"] async for row in client.audit(target=project)]
    assert changes == ["project.add", "member.put", "member.remove"]
