"""/internal/salad/webhook, with secrets from the emulated Salad: signed ones are heard, also while they are rotated."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from gpulease.contract.hosts import Duties
from provider_clients.salad import Salad, SaladConfig
from salad.emulator import SaladEmulator
from salad.webhooks import signature

PATH = "/internal/salad/webhook"
BODY = (
    b'{"type":"queue.job.succeeded","timestamp":"2026-01-01T00:00:00.1234567Z","data":{"id":"job-1",'
    b'"queue_name":"w-1","status":"succeeded","input":{},"events":[{"type":"created",'
    b'"time":"2026-01-01T00:00:00.1234567Z"}],"create_time":"2026-01-01T00:00:00.1234567Z",'
    b'"update_time":"2026-01-01T00:00:00.1234567Z"}}'
)


@pytest.fixture
async def salad(world):
    async with SaladEmulator(key="k") as cloud:
        config = SaladConfig("k", "acme", "render", "image", base_url=cloud.url, mode="queue")
        client = Salad(config)
        parts = world.orchestrator.parts
        parts.applier.leases.providers["salad"] = client
        parts.hosting.environments = {"salad": {}}
        yield cloud
        del parts.applier.leases.providers["salad"]
        await client.aclose()


def signed(secret, at):
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at)),
        "webhook-signature": signature(secret, "msg_1", int(at), BODY),
    }


async def heard(world) -> Duties:
    return await world.orchestrator.parts.hosting.duties("salad")


async def test_a_signed_one_is_told_to_the_host(world, salad):
    secret = salad._cloud.signing_secret()
    reply = await world.http.post(PATH, content=BODY, headers=signed(secret, world.clock.now()))
    assert reply.status_code == 200
    assert (await heard(world)).news == ("job-1",)


@pytest.mark.parametrize("late_s", [301, -301])
async def test_an_old_one_and_one_from_the_future_are_not_believed(world, salad, late_s):
    secret = salad._cloud.signing_secret()
    reply = await world.http.post(PATH, content=BODY, headers=signed(secret, world.clock.now() - late_s))
    assert reply.status_code == 401
    assert (await heard(world)).news == ()


async def test_an_unsigned_and_a_wrongly_signed_one_are_not_believed(world, salad):
    assert (await world.http.post(PATH, content=BODY)).status_code == 401
    wrong = signed("d3Jvbmcgc2VjcmV0IG9mIDMyIGJ5dGVzLi4uLi4uLi4u", world.clock.now())
    assert (await world.http.post(PATH, content=BODY, headers=wrong)).status_code == 401


async def test_both_secrets_are_good_while_they_are_rotated(world, salad):
    old = salad._cloud.signing_secret()
    await world.http.post(PATH, content=BODY, headers=signed(old, world.clock.now()))
    client = world.orchestrator.parts.applier.leases.providers["salad"]
    account = client._account
    await client._http.write("POST", f"{account.organization_path}/webhook-secret-key")
    new = await client.webhook_secret()
    assert new != old
    for secret in (new, old):
        reply = await world.http.post(PATH, content=BODY, headers=signed(secret, world.clock.now()))
        assert reply.status_code == 200
