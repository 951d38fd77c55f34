"""Files for Blender, made by Blender, and a pool of engine processes to render them in."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from gpulease.contract.engines import CATALOGUE
from worker_image.engines.base import EngineConfig, EngineJob, Outcome
from worker_image.host.log import JobLog
from worker_image.host.pool import HostPool
from worker_image.host.process import Step

BLENDER = shutil.which("blender")
# Three cameras around a cube; what has a colour glows, so that pictures tell the materials apart.
MAKE = """
import bpy, sys
folder, outside = sys.argv[-2:]

def material(name, red, green, blue):
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    nodes = made.node_tree.nodes
    glow = nodes.new("ShaderNodeEmission")
    glow.inputs["Color"].default_value = (red, green, blue, 1)
    made.node_tree.links.new(glow.outputs[0], nodes["Material Output"].inputs[0])
    made.use_fake_user = True
    return made

def begin():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 2, False
    scene.render.resolution_x, scene.render.resolution_y = 32, 20
    bpy.ops.mesh.primitive_cube_add(size=2)
    cube = bpy.context.object
    cube.name = "Cube"
    for name, place, turn in (
        ("Front", (0, -4, 0), (1.5708, 0, 0)),
        ("Side", (4, 0, 0), (1.5708, 0, 1.5708)),
        ("Away", (0, -4, 0), (-1.5708, 0, 0)),
    ):
        camera = bpy.data.objects.new(name, bpy.data.cameras.new(name))
        scene.collection.objects.link(camera)
        camera.location, camera.rotation_euler = place, turn
    scene.camera = bpy.data.objects["Front"]
    return scene, cube

def save(name):
    path = f"{folder}/{name}.blend"
    bpy.ops.wm.save_as_mainfile(filepath=path, compress=name == "studio", relative_remap=False)

scene, cube = begin()
cube.data.materials.append(material("Red", 1, 0, 0))
material("Blue", 0, 0, 1)
save("studio")

begin()
material("Green", 0, 1, 0)
save("library")

scene, cube = begin()
cube.data.materials.append(material("Wood", 0, 0, 0))
tree = cube.data.materials[0].node_tree
image = tree.nodes.new("ShaderNodeTexImage")
image.image = bpy.data.images.new("wood", 4, 4)
image.image.source, image.image.filepath = "FILE", "//textures/wood.png"
tree.links.new(image.outputs[0], tree.nodes["Emission"].inputs["Color"])
save("textured")

foreign = bpy.data.images.new("foreign", 4, 4)
foreign.source, foreign.filepath, foreign.use_fake_user = "FILE", f"{outside}/secret.png", True
save("foreign")

scene, cube = begin()
with bpy.data.libraries.load(f"{outside}/props.blend", link=True) as (there, here):
    here.materials = ["Green"]
cube.data.materials.append(here.materials[0])
bpy.data.libraries[0].filepath = f"{outside}/props.blend"
save("linking")

scene, cube = begin()
cube.driver_add("location", 0).driver.expression = f"[open('{outside}/driver', 'w'), 0.0][1]"
text = bpy.data.texts.new("registered.py")
text.write(f"open('{outside}/registered', 'w')")
text.use_module = True
style = bpy.data.texts.new("style.py")
style.write(f"open('{outside}/style', 'w')")
scene.render.use_freestyle = True
lines = scene.view_layers[0].freestyle_settings
lines.mode = "SCRIPT"
lines.modules.new().script = style
scene.use_nodes = True
group = bpy.data.node_groups.new("group", "CompositorNodeTree")
writes = group.nodes.new("CompositorNodeOutputFile")
writes.base_path = f"{outside}/nodes/"
group.inputs.new("NodeSocketColor", "picture")
group.links.new(group.nodes.new("NodeGroupInput").outputs[0], writes.inputs[0])
used = scene.node_tree.nodes.new("CompositorNodeGroup")
used.node_tree = group
layers = scene.node_tree.nodes.new("CompositorNodeRLayers")
scene.node_tree.links.new(layers.outputs[0], used.inputs[0])
scene.node_tree.links.new(layers.outputs[0], scene.node_tree.nodes.new("CompositorNodeComposite").inputs[0])
fluid = cube.modifiers.new("Fluid", "FLUID")
fluid.fluid_type = "DOMAIN"
fluid.domain_settings.cache_directory, fluid.domain_settings.cache_type = f"{outside}/fluid", "REPLAY"
fluid.domain_settings.resolution_max = 8
scene.render.filepath = f"{outside}/picture.png"
save("hostile")
"""


def make_scenes(folder: Path, outside: Path) -> None:
    """All of them by one Blender. `outside` has a picture and a library that are nobody's business."""
    script = folder / "make.py"
    script.write_text(MAKE)
    Image.new("RGB", (4, 4), (255, 255, 255)).save(outside / "secret.png")
    for part in ("library first", "all"):
        if part == "all":
            shutil.copy(folder / "library.blend", outside / "props.blend")
        command = [str(BLENDER), "-b", "--factory-startup", "-noaudio", "--disable-autoexec"]
        program = subprocess.run(
            [*command, "--python", str(script), "--", str(folder), str(outside)],
            check=False,
            capture_output=True,
            timeout=100,
        )
    assert (folder / "hostile.blend").is_file(), program.stdout.decode() + program.stderr.decode()
    for left in outside.iterdir():
        if left.name not in {"secret.png", "props.blend"}:
            shutil.rmtree(left) if left.is_dir() else left.unlink()


@dataclass
class Bench:
    """Runs jobs through a pool, as a worker does, and keeps what was said."""

    folder: Path
    config: EngineConfig = field(default_factory=EngineConfig)
    steps: list[Step] = field(default_factory=list)
    log: str = ""

    def __post_init__(self) -> None:
        self.pool = HostPool(self.config, self.folder / "hosts")

    def printed(self) -> list[str]:
        """By the engines' processes until now."""
        return [line for log in self.folder.glob("hosts/*/log") for line in log.read_text().splitlines()]

    async def run(self, engine: str, asked: dict, **files: Path) -> Outcome:
        folder = self.folder / f"job-{len(list(self.folder.glob('job-*')))}"
        folder.mkdir()
        local = {name: str(shutil.copy(path, folder / f"input-{name}")) for name, path in files.items()}
        spec = CATALOGUE[engine]
        urls = dict.fromkeys(files, "https://example.com/input")
        checked = spec.input_model.model_validate({**asked, **urls})
        job = EngineJob(folder.name, engine, spec.model_of(checked), checked.model_dump(), local, str(folder))
        self.steps.clear()
        async with self.pool.lease(engine, engine, job.model) as host:
            log = JobLog(host.log_path)
            try:
                return await host.run(job, log, self.steps.append)
            finally:
                self.log = log.read(1_000_000)


def colour(path: str | Path) -> str:
    """The strongest channel in the middle of a picture, or black."""
    with Image.open(path) as image:
        pixels = image.convert("RGB")
        shades = dict(zip(("red", "green", "blue"), pixels.getpixel((16, 10)), strict=True))
    strongest = max(shades, key=lambda name: shades[name])
    return strongest if shades[strongest] > 60 else "black"


def program(folder: Path, name: str, lines: Sequence[str]) -> str:
    """An executable Python script."""
    path = folder / name
    path.write_text("\n".join((f"#!{sys.executable}", *lines)))
    path.chmod(0o755)
    return str(path)
