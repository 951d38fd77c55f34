"""Agents for machines that make videos and speak gRPC: a real host process, a worker of the first system."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from agent_orchestrator import Emulator
from hosted_world import HostProcess, duty, finish_of, hosting, until

from provider_clients.errors import OutcomeUnknown
from provider_clients.static import Static, StaticMachine, read_machines
from video_worker import VideoWorker, video_worker

pytestmark = pytest.mark.slow

INPUT = {"prompt": "a cat", "width": 64, "height": 64, "duration": 0.5, "fps": 8}
THERE = "/scratch"
"""What the machine calls the folder that both sides see."""


@pytest.fixture
def share(tmp_path: Path) -> Path:
    path = tmp_path / "share"
    path.mkdir()
    return path


@pytest.fixture
async def node(tmp_path: Path, share: Path) -> AsyncIterator[VideoWorker]:
    """A container: paths below THERE are its names for the share."""
    async with video_worker(tmp_path) as worker:
        worker.sees[THERE] = share
        yield worker


def machines_of(node: VideoWorker, share: Path, **more) -> str:
    entry = {
        "name": "videos-1",
        "url": f"grpc://{node.url}",
        "engines": {"video": "mochi-1-preview, wan"},
        "shared_here": str(share),
        "shared_there": THERE,
        "key": "a-key",
    }
    path = share.parent / "machines.json"
    path.write_text(json.dumps([entry | more]))
    return str(path)


@pytest.fixture
async def host(node: VideoWorker, share: Path, world: Emulator, tmp_path: Path) -> AsyncIterator[HostProcess]:
    world.duties.append(duty("w-1", f"grpc://{node.url}"))
    machines = machines_of(node, share)
    async with hosting(world, tmp_path, "static", GPULEASE_STATIC_MACHINES=machines) as host:
        yield host


def give(world: Emulator, **more) -> int:
    return world.give("video", INPUT | more)


def left(share: Path) -> list[Path]:
    return list(share.iterdir())


async def test_a_video_is_made_there_and_comes_back(
    world: Emulator, node: VideoWorker, share: Path, host: HostProcess
):
    attempt = give(world)
    result = (await finish_of(world, attempt))["result"]
    assert (result["backend"], result["model"]) == ("grpc", "mochi-1-preview")
    assert world.stored[f"{attempt}/video.mp4"][4:8] == b"ftyp"
    (asked,) = node.streams
    assert asked.scratch_dir == f"{THERE}/{asked.job_id}"
    assert asked.job_id.endswith(f"-{attempt}")
    assert node.keys == ["a-key"]
    (offer,) = world.registered[0]["engines"]
    assert (offer["engine"], offer["models"]) == ("video", ["mochi-1-preview", "wan"])
    assert left(share) == []


async def test_a_cancel_ends_it_there_and_the_machine_is_free_again(
    world: Emulator, node: VideoWorker, share: Path, host: HostProcess
):
    node.knobs.hold = True
    first = give(world)
    await until(lambda: "frame 2" in world.logs.get(first, ""))
    world.cancel.add(first)
    await until(lambda: node.closed == 1)
    node.knobs.hold = False
    assert (await finish_of(world, give(world)))["result"]
    assert first not in world.finished
    assert left(share) == []


async def test_a_machine_that_restarts_makes_it_anew(world: Emulator, node: VideoWorker, host: HostProcess):
    node.knobs.hold = True
    first = give(world)
    await until(lambda: "frame 2" in world.logs.get(first, ""))
    await node.restart()
    node.knobs.hold = False
    assert (await finish_of(world, first))["result"]
    assert len(node.runs) == 2


async def test_what_it_names_outside_of_the_folder_is_not_taken(
    world: Emulator, node: VideoWorker, share: Path, host: HostProcess
):
    node.knobs.leave = lambda _: "/etc/passwd"
    fault = (await finish_of(world, give(world)))["fault"]
    assert (fault["kind"], fault["code"]) == ("host", "video_outside")


async def test_without_a_folder_that_both_see_nothing_is_offered(
    world: Emulator, node: VideoWorker, share: Path, tmp_path: Path
):
    world.duties.append(duty("w-1", f"grpc://{node.url}"))
    machines = machines_of(node, share, shared_here=None, shared_there=None)
    async with hosting(world, tmp_path, "static", GPULEASE_STATIC_MACHINES=machines) as host:
        await until(lambda: "shared_here, shared_there" in host.log)
        assert world.registered == []


async def test_the_provider_lists_it_where_somebody_listens(node: VideoWorker, share: Path):
    (machine,) = read_machines(Path(machines_of(node, share)))
    assert machine.speaks_grpc
    static = Static((machine, StaticMachine("gone", "grpcs://127.0.0.1:1", {"video": "wan"})))
    assert [one.id for one in await static.list()] == ["videos-1"]
    with pytest.raises(OutcomeUnknown, match="cannot be reached"):
        await static.get("gone")
    notes = (await static.check()).notes
    assert notes[0] == "videos-1 answers, and runs mochi-1-preview, wan."
    await static.aclose()


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"url": "grpc://videos"}, "url"),
        ({"url": "grpc://user@videos:50051"}, "url"),
        ({"url": "grpcs://videos:50051/path"}, "url"),
        ({"tls_cert": "/a.pem"}, "tls_cert and tls_key"),
    ],
)
async def test_a_faulty_entry_is_named(node: VideoWorker, share: Path, more: dict, fault: str):
    path = Path(machines_of(node, share, **more))
    with pytest.raises(ValueError, match=fault):
        await asyncio.to_thread(read_machines, path)
