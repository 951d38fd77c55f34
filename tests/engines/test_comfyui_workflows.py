"""Workflows of clients on an emulated ComfyUI: what they make, and whose fault it is when they do not."""

import asyncio
import zipfile
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
from comfyui_bench import QUICK, URL, WORKFLOW, Bench, workflow
from PIL import Image
from pydantic import ValidationError

from gpulease.contract.engines import ComfyuiInput
from worker_image.engines.base import EngineConfig, Outcome
from worker_image.engines.comfyui.replies import Stored, combo
from worker_image.engines.comfyui.workflow import run_workflow, suffix_of
from worker_image.engines.registry import make
from worker_image.faults import Faulted, HostFault, InputFault

CHECKPOINT = {
    "7": {"class_type": "ImageOnlyCheckpointLoader", "inputs": {"ckpt_name": "flux.safetensors"}},
    "8": {"class_type": "SONICTLoader", "inputs": {"model": ["7", 0]}},
}


async def run(bench: Bench, graph: dict) -> Outcome:
    async with aclosing(bench.server()) as server:
        return await run_workflow(server, bench.work(graph), bench.report, QUICK)


async def fault_of(bench: Bench, graph: dict) -> Faulted:
    with pytest.raises(Faulted) as caught:
        await run(bench, graph)
    return caught.value


async def test_a_workflow_works_on_the_file_that_it_names(bench: Bench):
    bench.comfy.core.knobs.node_s = dict.fromkeys(
        ("LoadImage", "ImageScale", "SaveImage"), 0.3
    )  # Else it may be over first.
    made = await run(bench, WORKFLOW)
    (file,) = made.files
    assert (file.name, file.content_type) == ("scaled_00001_.png", "image/png")
    with Image.open(file.path) as image:
        assert (image.size, image.getpixel((3, 3))) == ((32, 20), (255, 0, 0))
    assert made.data == {"files": ["scaled_00001_.png"], "file_count": 1, "cached_nodes": 0}
    assert {"LoadImage", "ImageScale", "SaveImage"} <= set(bench.said())
    shares = [step.share for step in bench.steps if step.phase == "inferring"]
    assert shares == sorted(shares)
    assert bench.comfy.core.running is None


async def test_all_that_is_saved_comes_back_and_previews_do_not(bench: Bench):
    also = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "deep/scaled"}}
    preview = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    made = await run(bench, {**WORKFLOW, "4": also, "5": preview})
    (archive,) = made.files
    with zipfile.ZipFile(archive.path) as opened:
        names = opened.namelist()
        assert names == ["scaled_00001_.png", "scaled_00001_-2.png"]
    assert made.data["file_count"] == 2
    graph = {"1": WORKFLOW["1"], "5": {**preview, "inputs": {"images": ["1", 0]}}}
    assert (await fault_of(bench, graph)).code == "no_output"


async def test_the_name_that_counts_is_the_one_that_the_server_gives(bench: Bench):
    async with aclosing(bench.server()) as server:
        name = await server.upload(bench.image, ".png")
    taken = bench.comfy.core.folder / "input" / name
    Image.new("RGB", (5, 5), "blue").save(taken)
    made = await run(bench, WORKFLOW)
    with Image.open(made.files[0].path) as image:
        assert image.getpixel((3, 3)) == (255, 0, 0)
    assert bench.comfy.core.runs[0].graph["1"]["inputs"]["image"] == f"{taken.stem} (1).png"


async def test_the_same_again_is_served_from_what_was_made(bench: Bench):
    first = await run(bench, WORKFLOW)
    bench.steps.clear()
    second = await run(bench, WORKFLOW)
    assert second.data == {**first.data, "cached_nodes": 3}
    assert content(second) == content(first)
    assert "ImageScale" not in bench.said()


@pytest.mark.parametrize(
    ("graph", "inputs", "said"),
    [
        ({"nodes": [], "links": [], "version": 0.4}, {}, "API format"),
        ({"1": {"class_type": "LoadImage"}}, {}, "'1' must have"),
        ({"1": "LoadImage"}, {}, "'1' must have"),
        (WORKFLOW, {"voice.mp3": URL}, "voice.mp3"),
        (WORKFLOW, {"1": URL}, "no node's input is '1'"),
    ],
)
async def test_what_is_no_workflow_is_refused_where_it_is_submitted(
    bench: Bench, graph: dict, inputs: dict, said: str
):
    asked = {"workflow": graph, "inputs": inputs}
    with pytest.raises(ValidationError, match=said):
        ComfyuiInput.model_validate(asked)
    async with aclosing(bench.server()) as server:
        with pytest.raises(InputFault, match=said):
            await run_workflow(server, bench.job("comfyui", asked, {}), bench.report)
    assert bench.comfy.core.runs == []


async def test_a_refusal_names_the_node_and_its_input(bench: Bench):
    fault = await fault_of(bench, workflow(ImageScale={"width": "wide"}))
    assert (fault.kind, fault.code) == ("job", "workflow_invalid")
    assert "node 2 (ImageScale), input width: Failed to convert" in fault.message
    fault = await fault_of(bench, workflow(ImageScale={"upscale_method": "best"}))
    assert (fault.kind, fault.code) == ("job", "workflow_invalid")
    bench.comfy.core.knobs.missing_nodes = frozenset(("ImageScale",))
    fault = await fault_of(bench, WORKFLOW)
    assert (fault.kind, fault.code) == ("job", "node_missing")
    assert "ImageScale" in fault.message
    fault = await fault_of(bench, {"1": WORKFLOW["1"]})
    assert "no outputs" in fault.message


