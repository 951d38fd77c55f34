"""Our agent for render machines drives our own `/hpc`: a real worker process, a real Blender, a folder of both."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from agent_orchestrator import Emulator
from blender_program import BLENDER, needs_blender, run_script
from hosted_world import duty, finish_of, hosting, until

MAKE = """
import bpy, sys
scene = bpy.context.scene
scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
scene.render.resolution_x, scene.render.resolution_y = 32, 20
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[-1])
"""

pytestmark = [
    pytest.mark.slow,
    needs_blender,
]


@pytest.fixture
def share(tmp_path: Path) -> Path:
    path = tmp_path / "share"
    path.mkdir()
    return path


@pytest.fixture
def blend(tmp_path: Path) -> bytes:
    path = tmp_path / "cube.blend"
    run_script(MAKE, path)
    return path.read_bytes()


@pytest.fixture
async def machine(tmp_path: Path, share: Path) -> AsyncIterator[str]:
    """The address of a worker that serves `/hpc`."""
    engines, log = tmp_path / "HPCServer.json", tmp_path / "machine.log"
    entry = {"EngineId": "blender", "ExecutablePath": BLENDER}
    engines.write_text(json.dumps({"RenderingEngines": [entry], "AllowedFolders": [str(share)]}))
    own = {
        "GPULEASE_HPC_ENGINES": str(engines),
        "GPULEASE_WORKER_PORT": "0",
        "GPULEASE_SCRATCH": str(tmp_path / "machine"),
    }
    process = started(own, log)
    try:
        await until(lambda: "listening" in log.read_text())
        port = log.read_text().partition("listening")[2].partition("port=")[2].split()[0]
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)


def started(own: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GPULEASE_")}
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "worker_image"]
        return subprocess.Popen(command, env={**environment, **own}, stderr=sink)


def left(share: Path) -> list[Path]:
    return list(share.iterdir())


async def test_a_frame_is_rendered_there_and_a_wrong_one_is_told(
    world: Emulator, machine: str, share: Path, blend: bytes, tmp_path: Path
):
    entry = {"name": "ours", "url": machine, "engines": {"blender": "blender"}}
    folders = {"shared_here": str(share), "shared_there": str(share)}
    machines = tmp_path / "machines.json"
    machines.write_text(json.dumps([{**entry, **folders}]))
    world.duties.append(duty("w-1", machine))
    async with hosting(world, tmp_path, "static", GPULEASE_STATIC_MACHINES=str(machines)):
        still = world.give("blender", {"file_url": "upload://1", "frames": "3"}, file=blend)
        result = (await finish_of(world, still))["result"]
        assert (result["backend"], result["data"]["device"]) == ("hpc-blender", "CPU")
        assert world.stored[f"{still}/frame_000003.png"].startswith(b"\x89PNG")
        nobody = world.give("blender", {"file_url": "upload://1", "camera": "Nobody"}, file=blend)
        assert "there are: Camera" in (await finish_of(world, nobody))["fault"]["message"]
        long = {"file_url": "upload://1", "frames": "1-500", "samples": 500}
        taken = world.give("blender", long, file=blend)
        await until(lambda: "picture" in world.logs.get(taken, ""))
        world.cancel.add(taken)
        async with httpx.AsyncClient(base_url=machine) as api:
            async with asyncio.timeout(15):
                while (task := (await api.get("/hpc/status")).json()["Task"])["IsRunning"]:
                    await asyncio.sleep(0.05)
        assert (task["TaskId"], task["IsSuccess"]) == (taken, False)
        await until(lambda: left(share) == [])
