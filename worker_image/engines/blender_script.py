"""Runs inside Blender, whose Python has neither our packages nor, always, numpy: renders what a JSON file asks for.

It tells what it does in lines that begin with `gpulease: ` and hold JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import bpy

FORMATS = {"PNG": "PNG", "MP4": "PNG", "JPEG": "JPEG", "EXR": "OPEN_EXR"}
ENGINES = {"CYCLES": ("CYCLES",), "EEVEE": ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE")}


class WrongInput(Exception):
    """The job asks for what the file does not have."""


def tell(**facts: Any) -> None:
    sys.stdout.write(f"\ngpulease: {json.dumps(facts)}\n")
    sys.stdout.flush()


def main() -> None:
    asked = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text())
    scene = bpy.context.scene
    try:
        choose_engine(scene, asked["engine"])
        set_samples(scene, asked["samples"])
        set_size(scene, asked)
        choose_camera(scene, asked["camera"])
    except WrongInput as error:
        tell(fault=str(error))
        return
    set_output(scene, asked["output"])
    ignored = [*without_denoiser(scene), *without_file_nodes(scene)]
    tell(version=f"blender-{bpy.app.version_string}", render_engine=scene.render.engine, ignored=ignored)
    render(scene, asked["frames"])


def choose_engine(scene: Any, wanted: str | None) -> None:
    if wanted is None:
        return
    for name in ENGINES[wanted]:
        try:
            scene.render.engine = name
        except TypeError:
            continue
        return
    raise WrongInput(f"this Blender has no engine {wanted}")


def set_samples(scene: Any, samples: int | None) -> None:
    if samples is None:
        return
    if scene.render.engine == "CYCLES":
        scene.cycles.samples = samples
    elif hasattr(scene, "eevee"):
        scene.eevee.taa_render_samples = samples


def set_size(scene: Any, asked: Any) -> None:
    if asked["width"] or asked["height"]:
        scene.render.resolution_percentage = 100
    scene.render.resolution_x = asked["width"] or scene.render.resolution_x
    scene.render.resolution_y = asked["height"] or scene.render.resolution_y


def choose_camera(scene: Any, name: str | None) -> None:
    if name is not None:
        camera = scene.objects.get(name)
        if camera is None or camera.type != "CAMERA":
            raise WrongInput(f"the scene has no camera {name!r}")
        scene.camera = camera
    if scene.camera is None:
        raise WrongInput("the scene has no camera")


def set_output(scene: Any, output: str) -> None:
    if hasattr(scene.render.image_settings, "media_type"):
        scene.render.image_settings.media_type = "IMAGE"
    scene.render.image_settings.file_format = FORMATS[output]
    scene.render.use_file_extension = False
    scene.render.use_overwrite = True
    scene.render.use_placeholder = False


def without_denoiser(scene: Any) -> list[str]:
    """A Blender built without its denoiser renders nothing where the file asks for it."""
    try:
        import _cycles  # type: ignore[import-not-found]  # noqa: PLC0415  Only Blenders with Cycles have it.
    except ImportError:
        return []
    layers = [layer.cycles for layer in scene.view_layers if hasattr(layer, "cycles")]
    wanted = scene.cycles.use_denoising or any(getattr(one, "use_denoising", False) for one in layers)
    if not wanted or _cycles.with_openimagedenoise or scene.render.engine != "CYCLES":
        return []
    for one in (scene.cycles, *layers):
        one.use_denoising = False
    return ["denoising"]


def without_file_nodes(scene: Any) -> list[str]:
    """Compositor nodes that write files could write anywhere on this machine."""
    tree = getattr(scene, "node_tree", None) or getattr(scene, "compositing_node_group", None)
    muted = [node for node in tree.nodes if node.type == "OUTPUT_FILE"] if tree else []
    for node in muted:
        node.mute = True
    return ["file output nodes"] if muted else []


def render(scene: Any, frames: list[tuple[int, str]]) -> None:
    for done, (frame, path) in enumerate(frames):
        scene.frame_set(frame)
        scene.render.filepath = path
        bpy.ops.render.render(write_still=True)
        tell(frame=frame, done=done + 1)


main()
