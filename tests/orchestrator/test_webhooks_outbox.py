"""Webhooks against real receivers: one that is well, and those that are not."""

import asyncio
import socket
from dataclasses import replace

import pytest
from standardwebhooks import Webhook
from stopwatch import Stopwatch
from webhook_world import OWNER, SECRET, opened, served

from gpulease.contract.jobs import OutputFile, Result
from orchestrator.storage.protocol import StorageUnavailable
from orchestrator.store.people import By
from orchestrator.store.rows import DeliveryState
from orchestrator.webhooks import Schedule
from orchestrator.webhooks.breaker import OPEN_S_MIN, SILENT_MAX
from orchestrator.webhooks.lanes import PER_HOST_MAX, WAITING_MAX
from orchestrator.webhooks.outbox import FRESH_MAX, HELD_S_MAX
from orchestrator.webhooks.payload import payload_of
from orchestrator.webhooks.schedule import TRIES_MIN
from orchestrator.webhooks.sign import BOTH_S, secret_of
from scaling.states import JobState


@pytest.fixture
async def outbox():
    async with opened() as found:
        yield found


@pytest.fixture
def deaf():
    """A socket that has a port and does not listen: who connects is refused."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def url_of(sock):
    return f"http://127.0.0.1:{sock.getsockname()[1]}/ok"


async def test_it_is_delivered_once(outbox):
    job_id = await outbox.ended_job(f"{outbox.url}/empty", OWNER.id)
    await outbox.turn()
    await outbox.turn()
    (got,) = outbox.receiver.got
    told = Webhook(secret_of(SECRET, OWNER.id, 1)).verify(got.body, got.headers)
    assert told == {"id": job_id, "status": "failed", "error": "cancelled by its client"}
    delivery = await outbox.delivery(job_id)
    assert (got.headers["webhook-id"], delivery.last_error) == (f"msg_{delivery.id}", None)
    assert delivery.done_at is not None


@pytest.mark.parametrize(("kind", "word"), [("broken", "500"), ("moved", "301 to /ok")])
async def test_five_tries_five_seconds_apart_and_a_replay_begins_anew(outbox, kind, word):
    job_id = await outbox.ended_job(f"{outbox.url}/{kind}")
    for n in range(TRIES_MIN + 2):
        await outbox.turn()
        assert len(outbox.receiver.got) == min(n + 1, TRIES_MIN)
        outbox.clock.advance(4.9)
        await outbox.turn()
        assert len(outbox.receiver.got) == min(n + 1, TRIES_MIN)
        outbox.clock.advance(0.7)
    delivery = await outbox.delivery(job_id)
    assert (delivery.tries, word in delivery.last_error) == (TRIES_MIN, True)
    (listed,) = await outbox.store.list_deliveries(state=DeliveryState.FAILED)
    await outbox.store.replay_delivery(listed.id, by=By("test"), now=outbox.clock.now())
    await outbox.turn()
    assert (await outbox.delivery(job_id)).tries == 1
    assert {one.headers["webhook-id"] for one in outbox.receiver.got} == {f"msg_{delivery.id}"}
    assert len(await outbox.store.list_delivery_tries(delivery.id)) == TRIES_MIN + 1


async def test_a_tail_adds_tries_after_its_own_waits():
    async with opened(Schedule(5.0, (60.0, 600.0))) as outbox:
        job_id = await outbox.ended_job(f"{outbox.url}/broken")
        for wait_s in (5, 5, 5, 5, 60, 600):
            await outbox.turn()
            before = len(outbox.receiver.got)
            outbox.clock.advance(wait_s * 0.99)
            await outbox.turn()
            assert len(outbox.receiver.got) == before
            outbox.clock.advance(wait_s * 0.12)
        await outbox.turn()
        assert len(outbox.receiver.got) == TRIES_MIN + 2
        assert (await outbox.delivery(job_id)).done_at is not None


async def test_after_a_rotation_both_secrets_verify_for_a_day(outbox):
    changes = {"webhook_version": 2, "webhook_rotated_at": outbox.clock.now()}
    await outbox.store.change_user(OWNER.id, changes, by=None, now=outbox.clock.now())
    await outbox.ended_job(f"{outbox.url}/ok", OWNER.id)
    await outbox.turn()
    (got,) = outbox.receiver.got
    old, new = (Webhook(secret_of(SECRET, OWNER.id, version)) for version in (1, 2))
    assert old.verify(got.body, got.headers) == new.verify(got.body, got.headers)
    outbox.clock.advance(BOTH_S)
    await outbox.ended_job(f"{outbox.url}/ok", OWNER.id)
    await outbox.turn()
    assert outbox.receiver.got[-1].headers["webhook-signature"].count("v1,") == 1


async def test_a_send_that_was_not_recorded_comes_again_under_its_id(outbox):
    job_id = await outbox.ended_job(f"{outbox.url}/hang")
    await outbox.webhooks.deliver_due()
    while not outbox.receiver.got:
        await asyncio.sleep(0.01)
    dead, outbox.webhooks = outbox.webhooks, outbox.fresh()
    await outbox.webhooks.deliver_due()
    while len(outbox.receiver.got) < 2:
        await asyncio.sleep(0.01)
    assert {one.headers["webhook-id"] for one in outbox.receiver.got} == {"msg_1"}
    assert (await outbox.delivery(job_id)).tries == 0
    await dead.aclose(grace_s=0)


async def test_a_receiver_that_hangs_slows_nobody_else(outbox):
    for _ in range(6):
        await outbox.ended_job(f"{outbox.url}/hang")
    async with served(outbox.receiver.app) as elsewhere:
        await outbox.ended_job(f"{elsewhere}/ok")
        with Stopwatch() as took:
            await outbox.webhooks.deliver_due()
        assert took.seconds < 5
        await outbox.receiver.until(PER_HOST_MAX + 1)
        await asyncio.sleep(0.2)
    assert (outbox.receiver.kinds().count("hang"), outbox.receiver.kinds().count("ok")) == (PER_HOST_MAX, 1)


async def test_a_long_queue_for_one_that_hangs_hides_nobody_else(outbox):
    async with served(outbox.receiver.app) as elsewhere:
        jobs = [await outbox.ended_job(f"{outbox.url}/hang") for _ in range(FRESH_MAX + WAITING_MAX + 1)]
        await outbox.ended_job(f"{elsewhere}/ok")
        await outbox.webhooks.deliver_due()
        await outbox.receiver.until(1, "ok")
    assert outbox.receiver.kinds().count("ok") == 1
    hung = [await outbox.delivery(job_id) for job_id in jobs]
    made_way = [one for one in hung if one.due_at > outbox.clock.now()]
    assert len(made_way) == FRESH_MAX - WAITING_MAX
    assert {(one.tries, one.last_error) for one in made_way} == {(0, None)}


async def test_more_than_a_lane_takes_are_all_delivered(outbox):
    outbox.webhooks.on_room = lambda: None
    for _ in range(3 * WAITING_MAX):
        await outbox.ended_job(f"{outbox.url}/ok")
    for _ in range(4):
        await outbox.turn()
    assert len({one.headers["webhook-id"] for one in outbox.receiver.got}) == 3 * WAITING_MAX
    assert len(outbox.receiver.got) == 3 * WAITING_MAX


async def test_a_dead_host_is_left_alone_and_found_again(outbox, deaf):
    jobs = [await outbox.ended_job(url_of(deaf)) for _ in range(SILENT_MAX + 20)]
    await outbox.turn()
    tried = [await outbox.delivery(job_id) for job_id in jobs]
    sent = sum(one.tries for one in tried)
    assert SILENT_MAX <= sent < SILENT_MAX + PER_HOST_MAX, "but for those that were on their way already"
    held = [one for one in tried if one.tries == 0]
    assert all("circuit is open" in one.last_error for one in held)
    assert all(one.due_at >= outbox.clock.now() + OPEN_S_MIN for one in held)
    assert outbox.webhooks.report()["circuits"][0]["host"] in url_of(deaf)
    await outbox.ended_job(f"{outbox.url}/ok")
    await outbox.turn()
    assert outbox.receiver.kinds() == ["ok"]
    outbox.clock.advance(OPEN_S_MIN * 1.11)
    await outbox.turn()
    tries = [(await outbox.delivery(job_id)).tries for job_id in jobs]
    assert sum(tries) == sent + 1, "one probe, and no more"


async def test_any_answer_of_a_probe_closes_the_circuit(outbox, deaf):
    jobs = [await outbox.ended_job(url_of(deaf)) for _ in range(SILENT_MAX + 5)]
    await outbox.turn()
    assert outbox.webhooks.report()["circuits_open"] == 1
    outbox.clock.advance(OPEN_S_MIN * 1.11)
    server = await asyncio.start_server(answer_500, sock=deaf)
    async with server:
        await outbox.turn()
    assert outbox.webhooks.report()["circuits_open"] == 0
    assert all(["500" in (await outbox.delivery(job_id)).last_error for job_id in jobs])


async def answer_500(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_what_a_circuit_holds_back_for_three_days_is_given_up(outbox, deaf):
    jobs = [await outbox.ended_job(url_of(deaf)) for _ in range(SILENT_MAX + 200)]
    ends_at = outbox.clock.now() + HELD_S_MAX
    while outbox.clock.now() < ends_at + 6 * 3600:
        await outbox.turn()
        outbox.clock.advance(600)
    given_up = await outbox.store.list_deliveries(state=DeliveryState.FAILED)
    assert len(given_up) == len(jobs)
    untried = [one for one in given_up if one.tries == 0]
    assert untried
    assert all("3 days" in one.last_error for one in untried)


async def test_errors_of_a_receiver_that_answers_open_nothing(outbox):
    for _ in range(3 * SILENT_MAX):
        await outbox.ended_job(f"{outbox.url}/broken")
    await outbox.turn()
    assert outbox.webhooks.report()["circuits_open"] == 0
    assert len(outbox.receiver.got) == 3 * SILENT_MAX


async def test_a_connection_is_used_again(outbox):
    for _ in range(3 * PER_HOST_MAX):
        await outbox.ended_job(f"{outbox.url}/broken")
    await outbox.turn()
    assert len({one.port for one in outbox.receiver.got}) <= PER_HOST_MAX


@pytest.mark.parametrize("kind", ["endless", "drip"])
async def test_a_reply_without_end_is_not_read(outbox, kind):
    job_id = await outbox.ended_job(f"{outbox.url}/{kind}")
    with Stopwatch() as took:
        await outbox.turn()
    assert took.seconds < 5
    delivery = await outbox.delivery(job_id)
    assert (delivery.last_error, delivery.done_at is None) == (None, False)


async def test_a_private_address_is_refused_again_at_the_send_and_opens_no_circuit(outbox):
    await outbox.webhooks.aclose()
    outbox.webhooks = outbox.fresh(allow_hosts=())
    jobs = [await outbox.ended_job(f"{outbox.url}/ok") for _ in range(SILENT_MAX + 1)]
    await outbox.turn()
    assert outbox.receiver.got == []
    assert ["ForbiddenAddress" in (await outbox.delivery(one)).last_error for one in jobs] == [True] * len(
        jobs
    )
    assert outbox.webhooks.report()["circuits_open"] == 0


async def test_our_own_fault_counts_no_try(outbox):
    async def unavailable(_):
        raise StorageUnavailable("it is down")

    job = replace(await made(outbox), result=Result(backend="b", files=(FILE,)), state=JobState.SUCCEEDED)
    outbox.store.world.jobs[job.id] = job
    await outbox.webhooks.aclose()
    outbox.webhooks = outbox.fresh(unavailable)
    await outbox.turn()
    delivery = await outbox.delivery(job.id)
    assert (delivery.tries, outbox.receiver.got) == (0, [])
    assert "it is down" in delivery.last_error
    await outbox.webhooks.aclose()
    outbox.webhooks = outbox.fresh()
    outbox.clock.advance(60)
    await outbox.turn()
    assert (await outbox.delivery(job.id)).last_error is None
    assert len(outbox.receiver.got) == 1


async def test_closing_lets_what_is_on_its_way_end(outbox):
    job_id = await outbox.ended_job(f"{outbox.url}/ok")
    await outbox.webhooks.deliver_due()
    await outbox.webhooks.aclose()
    assert (await outbox.delivery(job_id)).done_at is not None
    await outbox.webhooks.deliver_due()
    await outbox.webhooks.aclose()


FILE = OutputFile(name="a.mp3", key="k/a.mp3", size_bytes=1)


async def made(outbox):
    return await outbox.store.get_job(await outbox.ended_job(f"{outbox.url}/ok"))


async def test_the_payload_has_the_seeds_form(outbox):
    async def signed(result):
        return result.model_copy(update={"files": (FILE.model_copy(update={"url": "https://files/k"}),)})

    job = await made(outbox)
    text = replace(job, state=JobState.SUCCEEDED, result=Result(backend="b", text="hello"))
    assert await payload_of(text, signed) == {"id": job.id, "status": "success", "text": "hello"}
    media = replace(job, state=JobState.SUCCEEDED, result=Result(backend="b", files=(FILE,)))
    assert await payload_of(media, signed) == {
        "id": job.id,
        "status": "success",
        "result_url": "https://files/k",
    }
