"""The agent of a Comput3 node with ComfyUI: portraits and workflows in a real host process, on an emulated node."""

import asyncio
import time
import wave
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
from agent_orchestrator import Emulator
from hosted_world import HostProcess, duty, finish_of, hosting, until
from PIL import Image
from stopwatch import Stopwatch

from comfyui.comfy import Comfy
from comfyui.server import ComfyServer
from comput3.cloud import Comput3Emulator
from worker_image.engines.comfyui.client import ComfyUI
from worker_image.hosted.comfyui.backends import Boot, NodeComfy, SonicNode, WorkflowNode
from worker_image.hosted.media import MediaNode, Ui
from worker_image.media.probe import require_video

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "face"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "copy"}},
}


@pytest.fixture
async def cloud() -> AsyncIterator[Comput3Emulator]:
    async with Comput3Emulator() as cloud:
        yield cloud


@pytest.fixture
async def comfy(cloud: Comput3Emulator, world: Emulator) -> Comfy:
    """The ComfyUI of the one node, for which there is a duty."""
    body = {"type": "media:fast", "expires": int(time.time()) + 600}
    async with httpx.AsyncClient(headers={"X-C3-API-KEY": cloud.key}, trust_env=False) as client:
        said = (await client.post(f"{cloud.url}/launch", json=body)).json()
    world.duties.append(duty("w-1", f"http://{said['node']}"))
    return cloud.comfy(said["workload"])


@pytest.fixture
async def host(
    cloud: Comput3Emulator, comfy: Comfy, world: Emulator, tmp_path: Path
) -> AsyncIterator[HostProcess]:
    async with hosting(world, tmp_path, "comput3", C3_API_KEY=cloud.key) as host:
        yield host


