"""On Salad a container that exits is started again: a worker that nobody wants rests there, and tells its node."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator

import pytest
from agent_orchestrator import Emulator
from conftest import Start, until

pytestmark = pytest.mark.slow


class Node:
    """The metadata service of a Salad node, as far as a worker asks it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, int]] = []
        self.moves: list[tuple[str, str | None, str]] = []
        self.answers = True
        self.calls: set[asyncio.Task[None]] = set()
        self.url = ""

    @property
    def costs(self) -> list[int]:
        return [cost for _, _, cost in self.asked]

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
                headers = dict(line.split(": ", 1) for line in head[1:] if line)
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                call = head[0], headers.get("metadata")
                if "reason" in body:
                    self.moves.append((*call, body["reason"]))
                else:
                    self.asked.append((*call, body["deletion_cost"]))
                if not self.answers:
                    await asyncio.sleep(60)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    node.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield node
    server.close()
    for call in node.calls:
        call.cancel()
    await asyncio.gather(*node.calls, return_exceptions=True)
    await asyncio.sleep(0)  # Transports close in the loop's next turn.


def on_salad(node: Node) -> dict[str, str]:
    proxy = "http://127.0.0.1:9"
    return {
        "SALAD_METADATA_URI": node.url,
        "SALAD_MACHINE_ID": "machine",
        "GPULEASE_WORKER_REST_S": "0.3",
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
    }


def sleep_job(world: Emulator, seconds: float) -> int:
    return world.give("command", {"program": "sleep", "arguments": {"seconds": seconds}})


async def test_its_node_hears_when_it_is_busy(world: Emulator, start: Start, node: Node):
    worker = start(**on_salad(node))
    attempt = sleep_job(world, 0.5)
    await until(lambda: attempt in world.finished)
    await until(lambda: node.costs == [0, 1000, 0])
    assert {(head, metadata) for head, metadata, _ in node.asked} == {
        ("put /v1/deletion-cost http/1.1", "true")
    }
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 0


async def test_a_node_that_does_not_answer_costs_nothing(world: Emulator, start: Start, node: Node):
    node.answers = False
    start(**on_salad(node))
    attempt = sleep_job(world, 0.2)
    await until(lambda: attempt in world.finished)
    assert world.finished[attempt]["result"]


async def test_let_go_it_rests_until_it_is_wanted(world: Emulator, start: Start, node: Node):
    worker = start(**on_salad(node))
    first = sleep_job(world, 0)
    await until(lambda: first in world.finished)
    world.told = {"stop": True}
    await until(lambda: "resting" in worker.log)
    await until(lambda: worker.kin() == [])  # No engine is left in memory.
    assert worker.process.poll() is None
    world.told = {}
    again = sleep_job(world, 0)
    await until(lambda: again in world.finished)
    assert world.finished[again]["result"]
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 0


async def test_refused_it_rests_quietly(world: Emulator, start: Start, node: Node):
    worker = start(**on_salad(node), GPULEASE_WORKER_KEY="wrong")
    await until(lambda: "resting" in worker.log)
    seen = world.refused
    await until(lambda: world.refused >= seen + 3)
    assert worker.process.poll() is None
    assert worker.log.count("resting") == 1


async def test_orphaned_it_gives_its_job_up_and_rests(world: Emulator, start: Start, node: Node):
    world.orphan_after_s = 0.6
    worker = start(**on_salad(node))
    attempt = sleep_job(world, 60)
    await until(lambda: "pids" in world.logs.get(attempt, ""))
    world.down = True
    await until(lambda: "resting" in worker.log)
    await until(lambda: worker.kin() == [])
    assert worker.process.poll() is None
    world.down = False
    await until(lambda: len(world.registered) == 2)
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 0


async def test_it_can_be_told_to_end_instead(world: Emulator, start: Start, node: Node):
    world.told = {"stop": True}
    worker = start(**on_salad(node), GPULEASE_WORKER_RESTS="never")
    assert await worker.exit_code() == 0


async def test_an_unfit_machine_asks_to_be_moved_and_waits(world: Emulator, start: Start, node: Node):
    worker = start(**on_salad(node), GPULEASE_DEVICE="cuda", CUDA_VISIBLE_DEVICES="-1")
    await until(lambda: len(node.moves) >= 2)
    request, metadata, reason = node.moves[0]
    assert (request, metadata) == ("post /v1/reallocate http/1.1", "true")
    assert "GPULEASE_DEVICE is cuda" in reason
    assert worker.process.poll() is None
    assert world.registered == []
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 0
    assert worker.leftovers() == []
