"""Runs inside Blender: switches off what an opened file could do beside being rendered.

Blender's own switch for scripts in files does not reach all of them: Freestyle runs style modules, shaders in OSL
write files, and so do compositor nodes, and fluids, whose cache may lie anywhere. As a script by itself it treats the
file that was opened before it.
"""

from pathlib import Path
from typing import Any

import bpy


def make_safe(root: Path) -> list[str]:
    """Keeps the file to rendering, and its caches below `root`; returns what it switched off, for people."""
    done = {
        "file output nodes": _mute_output_nodes(),
        "Freestyle scripts": _stop_freestyle_scripts(),
        "shaders in OSL": _stop_osl(),
        "caches outside the project": _move_fluid_caches(root),
        "several views": _one_view(),
    }
    return [name for name, was_there in done.items() if was_there]


def _mute_output_nodes() -> bool:
    trees = [getattr(scene, "node_tree", None) for scene in bpy.data.scenes]
    nodes = [node for tree in (*trees, *bpy.data.node_groups) if tree for node in tree.nodes]
    writing = [node for node in nodes if node.type == "OUTPUT_FILE"]
    for node in writing:
        node.mute = True
        for path in ("base_path", "directory"):
            if hasattr(node, path):
                setattr(node, path, "//")
    return bool(writing)


def _stop_freestyle_scripts() -> bool:
    """A layer whose lines are drawn by scripts of the file goes without lines."""
    layers = [layer for scene in bpy.data.scenes for layer in scene.view_layers]
    scripted = [layer for layer in layers if layer.freestyle_settings.mode == "SCRIPT"]
    for layer in scripted:
        layer.use_freestyle = False
        while layer.freestyle_settings.modules:
            layer.freestyle_settings.modules.remove(layer.freestyle_settings.modules[0])
    return bool(scripted)


def _stop_osl() -> bool:
    scenes = [scene for scene in bpy.data.scenes if getattr(_cycles_of(scene), "shading_system", False)]
    for scene in scenes:
        scene.cycles.shading_system = False
    cameras = [camera for camera in bpy.data.cameras if camera.type == "CUSTOM"]
    for camera in cameras:
        camera.type = "PERSP"
    return bool(scenes or cameras)


def _cycles_of(scene: Any) -> Any:
    return getattr(scene, "cycles", None)


def _move_fluid_caches(root: Path) -> bool:
    modifiers = [one for thing in bpy.data.objects for one in thing.modifiers if one.type == "FLUID"]
    domains = [one.domain_settings for one in modifiers if one.domain_settings is not None]
    outside = [one for one in domains if not is_below(bpy.path.abspath(one.cache_directory), root)]
    for number, domain in enumerate(outside):
        domain.cache_directory = f"//cache_fluid_{number}"
    return bool(outside)


def _one_view() -> bool:
    """Several views would go to files of other names; a cache of what is rendered, to a folder of its own."""
    scenes = [scene for scene in bpy.data.scenes if scene.render.use_multiview]
    for scene in scenes:
        scene.render.use_multiview = False
    for scene in bpy.data.scenes:
        if hasattr(scene.render, "use_render_cache"):
            scene.render.use_render_cache = False
    return bool(scenes)


def is_below(path: str, root: Path) -> bool:
    return Path(path).resolve().is_relative_to(root.resolve())


if __name__ == "__main__" and bpy.data.filepath:
    make_safe(Path(bpy.data.filepath).parent)
