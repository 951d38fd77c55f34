"""Files for the library: by Blender itself, and by hand where no Blender would write such a thing."""

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))
from blender_program import run_script

# Two cameras, three materials, two scenes; saved at frame 7, plain and compressed.
MAKE = """
import bpy, json
folder = {folder!r}
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.name, scene.render.engine = "Haupt", "CYCLES"
scene.frame_start, scene.frame_end = 3, 77
scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 640, 360, 50
scene.frame_set(7)
for name in ("Front", "Größe"):
    camera = bpy.data.objects.new(name, bpy.data.cameras.new(name + " data"))
    scene.collection.objects.link(camera)
for name in ("Red", "Blue", "Rosé " + "x" * 50):
    bpy.data.materials.new(name).use_fake_user = True
bpy.ops.mesh.primitive_cube_add()
bpy.data.scenes.new("Second").frame_end = 9
for name, compress in (("plain", False), ("packed", True)):
    bpy.ops.wm.save_as_mainfile(filepath=folder + "/" + name + ".blend", compress=compress)
told = {{kind: sorted(one.name for one in getattr(bpy.data, kind)) for kind in ("materials", "objects", "meshes")}}
told["cameras"] = sorted(one.name for one in bpy.data.objects if one.type == "CAMERA")
told["version"] = ".".join(map(str, bpy.app.version[:2]))
with open(folder + "/told.json", "w") as file:
    json.dump(told, file)
"""


def made_by_blender(folder: Path) -> dict:
    """`plain.blend`, `packed.blend`, and what Blender says is in them."""
    run_script(MAKE.format(folder=str(folder)))
    return json.loads((folder / "told.json").read_text())


def small_blend(
    materials=("Red",), cameras=("Front",), *, frame=1, version=304, wide=True, order="<", end=True
) -> bytes:
    """A `.blend` with the structures that are read of one, and no others. No Blender opens it."""
    pointer, sign = (8, b"-") if wide else (4, b"_")
    types = [b"char", b"short", b"int", b"ID", b"Material", b"Object", b"RenderData", b"Scene"]
    names = [b"*next", b"name[66]", b"id", b"type", b"r", b"cfra", b"sfra", b"(*call)()", b"m[2][2]"]
    lengths = [1, 2, 4, 66 + pointer, 66 + pointer, 0, 8, 0]
    structs = [
        (3, [(3, 0), (0, 1)]),
        (4, [(3, 2)]),
        (5, [(3, 2), (3, 7), (2, 8), (1, 3)]),
        (6, [(2, 5), (2, 6)]),
        (7, [(3, 2), (6, 4)]),
    ]
    dna = _words(order, b"SDNANAME", names) + _words(order, b"TYPE", types) + b"TLEN"
    dna += struct.pack(f"{order}{len(types)}h", *lengths)
    dna += b"STRC" + struct.pack(order + "i", len(structs))
    for kind, fields in structs:
        dna += struct.pack(order + "hh", kind, len(fields))
        dna += b"".join(struct.pack(order + "hh", *pair) for pair in fields)
    identity = [(b"MA", 1, name, b"") for name in materials]
    identity += [(b"OB", 2, name, b"\0" * (pointer + 16) + struct.pack(order + "h", 11)) for name in cameras]
    identity.append((b"SC", 4, "Scene", struct.pack(order + "ii", frame, 1)))
    blocks = [
        _block(order, wide, code, b"\0" * pointer + (code + name.encode()).ljust(66, b"\0") + rest, index)
        for code, index, name, rest in identity
    ]
    blocks.append(_block(order, wide, b"DNA1", dna))
    head = b"BLENDER" + sign + (b"v" if order == "<" else b"V") + str(version).encode()
    return head + b"".join(blocks) + (_block(order, wide, b"ENDB", b"") if end else b"")


def _block(order, wide, code, body, structure=0, *, length=None) -> bytes:
    length = len(body) if length is None else length
    return struct.pack(order + ("4siQii" if wide else "4siIii"), code, length, 0, structure, 1) + body


def lying_block(length: int, code: bytes = b"MA") -> bytes:
    """A `.blend` whose one block says that it is so long."""
    return b"BLENDER-v304" + _block("<", True, code, b"x" * 32, length=length)


def _words(order, sign, words) -> bytes:
    text = sign + struct.pack(order + "i", len(words)) + b"\0".join(words) + b"\0"
    return text + b"\0" * (-len(text) % 4)
