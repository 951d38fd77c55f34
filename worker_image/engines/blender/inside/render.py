"""Runs inside Blender: opens the project that a JSON file names, and renders what it asks for.

All it reads and writes lies in the folder of that file: `out/` for pictures, and where `told` is asked for, a file of
that name for what else goes to stdout: lines that begin with the job's own mark and hold JSON, and `openjd_progress:`.
"""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

FORMATS = {"PNG": "PNG", "MP4": "PNG", "JPEG": "JPEG", "EXR": "OPEN_EXR"}
ENGINES = {"CYCLES": ("CYCLES",), "EEVEE": ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE")}
SIZES = {"1k": (1920, 1080), "2k": (2560, 1440), "4k": (3840, 2160)}
DEVICES = {"auto": ("OPTIX", "CUDA"), "cuda": ("OPTIX", "CUDA"), "cpu": ()}
PICTURES_MAX = 10_000
LISTED_LETTERS_MAX = 4_000
_SAFETY = runpy.run_path(str(Path(__file__).with_name("safety.py")))
make_safe, is_below = _SAFETY["make_safe"], _SAFETY["is_below"]

Tell = Callable[..., None]


class WrongInput(Exception):
    """The job asks for what the file does not have."""


def main() -> None:
    parameters = Path(sys.argv[sys.argv.index("--") + 1]).absolute()
    asked, folder = json.loads(parameters.read_text(encoding="utf-8")), parameters.parent
    if asked["told"]:
        sys.stdout = (folder / "told").open("w", buffering=1, encoding="utf-8")

    def tell(**facts: Any) -> None:
        sys.stdout.write(f"\n{asked['mark']}{json.dumps(facts)}\n")
        sys.stdout.flush()

    tell(version=f"blender-{bpy.app.version_string}")
    try:
        render(asked, folder, prepared(asked, folder, tell), tell)
    except WrongInput as error:
        tell(fault=str(error)[:LISTED_LETTERS_MAX])


def prepared(asked: Any, folder: Path, tell: Tell) -> list[Any]:
    """The cameras to render from, with everything else set; None is the one that the frame says."""
    open_project(below(folder, asked["project"]))
    scene = bpy.context.scene
    swapped = replace_materials(asked["materials"], folder / "library.blend")
    ignored = make_safe(folder)
    missing = without_foreign_files(folder)
    choose_engine(scene, asked["engine"])
    set_samples(scene, asked["samples"])
    set_size(scene, asked)
    set_output(scene, asked["output"])
    cameras = chosen_cameras(scene, asked)
    if len(asked["frames"]) * len(cameras) > PICTURES_MAX:
        raise WrongInput(
            f"{len(cameras)} cameras make more than {PICTURES_MAX} pictures; ask for fewer frames"
        )
    ignored += without_denoiser(scene)
    tell(
        render_engine=scene.render.engine,
        device=chosen_device(scene, asked["device"]),
        cameras=listed([camera.name for camera in cameras if camera is not None]),
        pictures_a_frame=len(cameras),
        missing=listed(missing),
        missing_count=len(missing),
        materials=swapped,
        ignored=ignored,
    )
    return cameras


def below(folder: Path, name: str) -> Path:
    """Whoever wrote the parameters, nothing outside their folder is opened or written."""
    path = folder / name
    if not is_below(str(path), folder):
        raise WrongInput(f"{name} leads out of its folder")
    return path


def open_project(path: Path) -> None:
    """A file with a missing library opens, with an error."""
    try:
        bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=False, use_scripts=False)
    except RuntimeError as error:
        if bpy.data.filepath != str(path):
            raise WrongInput(f"Blender cannot open the file: {error}") from error


def replace_materials(swaps: Any, library: Path) -> int:
    """How many slots got another material. Each slot is looked at once, so that two materials can change places."""
    there = {material.name: material for material in bpy.data.materials}
    wanted = {swap["original"]: swap["replacement"] for swap in swaps}
    check_names("material", [name for name in wanted if name not in there], there)
    from_library = appended([name for name in wanted.values() if name not in there], library)
    check_names("material", [name for name in wanted.values() if name not in there | from_library], there)
    slots = [slot for thing in bpy.data.objects for slot in thing.material_slots if slot.material]
    chosen = [(slot, wanted[slot.material.name]) for slot in slots if slot.material.name in wanted]
    for slot, name in chosen:
        slot.material = (there | from_library)[name]
    return len(chosen)


def appended(names: list[str], library: Path) -> dict[str, Any]:
    """Materials of the library by their names there; all that are wanted, or a fault that lists what it has."""
    if not names or not library.is_file():
        return {}
    try:
        with bpy.data.libraries.load(str(library), link=False) as (there, here):
            has, here.materials = list(there.materials), [one for one in names if one in there.materials]
    except OSError as error:
        raise WrongInput(f"Blender cannot open library_url: {error}") from error
    check_names("material", [name for name in names if name not in has], has)
    return dict(zip(names, here.materials, strict=True))


