"""Agents for render machines that others run: a real host process, a real Blender where there is one."""

import asyncio
import json
import shutil
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from agent_orchestrator import Emulator
from blender_program import BLENDER, needs_blender, run_script
from hosted_world import HostProcess, duty, finish_of, hosting, until

from hpc.node import HpcNode

pytestmark = pytest.mark.slow

# What Blender does, as far as files tell: it reads the parameters, tells, and writes frames.
RENDERS = """
    import json, os, pathlib, sys, time
    folder = pathlib.Path(sys.argv[-1]).parent
    asked = json.loads(pathlib.Path(sys.argv[-1]).read_text())
    assert (folder / asked["project"]).read_bytes().startswith(b"BLENDER")
    told = open(folder / "told", "w", buffering=1)
    tell = lambda **facts: told.write(asked["mark"] + json.dumps(facts) + "\\n")
    tell(version="blender-0")
    if asked["camera"] == "Nobody":
        tell(fault="the scene has no camera")
        sys.exit(0)
    tell(render_engine="CYCLES", device="CPU", pictures_a_frame=1, missing_count=0, ignored=[])
    for frame in asked["frames"]:
        time.sleep(asked["samples"] or 0)
        (folder / "out" / asked["picture"].format(frame=frame)).write_bytes(b"\\x89PNG %d" % frame)
    sys.exit(3 if asked["camera"] == "Crash" else 0)
"""
BLEND = b"BLENDER-v300 and so on"
MAKE_BLEND = """
import bpy, sys
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = 1
scene.render.resolution_x, scene.render.resolution_y = 32, 20
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[-1])
"""

Hosting = Callable[..., AbstractAsyncContextManager[HostProcess]]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[HpcNode]:
    program = tmp_path / "blender"
    program.write_text(f"#!{sys.executable}\n{textwrap.dedent(RENDERS)}")
    program.chmod(0o755)
    async with HpcNode({"blender-4": str(program)}) as node:
        yield node


@pytest.fixture
def share(tmp_path: Path) -> Path:
    path = tmp_path / "share"
    path.mkdir()
    return path


def machines_of(node: HpcNode, share: Path, **more) -> str:
    """A file with that one machine, which sees the share as we do."""
    entry = {"name": "farm-1", "url": node.url, "engines": {"blender": "blender-4"}, **more}
    folder = {"shared_here": str(share), "shared_there": str(share)} if "key" not in more else {}
    path = share.parent / "machines.json"
    path.write_text(json.dumps([{**entry, **folder}]))
    return str(path)


@pytest.fixture
async def host(node: HpcNode, share: Path, world: Emulator, tmp_path: Path) -> AsyncIterator[HostProcess]:
    world.duties.append(duty("w-1", node.url))
    machines = machines_of(node, share)
    async with hosting(world, tmp_path, "static", GPULEASE_STATIC_MACHINES=machines) as host:
        yield host


def render(world: Emulator, blend: bytes = BLEND, **asked) -> int:
    return world.give("blender", {"file_url": "upload://1", **asked}, file=blend)


def left(share: Path) -> list[Path]:
    return list(share.iterdir())


async def started(world: Emulator, node: HpcNode, attempt: int) -> None:
    await until(lambda: node.renderer.running and "picture 1" in world.logs.get(attempt, ""))


async def test_a_render_goes_there_and_its_frames_come_back(
    world: Emulator, node: HpcNode, share: Path, host: HostProcess
):
    still, frames = render(world), render(world, frames="1-3")
    result = (await finish_of(world, still))["result"]
    assert (result["backend"], result["model"]) == ("hpc-blender", "blender-0")
    assert world.stored[f"{still}/frame_000001.png"] == b"\x89PNG 1"
    assert (await finish_of(world, frames))["result"]["data"]["frames"] == 3
    assert list(world.stored)[-1] == f"{frames}/frames.zip"
    assert left(share) == []
    (_, asked), *_ = node.requests
    assert (asked["EngineId"], asked["TaskId"]) == ("blender-4", still)
    assert world.registered[0]["engines"][0]["engine"] == "blender"


async def test_a_cancel_stops_the_render_there(
    world: Emulator, node: HpcNode, share: Path, host: HostProcess
):
    first = render(world, samples=60)
    await started(world, node, first)
    world.cancel.add(first)
    await until(lambda: not node.renderer.running)
    assert (await finish_of(world, render(world)))["result"]
    assert first not in world.finished
    assert ("stop", {"TaskId": first}) in node.requests
    assert left(share) == []


