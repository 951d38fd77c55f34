"""Hostile Blender projects through the front door: archives that climb or swell, and files that bring scripts."""

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from hostile_files import zip_bomb, zip_of, zip_with_link
from hostile_world import hostile_world

sys.path.append(str(Path(__file__).parents[1] / "engines"))

from blender_world import make_scenes

from worker_image.engines.confined import confines

pytestmark = [
    pytest.mark.skipif(shutil.which("blender") is None, reason="Blender is not installed"),
    pytest.mark.slow,
]
# What the file does as soon as anybody lets it, beside all that blender_world's does.
RUNS_ITSELF = """
import bpy, sys
outside, target = sys.argv[-2:]
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
scene.render.resolution_x, scene.render.resolution_y = 16, 16
camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
scene.collection.objects.link(camera)
scene.camera = camera
text = bpy.data.texts.new("auto.py")
text.write(f"open('{outside}/auto', 'w')")
text.use_module = True
camera.driver_add("location", 0).driver.expression = f"__import__('os').system('touch {outside}/driven')"
scene.render.filepath = f"{outside}/pictures/"
bpy.ops.wm.save_as_mainfile(filepath=target)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with hostile_world(tmp_path_factory.mktemp("hostile")) as world:
        yield world


def test_archives_that_climb_link_or_swell_fail_the_job(world):
    cases = {
        "climbing": (zip_of("../../../canary/climbed"), "archive_unsafe", "climbs"),
        "absolute": (zip_of(str(world.around.folder / "canary" / "new")), "archive_unsafe", "not relative"),
        "backslashes": (zip_of("..\\..\\climbed"), "archive_unsafe", "not relative"),
        "a newline": (zip_of("a\nb"), "archive_unsafe", "control characters"),
        "a link": (zip_with_link(str(world.around.secret.parent)), "archive_unsafe", "a link"),
        "a bomb": (zip_bomb(), "archive_too_big", "as only bombs do"),
        "no zip": (b"PK\3\4" + bytes(100), "input_not_blend", "not a .blend"),
        "cut off": (zip_of("a")[:-30], "input_not_blend", "not a .blend"),
    }
    jobs = {
        name: world.accepted("blender", {"file_url": world.upload(case[0])}) for name, case in cases.items()
    }
    for name, (_, code, words) in cases.items():
        job = world.ended(jobs[name])
        assert (name, job["status"], job["fault"]["kind"]) == (name, "failed", "job")
        assert (name, job["fault"]["code"]) == (name, code)
        assert "file_url" in job["fault"]["message"]
        assert words in job["fault"]["message"]
    world.check()


def test_a_file_that_runs_itself_is_only_rendered(world, tmp_path):
    outside = world.around.folder / "canary"
    scene = made_by_blender(tmp_path, RUNS_ITSELF, str(outside))
    subprocess.run(["blender", "-b", "-noaudio", "--enable-autoexec", scene], check=True, timeout=100)
    assert (outside / "auto").exists(), "the file does nothing by itself, and so proves nothing"
    for left in ("auto", "driven"):
        (outside / left).unlink(missing_ok=True)
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(scene, "-P evil/$(touch x); it's.blend")
        packed = file.getvalue()
    for content in (scene.read_bytes(), packed):
        job = world.ended(world.accepted("blender", {"file_url": world.upload(content)}))
        assert job["status"] == "succeeded", job["fault"]
        (picture,) = job["result"]["files"]
        assert picture["name"] == "frame_000001.png"
        assert httpx.get(picture["url"]).content.startswith(b"\x89PNG")
    world.check()


@pytest.mark.skipif(
    not confines(), reason="this kernel has no Landlock, without which a fluid makes its folder"
)
def test_nothing_else_that_a_file_can_do_is_done(world, tmp_path):
    """Scripts of line styles, nodes that write files, caches elsewhere: what Blender's own switch leaves on."""
    outside = tmp_path / "outside"
    outside.mkdir()
    make_scenes(tmp_path, outside)
    before = sorted(outside.rglob("*"))
    job = world.ended(
        world.accepted("blender", {"file_url": world.upload((tmp_path / "hostile.blend").read_bytes())})
    )
    assert job["status"] == "succeeded", job["fault"]
    assert sorted(outside.rglob("*")) == before
    world.check()


def made_by_blender(folder, script, outside) -> Path:
    target, source = folder / "scene.blend", folder / "make.py"
    source.write_text(script)
    command = ["blender", "-b", "--factory-startup", "-noaudio", "-P", source, "--", outside, target]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    return target
