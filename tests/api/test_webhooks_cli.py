"""`gpulease webhooks`, as a person types it, against an orchestrator on a socket."""

import json

import pytest

HOOK = "https://9.9.9.9/hook"


@pytest.fixture(autouse=True)
async def nothing_is_sent(world):
    await world.orchestrator.parts.webhooks.aclose()


async def given_up(world, error="HTTP 500: no"):
    job = await world.submit(notify_url=HOOK)
    await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    store = world.orchestrator.parts.store
    (found,) = await store.list_deliveries(job["id"])
    await store.record_delivery(found.id, status=500, error=error, now=world.clock.now(), next_at=None)
    return found.id


async def test_they_are_listed_and_shown_and_nothing_commands_the_terminal(gpulease, world):
    number = await given_up(world, "HTTP 301 to \x1b[2J: only a 2xx counts as received")
    listed = (await gpulease("webhooks", "list", "--state", "failed")).out
    assert HOOK in listed
    assert "failed" in listed
    shown = (await gpulease("webhooks", "show", str(number))).out
    assert f"webhook_id: msg_{number}" in shown
    assert "\x1b" not in listed + shown
    as_json = json.loads((await gpulease("webhooks", "show", str(number), "--json")).out)
    assert as_json["history"][0]["status"] == 500
    assert json.loads((await gpulease("webhooks", "list", "--state", "arrived", "--json")).out) == []


async def test_one_or_all_that_failed_are_sent_again(gpulease, world):
    numbers = [await given_up(world) for _ in range(3)]
    assert (await gpulease("webhooks", "replay", str(numbers[0]))).err == "It is sent again.\n"
    assert (await gpulease("webhooks", "replay", "--failed")).err == "2 are sent again.\n"
    pending = json.loads((await gpulease("webhooks", "list", "--state", "pending", "--json")).out)
    assert [one["id"] for one in pending] == numbers


@pytest.mark.parametrize("asked", [(), ("1", "--failed"), ("1", "--job", "x")])
async def test_a_replay_says_what_it_means(gpulease, asked):
    assert "--failed" in (await gpulease("webhooks", "replay", *asked, status=2)).err


async def test_what_is_not_there_is_said(gpulease):
    assert "no such delivery" in (await gpulease("webhooks", "show", "77", status=1)).err


async def test_the_secret_is_printed_and_rotated(gpulease):
    first = (await gpulease("webhooks", "secret")).out.strip()
    rotated = await gpulease("webhooks", "rotate")
    assert rotated.out.strip().startswith("whsec_")
    assert rotated.out.strip() != first
    assert "until" in rotated.err
    assert json.loads((await gpulease("webhooks", "secret", "--json")).out)["previous"] == first