async def test_a_model_that_is_missing_may_be_elsewhere(bench: Bench):
    shown = {"class_type": "PreviewImage", "inputs": {"images": ["7", 0]}}
    fault = await fault_of(bench, {**WORKFLOW, **CHECKPOINT, "9": shown})
    assert (fault.kind, fault.code) == ("host", "model_missing")
    assert "flux.safetensors" in fault.message


async def test_a_part_that_would_not_run_fails_the_whole_and_the_rest_is_taken_back(bench: Bench):
    bad = {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}}
    bench.comfy.core.knobs.node_s = {"ImageScale": 0.5}
    fault = await fault_of(bench, {**WORKFLOW, "4": bad})
    assert (fault.kind, fault.code) == ("job", "workflow_invalid")
    assert "node 4 (SaveImage), input filename_prefix: Required input is missing" in fault.message
    await until_idle(bench)
    assert not [entry for entry in bench.comfy.core.history.values() if entry["status"]["completed"]]


@pytest.mark.parametrize(
    ("exception", "said", "kind", "code"),
    [
        ("ValueError", "the mask is empty", "job", "node_failed"),
        ("RuntimeError", "CUDA error: device-side assert triggered", "host", "node_failed"),
        ("OSError", "[Errno 28] No space left on device", "host", "node_failed"),
        ("torch.OutOfMemoryError", "Allocation on device", "host", "out_of_memory"),
        ("torch.cuda.OutOfMemoryError", "Allocation on device", "host", "out_of_memory"),
    ],
)
async def test_a_node_that_raises(bench: Bench, exception: str, said: str, kind: str, code: str):
    bench.comfy.core.knobs.fails = {"ImageScale": (exception, said)}
    fault = await fault_of(bench, WORKFLOW)
    assert (fault.kind, fault.code) == (kind, code)
    assert "node 2 (ImageScale)" in fault.message
    assert said in fault.message
    assert bench.comfy.core.freed == (code == "out_of_memory")


async def test_names_of_a_server_lead_nowhere(bench: Bench, tmp_path: Path):
    bench.comfy.core.knobs.odd_names = True
    made = await run(bench, WORKFLOW)
    assert Path(made.files[0].path).parent == tmp_path / "job-0" / "out"
    assert ours(tmp_path) == {Path(made.files[0].path)}


async def test_files_are_bounded_and_must_be_there(bench: Bench, tmp_path: Path):
    await run(bench, WORKFLOW)
    big = Stored("3", "scaled_00001_.png", "", "output")
    async with aclosing(bench.server()) as server:
        with pytest.raises(HostFault) as caught:
            await server.fetch(big, tmp_path / "x", 10)
        assert caught.value.code == "output_too_big"
        with pytest.raises(HostFault, match="404"):
            await server.fetch(Stored("3", "gone.png", "", "output"), tmp_path / "x", 10)


async def test_a_probe_says_what_is_there_or_why_not(bench: Bench):
    async def probed(url: str | None) -> object:
        return await asyncio.to_thread(make("comfyui", EngineConfig(comfyui_url=url)).probe)

    offer = await probed(bench.comfy.url)
    assert (offer.engine, offer.backend, offer.vram_gb) == ("comfyui", "comfyui", 24.0)
    assert "GPULEASE_COMFYUI_URL" in await probed(None)
    assert "does not answer" in await probed("http://127.0.0.1:9")
    assert "does not answer" in await probed("no address")
    bench.comfy.core.knobs.bad_gateway = True
    assert "502" in await probed(bench.comfy.url)
    bench.comfy.core.knobs.forbidden = True
    assert "403" in await probed(bench.comfy.url)


async def test_what_was_used_is_freed_and_nothing_else(bench: Bench):
    backend = make("comfyui", EngineConfig(comfyui_url=bench.comfy.url))
    await asyncio.to_thread(backend.unload)
    assert bench.comfy.core.freed == 0
    made = await asyncio.to_thread(backend.run, bench.work(WORKFLOW), bench.report)
    assert made.data["file_count"] == 1
    await asyncio.to_thread(backend.unload)
    await asyncio.to_thread(backend.unload)
    assert bench.comfy.core.freed == 1


def test_suffixes_are_those_of_names_or_of_what_a_file_is(bench: Bench, tmp_path: Path):
    assert suffix_of("face.PNG", bench.sound) == ".png"
    assert suffix_of("voice", bench.sound) == ".wav"
    assert suffix_of("odd.../x", bench.image) == ".png"
    text = tmp_path / "text"
    text.write_text("words")
    assert suffix_of("text", text) == ""


def test_choices_are_read_in_both_spellings():
    old = {"Loader": {"input": {"required": {"name": [["a", "b"], {}]}}}}
    new = {"Loader": {"input": {"required": {}, "optional": {"name": ["COMBO", {"options": ["a", "b"]}]}}}}
    assert combo(old, "Loader", "name") == combo(new, "Loader", "name") == ("a", "b")
    assert combo({}, "Loader", "name") == combo(
        {"Loader": {"input": {"required": {"name": []}}}}, "Loader", "name"
    )


def content(made: Outcome) -> bytes:
    return Path(made.files[0].path).read_bytes()


def ours(folder: Path) -> set[Path]:
    """Pictures outside the server's own folder."""
    return {path for path in folder.rglob("*.png") if "comfyui" not in path.parts}


async def until_idle(bench: Bench) -> None:
    async with asyncio.timeout(5), httpx.AsyncClient(base_url=bench.comfy.url, trust_env=False) as http:
        while any((await http.get("/queue")).json().values()):
            await asyncio.sleep(0.02)