async def test_a_machine_that_forgot_our_task_is_at_fault(world: Emulator, node: HpcNode, host: HostProcess):
    first = render(world, samples=60)
    await started(world, node, first)
    await node.restart()
    fault = (await finish_of(world, first))["fault"]
    assert (fault["kind"], fault["code"]) == ("host", "render_forgotten")
    assert (await finish_of(world, render(world)))["result"]


async def test_the_success_of_another_task_is_not_ours(world: Emulator, node: HpcNode, host: HostProcess):
    first = render(world, samples=60)
    await started(world, node, first)
    await node.restart()
    await node.renderer.start({"EngineId": "blender-4", "TaskId": 7, "Arguments": "-b nothing"})
    fault = (await finish_of(world, first))["fault"]
    assert (fault["kind"], fault["code"]) == ("host", "render_forgotten")


async def test_a_machine_out_of_reach_for_a_while_goes_on_with_its_render(
    world: Emulator, node: HpcNode, host: HostProcess
):
    first = render(world, samples=2)
    await started(world, node, first)
    await node.vanish()
    await asyncio.sleep(1.5)
    await node.appear()
    assert (await finish_of(world, first))["result"]


async def test_what_the_script_tells_and_what_it_leaves_decide(
    world: Emulator, node: HpcNode, host: HostProcess
):
    nobody, text = render(world, camera="Nobody"), render(world, b"no blend")
    for attempt, code in ((nobody, "blend_invalid"), (text, "input_not_blend")):
        fault = (await finish_of(world, attempt))["fault"]
        assert (fault["kind"], fault["code"]) == ("job", code)
    assert (await finish_of(world, render(world, camera="Crash")))["result"]


async def test_a_machine_that_others_use_is_left_alone(
    world: Emulator, node: HpcNode, share: Path, tmp_path: Path
):
    stranger = {"EngineId": "blender-4", "TaskId": 7, "Arguments": "-c nothing"}
    node._engines["sleep"] = shutil.which("sleep") or ""
    node.renderer._engines["sleep"] = node._engines["sleep"]
    await node.renderer.start({**stranger, "EngineId": "sleep", "Arguments": "sleep 60"})
    world.duties.append(duty("w-1", node.url))
    machines = machines_of(node, share)
    async with hosting(world, tmp_path, "static", GPULEASE_STATIC_MACHINES=machines) as host:
        await until(lambda: world.duties_asked > 2)
        assert (world.registered, node.renderer.running) == ([], True)
        assert host.process.poll() is None


async def test_without_a_folder_that_both_see_nothing_is_offered(
    world: Emulator, node: HpcNode, share: Path, tmp_path: Path
):
    world.duties.append(duty("w-1", node.url))
    machines = machines_of(node, share, key="secret")
    async with hosting(world, tmp_path, "static", GPULEASE_STATIC_MACHINES=machines) as host:
        await until(lambda: "shared_here, shared_there" in host.log)
        assert world.registered == []


async def test_a_wrong_file_of_machines_stops_the_start(world: Emulator, tmp_path: Path):
    path = tmp_path / "machines.json"
    path.write_text("[{}]")
    async with hosting(world, tmp_path, "static", GPULEASE_STATIC_MACHINES=str(path)) as host:
        assert await host.exit_code() == 2
        assert "cannot_start" in host.log


@needs_blender
async def test_a_real_blender_renders_what_lies_in_the_folder(world: Emulator, share: Path, tmp_path: Path):
    path = tmp_path / "cube.blend"
    await asyncio.to_thread(run_script, MAKE_BLEND, path)
    async with HpcNode({"blender-4": str(BLENDER)}) as node:
        world.duties.append(duty("w-1", node.url))
        machines = machines_of(node, share)
        async with hosting(world, tmp_path, "static", GPULEASE_STATIC_MACHINES=machines):
            film = render(world, content(path), frames="1-2", output="MP4")
            nobody = render(world, content(path), camera="Nobody")
            result = (await finish_of(world, film))["result"]
            assert result["model"].startswith("blender-")
            assert world.stored[f"{film}/film.mp4"][4:8] == b"ftyp"
            assert (await finish_of(world, nobody))["fault"]["code"] == "blend_invalid"


def content(path: Path) -> bytes:
    return path.read_bytes()