def give(world: Emulator, folder: Path, engine: str, asked: dict, *fields: str) -> int:
    """A job whose inputs are a picture and, where it wants one, a sound."""
    Image.new("RGB", (64, 48), "green").save(folder / "face.png")
    with wave.open(str(folder / "voice.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\0\1" * 16_000)
    for name in ("face.png", "voice.wav"):
        world.files[name] = (folder / name).read_bytes()
    urls = {name: f"{world.url}/files/{'voice.wav' if 'audio' in name else 'face.png'}" for name in fields}
    return world.give(engine, asked, inputs=urls)


def portrait(world: Emulator, folder: Path, **asked) -> int:
    fields = ("image_url", "audio_url")
    return give(world, folder, "portrait", {**dict.fromkeys(fields, "upload://1"), **asked}, *fields)


def workflow(world: Emulator, folder: Path) -> int:
    asked = {"workflow": GRAPH, "inputs": {"face": "upload://1"}}
    return give(world, folder, "comfyui", asked, "inputs.face")


@pytest.mark.slow
async def test_a_node_makes_portraits_and_runs_workflows(
    world: Emulator, comfy: Comfy, host: HostProcess, tmp_path: Path
):
    comfy.knobs.step_s = 1.2
    spoken = portrait(world, tmp_path, steps=3)
    made = (await finish_of(world, spoken))["result"]
    assert (made["backend"], made["model"]) == ("sonic-node", "sonic")
    assert made["data"]["seed"] == comfy.runs[0].graph["31"]["inputs"]["seed"]
    film = tmp_path / "film"
    film.write_bytes(world.stored[f"{spoken}/portrait.mp4"])
    assert require_video(film, "film").has_audio
    assert "SONICSampler, step 2 of 3" in [one["message"] for one in world.progress[spoken]]
    copied = workflow(world, tmp_path)
    result = (await finish_of(world, copied))["result"]
    assert (result["backend"], result["files"][0]["name"]) == ("comfyui-node", "copy_00001_.png")
    offered = {one["engine"]: one for one in world.registered[0]["engines"]}
    assert offered["portrait"]["models"] == ["sonic"]
    assert (offered["portrait"]["vram_gb"], offered["comfyui"]["backend"]) == (24.0, "comfyui-node")


@pytest.mark.slow
async def test_a_call_that_is_taken_back_ends_on_the_node_and_frees_the_slot(
    world: Emulator, comfy: Comfy, host: HostProcess, tmp_path: Path
):
    comfy.knobs.step_s = 0.2
    first = portrait(world, tmp_path, steps=100)
    await until(lambda: any(one["step"] for one in world.progress.get(first, ())))
    world.cancel.add(first)
    with Stopwatch() as took:
        await until(lambda: comfy.history)
    assert took.seconds < 3
    (entry,) = comfy.history.values()
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    second = workflow(world, tmp_path)
    assert (await finish_of(world, second))["result"]
    assert first not in world.finished


@pytest.mark.slow
async def test_a_node_that_dies_in_a_portrait_is_the_hosts_fault(
    cloud: Comput3Emulator, world: Emulator, comfy: Comfy, host: HostProcess, tmp_path: Path
):
    comfy.knobs.fails = {"SONICSampler": ("torch.OutOfMemoryError", "Allocation on device")}
    fault = (await finish_of(world, portrait(world, tmp_path)))["fault"]
    assert (fault["kind"], fault["code"]) == ("host", "out_of_memory")
    assert comfy.freed == 1


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[ComfyServer]:
    async with ComfyServer(tmp_path / "comfyui") as server:
        yield server


async def test_a_server_is_waited_for_while_its_node_boots_and_once_only(alone: ComfyServer):
    alone.core.knobs.bad_gateway = True
    async with aclosing(ComfyUI(alone.url)) as server:
        comfy = NodeComfy(server, Boot(wait_s=20.0, again_s=0.05))
        booting = asyncio.create_task(WorkflowNode(comfy).probe())
        await asyncio.sleep(0.2)
        assert not booting.done()
        alone.core.knobs.bad_gateway = False
        assert [one.backend for one in await booting] == ["comfyui-node"]
        assert [one.engine for one in await SonicNode(comfy).probe()] == ["portrait"]
        alone.core.knobs.bad_gateway = True
        began = time.monotonic()
        assert "502" in await WorkflowNode(comfy).probe()
        assert time.monotonic() - began < 15
        late = NodeComfy(server, Boot(wait_s=0.2, again_s=0.05))
        assert "does not answer" in await SonicNode(late).probe()


async def test_a_node_without_the_models_says_what_it_lacks(alone: ComfyServer):
    alone.core.knobs.checkpoints = ()
    async with aclosing(ComfyUI(alone.url)) as server:
        comfy = NodeComfy(server, Boot(wait_s=0.0))
        assert "svd_xt.safetensors" in await SonicNode(comfy).probe()
        assert await WorkflowNode(comfy).probe()


@pytest.mark.parametrize("address", ["a-b-c-gpu.comput3.ai", "https://a-b-c-gpu.comput3.ai"])
async def test_the_servers_name_is_made_of_the_nodes(address: str):
    assert Ui().of(address) == "https://ui-a-b-c-gpu.comput3.ai"
    node = MediaNode(address, {"X-C3-API-KEY": "key"}, Ui("http://{node}:8188/"))
    names = [backend.name for backend in node.backends]
    assert names == ["csm-gradio", "whisperx-gradio", "sonic-node", "comfyui-node"]
    await node.aclose()


async def test_the_nodes_proxy_wants_the_key_for_sockets_too(
    cloud: Comput3Emulator, comfy: Comfy, world: Emulator
):
    address = world.duties[0]["address"]
    await until(cloud.live)
    for key, heard in (("wrong", False), (cloud.key, True)):
        async with (
            aclosing(ComfyUI(f"{address}/ui", {"X-C3-API-KEY": key})) as server,
            server.events("somebody") as events,
        ):
            assert await events.until_connected(0.5) == heard
