"""A thousand webhooks, a receiver that fails half of the time, and a server that is killed while it tries again."""

import sys
import time
from pathlib import Path

import pytest
from up import Up

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))
from webhook_storm import Sceptic, Storm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

JOBS = 1000
KILLS = 4
TAIL = ",".join(["0.5"] * 35)
"""So long that one in thirty million deliveries would not arrive."""
SETTINGS = {
    "GPULEASE_PROVIDERS": "",
    "GPULEASE_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
    "GPULEASE_WEBHOOK_RETRY_S": "0.5",
    "GPULEASE_REQUESTS_PER_S": "100000",
    "GPULEASE_LOG_LEVEL": "error",
}


@pytest.fixture
def serve(tmp_path):
    """A server with these settings, which ends with the test."""
    made = []

    def serve(**settings):
        made.append(Up(tmp_path, **{**SETTINGS, **settings}))
        return made[-1]

    yield serve
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.kill()
        server.http.close()
        server.log.close()


async def kill_while_it_tries(storm: Storm, tries_apart: int) -> None:
    """Every kill comes after so many more tries, in the middle of others."""
    for number in range(1, KILLS + 1):

        async def tried(least: int = number * tries_apart) -> bool:
            return storm.receiver.tries >= least

        await storm.until(tried)
        await storm.kill_and_restart()


def check_ids(storm: Storm) -> None:
    ids = storm.receiver.ids
    assert storm.receiver.unverified == []
    assert set(ids) == set(storm.jobs)
    assert {len(one) for one in ids.values()} == {1}, "a delivery keeps its webhook-id"
    assert len(set.union(*ids.values())) == len(storm.jobs), "and shares it with no other"


async def test_with_a_tail_every_delivery_arrives_under_its_one_id(serve):
    async with Sceptic(seed=5) as receiver:
        storm = Storm(serve(GPULEASE_WEBHOOK_TAIL_S=TAIL), receiver)
        await storm.begin()
        await storm.submit(JOBS)
        began = time.monotonic()
        await storm.cancel_all()
        await kill_while_it_tries(storm, tries_apart=300)
        await storm.until_none_pends()
        took_s = time.monotonic() - began
        check_ids(storm)
        assert await storm.deliveries("failed") == []
        assert len(await storm.deliveries("arrived")) == JOBS
        assert set(receiver.arrived) == set(storm.jobs)
        print("\nstorm with a tail:", storm.figures(kills=KILLS, wall_s=round(took_s, 1)))


async def test_with_five_tries_alone_what_is_exhausted_is_listed_and_arrives_when_replayed(serve):
    async with Sceptic(seed=6) as receiver:
        storm = Storm(serve(), receiver)
        await storm.begin()
        await storm.submit(JOBS)
        began = time.monotonic()
        await storm.cancel_all()
        await kill_while_it_tries(storm, tries_apart=300)
        await storm.until_none_pends()
        check_ids(storm)
        exhausted = await storm.deliveries("failed")
        assert exhausted
        assert {one["tries"] for one in exhausted} == {5}
        assert {*storm.jobs} - {*receiver.arrived} <= {one["job_id"] for one in exhausted}
        receiver.failing = 0.0
        replayed = await storm.ask("POST", "/v1/webhooks/deliveries/replay", json={"state": "failed"})
        assert replayed == {"count": len(exhausted), "more": False}
        await storm.until_none_pends()
        took_s = time.monotonic() - began
        check_ids(storm)
        assert await storm.deliveries("failed") == []
        assert set(receiver.arrived) == set(storm.jobs)
        print(
            "\nstorm with five tries:",
            storm.figures(kills=KILLS, exhausted=len(exhausted), wall_s=round(took_s, 1)),
        )


async def test_a_thousand_replays_reach_a_good_receiver_fast(serve):
    async with Sceptic(seed=7, failing=1.0) as receiver:
        storm = Storm(serve(GPULEASE_WEBHOOK_RETRY_S="0.1"), receiver)
        await storm.begin()
        await storm.submit(JOBS)
        await storm.cancel_all()
        await storm.until_none_pends()
        assert len(await storm.deliveries("failed")) == JOBS
        receiver.failing = 0.0
        began = time.monotonic()
        await storm.ask("POST", "/v1/webhooks/deliveries/replay", json={"state": "failed"})
        replayed_s = time.monotonic() - began
        await storm.until_none_pends()
        took_s = time.monotonic() - began
        assert (set(receiver.arrived), receiver.duplicates) == (set(storm.jobs), 0)
        rate = JOBS / took_s
        print(
            "\na good receiver:", storm.figures(replay_s=round(replayed_s, 2), deliveries_per_s=round(rate))
        )
        assert rate > 20
