"""Talking portraits on an emulated ComfyUI, whose film is real: prepared, made, checked, and refused."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from comfyui_bench import QUICK, Bench, write_tone
from PIL import Image

from worker_image.engines.base import EngineConfig, Outcome
from worker_image.engines.comfyui.graph import (
    CLASSES,
    FILM,
    SAMPLER,
    Models,
    Portrait,
    models_of,
    sonic_graph,
)
from worker_image.engines.comfyui.portrait import make_portrait, still_of, voice_of
from worker_image.engines.registry import make
from worker_image.faults import Cancelled, Faulted, InputFault
from worker_image.media.probe import require_video
from worker_image.media.programs import named, run_ffmpeg

ASKED = Portrait("face.png", "voice.mp3", 640, 360, 3, 7, 12, 24.0, "gpulease_1")


async def run(bench: Bench, **asked) -> Outcome:
    async with aclosing(bench.server()) as server:
        return await make_portrait(server, bench.portrait(**asked), bench.report, QUICK)


async def fault_of(bench: Bench, **asked) -> Faulted:
    with pytest.raises(Faulted) as caught:
        await run(bench, **asked)
    return caught.value


async def test_a_face_and_a_voice_become_a_film_with_that_sound(bench: Bench):
    made = await run(bench, steps=4, fps=12)
    (file,) = made.files
    assert (made.model, file.name, file.content_type) == ("sonic", "portrait.mp4", "video/mp4")
    film = require_video(file.path, "film")
    assert film.has_audio
    assert film.duration_s == pytest.approx(1.2, abs=0.2)
    assert (film.fps, made.data["fps"], made.data["steps"]) == (12, 12, 4)
    sampled = [(step.step, step.total_steps) for step in bench.steps if step.step]
    assert (4, 4) in sampled
    shares = [step.share for step in bench.steps if step.phase == "inferring"]
    assert shares == sorted(shares)
    assert max(shares) > 0.9
    asked = bench.comfy.core.runs[0].graph
    assert asked[SAMPLER]["inputs"]["seed"] == made.data["seed"]
    assert asked["33"]["inputs"]["duration"] == 3.0
    assert (asked["58"]["inputs"]["width"], asked["58"]["inputs"]["height"]) == (900, 720)
    assert asked[FILM]["inputs"]["filename_prefix"] == "gpulease_job-0"


async def test_an_unset_seed_is_drawn_and_a_set_one_is_kept(bench: Bench):
    first, second = await run(bench, steps=1), await run(bench, steps=1)
    assert first.data["seed"] != second.data["seed"]
    again = await run(bench, steps=1, seed=first.data["seed"])
    assert again.data["seed"] == first.data["seed"]
    third = await run(bench, steps=1, seed=first.data["seed"])
    cached = bench.comfy.core.history[bench.comfy.core.runs[-1].id]["status"]["messages"][1][1]["nodes"]
    assert SAMPLER in cached
    assert require_video(third.files[0].path, "film").has_audio


async def test_films_may_be_listed_as_videos(bench: Bench):
    bench.comfy.core.knobs.film_key = "videos"
    assert (await run(bench, steps=1)).files[0].name == "portrait.mp4"


async def test_a_film_without_its_sound_is_no_result(bench: Bench):
    bench.comfy.core.knobs.silent_film = True
    fault = await fault_of(bench, steps=1)
    assert (fault.kind, fault.code) == ("host", "output_invalid")


@pytest.mark.parametrize(
    ("class_type", "raised", "kind", "code"),
    [
        ("SONIC_PreData", ("ValueError", "No face detected in the image"), "job", "no_face"),
        (
            "SONICSampler",
            ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied"),
            "host",
            "node_failed",
        ),
        ("SONICSampler", ("torch.OutOfMemoryError", "Allocation on device"), "host", "out_of_memory"),
    ],
)
async def test_a_node_that_fails(
    bench: Bench, class_type: str, raised: tuple[str, str], kind: str, code: str
):
    bench.comfy.core.knobs.fails = {class_type: raised}
    fault = await fault_of(bench)
    assert (fault.kind, fault.code) == (kind, code)
    assert raised[1] in fault.message
    assert bench.comfy.core.freed == (code == "out_of_memory")


async def test_inputs_that_are_none_are_the_jobs_fault(bench: Bench):
    bench.image, bench.sound = bench.sound, bench.image
    fault = await fault_of(bench)
    assert (fault.kind, fault.code) == ("job", "input_not_image")
    bench.image = bench.sound
    fault = await fault_of(bench)
    assert (fault.kind, fault.code) == ("job", "input_not_audio")
    assert "audio_url" in fault.message
    assert (await fault_of(bench, fps=500)).code == "input_invalid"
    assert bench.comfy.core.runs == []


async def test_what_is_missing_is_said_and_nothing_is_offered(bench: Bench):
    knobs = bench.comfy.core.knobs
    backend = make("sonic", EngineConfig(comfyui_url=bench.comfy.url))
    offer = await asyncio.to_thread(backend.probe)
    assert (offer.engine, offer.backend, offer.models, offer.vram_gb) == (
        "portrait",
        "sonic",
        ("sonic",),
        24.0,
    )
    knobs.missing_nodes = frozenset(("SONICSampler", "VHS_VideoCombine"))
    assert "SONICSampler, VHS_VideoCombine" in await asyncio.to_thread(backend.probe)
    knobs.missing_nodes, knobs.checkpoints = frozenset(), ("flux.safetensors",)
    assert "no svd_xt.safetensors" in await asyncio.to_thread(backend.probe)
    assert (await fault_of(bench)).code == "model_missing"
    knobs.checkpoints, knobs.sonic_models = ("svd/svd_xt.safetensors",), ()
    assert "no unet.pth" in await asyncio.to_thread(backend.probe)
    knobs.sonic_models = ("sonic\\unet.pth",)
    assert (await run(bench, steps=1)).model == "sonic"
    assert bench.comfy.core.runs[0].graph["32"]["inputs"] == {"ckpt_name": "svd/svd_xt.safetensors"}
    with pytest.raises(InputFault, match="hallo"):
        backend.load("hallo")


def test_the_graph_names_its_nodes_and_links_them_by_their_slots():
    graph = sonic_graph(ASKED, Models("a.safetensors", "u.pth"))
    assert set(graph.classes().values()) == set(CLASSES)
    links = [
        (node, name, tuple(value))
        for node, one in graph.nodes.items()
        for name, value in one["inputs"].items()
        if isinstance(value, list)
    ]
    assert sorted(links) == [
        ("13", "audio", ("26", 0)),
        ("13", "frame_rate", ("31", 1)),
        ("13", "images", ("31", 0)),
        ("21", "images", ("58", 0)),
        ("31", "data_dict", ("33", 0)),
        ("31", "model", ("34", 0)),
        ("33", "audio", ("26", 0)),
        ("33", "clip_vision", ("32", 1)),
        ("33", "image", ("58", 0)),
        ("33", "vae", ("32", 2)),
        ("33", "weight_dtype", ("34", 1)),
        ("34", "model", ("32", 0)),
        ("58", "image", ("18", 0)),
    ]
    assert sonic_graph(replace(ASKED, seed=8), Models()).nodes[SAMPLER] != graph.nodes[SAMPLER]


def test_models_are_found_below_folders_too():
    listed = {"ckpt_name": ("x/svd_xt.safetensors",), "sonic_unet": ("not_unet.pth", "unet.pth")}
    assert models_of(listed) == Models("x/svd_xt.safetensors", "unet.pth")
    assert "sonic" in models_of({**listed, "sonic_unet": ("not_unet.pth",)})


@pytest.mark.parametrize(
    ("size", "saved", "worked"),
    [
        ((60, 48), (60, 48), (900, 720)),
        ((4096, 1024), (2048, 512), (1280, 320)),
        ((300, 3000), (205, 2048), (72, 720)),
    ],
)
def test_images_are_upright_bounded_and_fit_the_film(
    tmp_path: Path, size: tuple[int, int], saved: tuple[int, int], worked: tuple[int, int]
):
    turned = Image.new("RGB", (size[1], size[0]), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    source = tmp_path / "image"
    turned.save(source, "JPEG", exif=exif)
    still = still_of(source, tmp_path)
    assert (still.width, still.height) == worked
    with Image.open(still.path) as image:
        assert image.size == saved
        assert not image.getexif()


def test_sound_that_the_nodes_do_not_take_becomes_mp3(tmp_path: Path):
    tone, odd = tmp_path / "tone", tmp_path / "odd"
    write_tone(tone, 1.0)
    assert voice_of(tone, tmp_path).suffix == ".wav"
    run_ffmpeg(["-i", named(tone), "-f", "ipod", "-c:a", "aac", named(odd)])
    voice = voice_of(odd, tmp_path)
    assert (voice.suffix, voice.path.name) == (".mp3", "voice.mp3")
    assert voice.duration_s == pytest.approx(1.0, abs=0.2)

    def stop(_: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        voice_of(odd, tmp_path, stop)
