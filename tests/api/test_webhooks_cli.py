"""`gpulease webhooks`, as a person types it, against an orchestrator on a socket."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))
from gpulease.cli.main import main
from loopback_server import LoopbackServer
from orchestrator.app import create_app

HOOK = "https://9.9.9.9/hook"


@pytest.fixture
async def gpulease(world, monkeypatch, capsys):
    """Runs `gpulease webhooks …`; nothing is sent to anybody."""
    await world.orchestrator.parts.webhooks.aclose()
    server = await LoopbackServer.start(create_app(world.orchestrator))
    monkeypatch.setenv("GPULEASE_URL", f"http://{server.address}")
    monkeypatch.delenv("GPULEASE_API_KEY", raising=False)

    async def run(*arguments, status=0):
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main, ("webhooks", *arguments))
        said = capsys.readouterr()
        assert ended.value.code == status, said
        return said

    yield run
    await server.aclose()


async def given_up(world, error="HTTP 500: no"):
    job = await world.submit(notify_url=HOOK)
    await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    store = world.orchestrator.parts.store
    (found,) = await store.list_deliveries(job["id"])
    await store.record_delivery(found.id, status=500, error=error, now=world.clock.now(), next_at=None)
    return found.id


async def test_they_are_listed_and_shown_and_nothing_commands_the_terminal(gpulease, world):
    number = await given_up(world, "HTTP 301 to \x1b[2J: only a 2xx counts as received")
    listed = (await gpulease("list", "--state", "failed")).out
    assert HOOK in listed
    assert "failed" in listed
    shown = (await gpulease("show", str(number))).out
    assert f"webhook_id: msg_{number}" in shown
    assert "\x1b" not in listed + shown
    as_json = json.loads((await gpulease("show", str(number), "--json")).out)
    assert as_json["history"][0]["status"] == 500
    assert json.loads((await gpulease("list", "--state", "arrived", "--json")).out) == []


async def test_one_or_all_that_failed_are_sent_again(gpulease, world):
    numbers = [await given_up(world) for _ in range(3)]
    assert (await gpulease("replay", str(numbers[0]))).err == "It is sent again.\n"
    assert (await gpulease("replay", "--failed")).err == "2 are sent again.\n"
    pending = json.loads((await gpulease("list", "--state", "pending", "--json")).out)
    assert [one["id"] for one in pending] == numbers


@pytest.mark.parametrize("asked", [(), ("1", "--failed"), ("1", "--job", "x")])
async def test_a_replay_says_what_it_means(gpulease, asked):
    assert "--failed" in (await gpulease("replay", *asked, status=2)).err


async def test_what_is_not_there_is_said(gpulease):
    assert "no such delivery" in (await gpulease("show", "77", status=1)).err


async def test_the_secret_is_printed_and_rotated(gpulease):
    first = (await gpulease("secret")).out.strip()
    rotated = await gpulease("rotate")
    assert rotated.out.strip().startswith("whsec_")
    assert rotated.out.strip() != first
    assert "until" in rotated.err
    assert json.loads((await gpulease("secret", "--json")).out)["previous"] == first
