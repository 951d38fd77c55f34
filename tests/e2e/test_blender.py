"""Two Blender files render on two local workers at once, through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from blender_program import needs_blender, run_script

SCENE = """
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
bpy.ops.mesh.primitive_monkey_add()
camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
scene.collection.objects.link(camera)
camera.location, camera.rotation_euler, scene.camera = (0, -4, 0.4), (1.47, 0, 0), camera
scene.render.engine = "CYCLES"
scene.cycles.samples = 8
scene.cycles.use_denoising = False
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[-1])
"""

pytestmark = needs_blender


def make_scene(folder):
    scene = folder / "scene.blend"
    run_script(SCENE, scene)
    return scene


def run_blender(up, scene, output):
    options = ["--frames", "1-3", "--width", "96", "--height", "96", "--samples", "8"]
    sets = [
        part
        for name, value in zip(options[::2], options[1::2], strict=True)
        for part in ("--input", f"{name[2:]}={value}")
    ]
    command = [
        sys.executable,
        "-m",
        "gpulease",
        "run",
        "blender",
        str(scene),
        *sets,
        "--output",
        str(output),
        "--json",
    ]
    environment = {**os.environ, "GPULEASE_URL": f"http://127.0.0.1:{up.port}"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_two_files_render_on_two_workers_at_once(up, tmp_path):
    scene = make_scene(tmp_path)
    up.environment["GPULEASE_LOCAL_WORKERS_MAX"] = "2"
    up.start()
    runs = [run_blender(up, scene, tmp_path / f"out{n}") for n in range(2)]
    for run in runs:
        _, errors = run.communicate(timeout=100)
        assert run.returncode == 0, errors.decode()
    jobs = [up.job(item["id"]) for item in up.http.get("/v1/jobs").json()["items"]]
    (one,), (two,) = (job["attempts"] for job in jobs)
    assert one["worker_id"] != two["worker_id"]
    assert one["started_at"] < two["ended_at"]
    assert two["started_at"] < one["ended_at"]
    for n in range(2):
        assert any((tmp_path / f"out{n}").iterdir())
    assert all(job["result"]["backend"] == "blender" for job in jobs), json.dumps(jobs)