def check_names(what: str, unknown: list[str], there: Any) -> None:
    if unknown:
        has = ", ".join(listed(sorted(there))) or "none"
        raise WrongInput(f"there is no {what} {', '.join(map(repr, unknown[:20]))}; there are: {has}")


def listed(names: list[str]) -> list[str]:
    """The first of them, that one line can hold."""
    shown: list[str] = []
    for name in names:
        if len(json.dumps([*shown, name])) > LISTED_LETTERS_MAX:
            break
        shown.append(name)
    return shown


def without_foreign_files(root: Path) -> list[str]:
    """Files that the project names and does not bring. What of them lies elsewhere on this machine is not read."""
    missing = sorted({path for path in external_files() if not is_there(path, root)})
    for things in ("images", "movieclips", "sounds", "fonts", "volumes", "cache_files"):
        for thing in getattr(bpy.data, things, ()):
            if is_foreign(bpy.path.abspath(thing.filepath, library=thing.library), root):
                thing.filepath = "//not-in-the-project"
    if foreign := [path for path in external_files() if is_foreign(path, root)]:
        names = ", ".join(listed(sorted(foreign)))
        raise WrongInput(f"the project uses files outside its folder; put them into a zip with it: {names}")
    return missing


def external_files() -> list[str]:
    paths = bpy.utils.blend_paths(absolute=True, packed=False, local=False)
    caches = {
        modifier.domain_settings.cache_directory
        for thing in bpy.data.objects
        for modifier in thing.modifiers
        if modifier.type == "FLUID" and modifier.domain_settings is not None
    }
    return [path for path in paths if path not in {bpy.path.abspath(one) for one in caches}]


def is_there(path: str, root: Path) -> bool:
    """Tiles of one image stand in the path as a word in angle brackets."""
    if not is_below(path, root):
        return False
    if "<UDIM>" in path or "<UVTILE>" in path:
        name = Path(path).name.replace("<UDIM>", "*").replace("<UVTILE>", "*")
        return any(Path(path).parent.glob(name))
    return Path(path).exists()


def is_foreign(path: str, root: Path) -> bool:
    return Path(path).is_absolute() and not is_below(path, root) and Path(path).exists()


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


def chosen_device(scene: Any, wanted: str) -> str | None:
    """What Cycles renders on: the graphics card where it is wanted and Blender sees one. Others choose themselves."""
    if scene.render.engine != "CYCLES":
        return None
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for kind in DEVICES[wanted]:
        try:
            preferences.compute_device_type = kind
        except TypeError:
            continue
        found = [device for device in preferences.get_devices_for_type(kind) if device.type == kind]
        for device in found:
            device.use = True
        if found:
            scene.cycles.device = "GPU"
            return kind
    scene.cycles.device = "CPU"
    return "CPU"


def set_samples(scene: Any, samples: int | None) -> None:
    if samples is None:
        return
    if scene.render.engine == "CYCLES":
        scene.cycles.samples = samples
    elif hasattr(scene, "eevee"):
        scene.eevee.taa_render_samples = samples


def set_size(scene: Any, asked: Any) -> None:
    width, height = SIZES.get(asked["resolution"], (asked["width"], asked["height"]))
    if width or height:
        scene.render.resolution_percentage = 100
    scene.render.resolution_x = width or scene.render.resolution_x
    scene.render.resolution_y = height or scene.render.resolution_y


def chosen_cameras(scene: Any, asked: Any) -> list[Any]:
    """All of the scene by name, or the named one; [None] where markers of the file may choose."""
    there = {one.name: one for one in scene.objects if one.type == "CAMERA"}
    name = asked["camera"]
    if name is not None:
        check_names("camera", [name] * (name not in there), there)
    elif asked["cameras"] == "one":
        if scene.camera is None and not any(marker.camera for marker in scene.timeline_markers):
            raise WrongInput("the scene has no camera")
        return [None]
    elif not there:
        raise WrongInput("the scene has no camera")
    for marker in scene.timeline_markers:
        marker.camera = None
    return [there[one] for one in (sorted(there) if name is None else [name])]


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


def render(asked: Any, folder: Path, cameras: list[Any], tell: Tell) -> None:
    scene = bpy.context.scene
    show_samples(scene)
    total, done = len(asked["frames"]) * len(cameras), 0
    for frame in asked["frames"]:
        scene.frame_set(frame)
        for number, camera in enumerate(cameras):
            scene.camera = camera or scene.camera
            picture = "out/" + asked["picture"].format(frame=frame, camera=number)
            scene.render.filepath = str(below(folder, picture))
            bpy.ops.render.render(write_still=True)
            done += 1
            tell(frame=frame, done=done)
            sys.stdout.write(f"openjd_progress: {100 * done / total:.2f}\n")


def show_samples(scene: Any) -> None:
    """From version 5 on Blender itself does not print how far a frame is."""

    def show(*told: Any) -> None:
        for text in told:
            if isinstance(text, str) and "ample" in text:
                sys.stdout.write(f"\nFra:{scene.frame_current} {text}\n")

    if bpy.app.version >= (5, 0, 0):
        bpy.app.handlers.render_stats.append(show)


if __name__ == "__main__":
    main()
