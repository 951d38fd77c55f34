"""glTF, OBJ, and zips of a model: what is read of them, and what is refused."""

import io
import json
import struct
import zipfile

import pytest
from blend_files import small_blend

from orchestrator.library.examine import examine
from orchestrator.library.reading import Bounds, Unreadable

GLTF = {
    "asset": {"version": "2.0"},
    "materials": [{"name": "Oak"}, {}, {"name": "\ud800 odd"}],
    "cameras": [{"name": "Front", "type": "perspective"}],
    "meshes": [{"name": "Table"}],
    "nodes": [{"name": "Table"}, {"name": "Camera"}],
    "buffers": [{"uri": "table.bin"}, {"uri": "data:application/octet-stream;base64,AA=="}],
}
OBJ = b"mtllib wood.mtl\no Table\nv 0 0 0\nv 1 0 0\nusemtl Oak\nf 1 2 1\n"
MTL = b"newmtl Oak\nKd 1 0 0\nnewmtl Walnut\n"


def glb(told, *, version=2, length=None, kind=b"JSON"):
    text = json.dumps(told).encode()
    part = struct.pack("<I4s", len(text) if length is None else length, kind) + text
    return struct.pack("<4sII", b"glTF", version, 12 + len(part)) + part


def zipped(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return packed.getvalue()


def read(raw, name="model", **bounds):
    kind, found = examine(io.BytesIO(raw), name, Bounds(**bounds))
    json.dumps(found, ensure_ascii=False).encode()
    return kind, found


def fault(raw, name="model", **bounds):
    with pytest.raises(Unreadable) as refused:
        read(raw, name, **bounds)
    return str(refused.value)


@pytest.mark.parametrize(
    ("raw", "name"), [(json.dumps(GLTF).encode(), "table.gltf"), (glb(GLTF), "whatever it is called")]
)
def test_gltf_and_glb_tell_the_same(raw, name):
    kind, found = read(raw, name)
    assert kind == "gltf"
    assert found["materials"] == ["#1", "? odd", "Oak"]
    assert (found["cameras"], found["meshes"], found["objects"]) == (
        ["Front"],
        ["Table"],
        ["Camera", "Table"],
    )
    assert found["files"] == ["table.bin"]


@pytest.mark.parametrize(
    ("raw", "name", "said"),
    [
        (glb(GLTF, version=1), "t.glb", "version 1"),
        (glb(GLTF, length=2**31), "t.glb", "first part"),
        (glb(GLTF, length=2**20), "t.glb", "ends within its JSON"),
        (glb(GLTF, kind=b"BIN\0"), "t.glb", "first part"),
        (b"glTF", "t.glb", "ends within its head"),
        (b'{"asset"', "t.gltf", "cannot be read"),
        (b"[" * 100_000, "t.gltf", "cannot be read"),
        (b"[]", "t.gltf", "asset.version"),
        (b'{"asset": {"version": "1.0"}}', "t.gltf", "asset.version"),
        (b'{"asset": {"version": "2.0"}, "materials": {"a": 1}}', "t.gltf", "materials must be a list"),
        (b"# an empty one\n", "t.obj", "no vertex"),
        (b"just words", "words.txt", "it is no .blend, .glb, .gltf or .obj file"),
        (b"just words", "scene.blend", "it is no .blend"),
        (b"PK\x03\x04" + b"x" * 50, "t.zip", "it was cut"),
    ],
)
def test_what_is_wrong_is_said(raw, name, said):
    assert said in fault(raw, name)


def test_an_obj_alone_tells_what_it_uses():
    kind, found = read(OBJ, "table.OBJ")
    assert (kind, found["materials"], found["objects"], found["files"]) == (
        "obj",
        ["Oak"],
        ["Table"],
        ["wood.mtl"],
    )


def test_a_zip_of_an_obj_tells_its_materials():
    kind, found = read(zipped(**{"table.obj": OBJ, "wood.mtl": MTL, "__MACOSX/table.obj": b"x"}))
    assert (kind, found["materials"]) == ("obj", ["Oak", "Walnut"])
    assert found["counts"]["materials"] == 2
    assert found["archive"] == {"main": "table.obj", "files": 3}


def test_a_zip_of_a_blend_is_a_blend():
    kind, found = read(zipped(**{"kitchen/kitchen.blend": small_blend(), "kitchen/oak.png": b"x"}))
    assert (kind, found["materials"]) == ("blend", ["Red"])
    assert found["archive"]["main"] == "kitchen/kitchen.blend"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.blend": b"x", "b.blend": b"x"}, "one .blend file; it holds 2: a.blend, b.blend"),
        ({"a.txt": b"x"}, "holds no model"),
        ({"../a.blend": b"x"}, "leads out of its folder"),
        ({"C:/a.blend": b"x"}, "leads out of its folder"),
        ({"a.blend": b"nothing"}, "a.blend in the zip: it is no .blend"),
        ({"a.blend": small_blend()[:200]}, "a.blend in the zip: it ends within"),
    ],
)
def test_a_zip_must_hold_one_model(files, said):
    assert said in fault(zipped(**files))


def test_a_bomb_in_a_zip_stops_at_the_bound():
    raw = small_blend(end=False) + struct.pack("<4siQii", b"XX", 2**30, 0, 0, 1) + bytes(64 * 1024**2)
    bomb = zipped(**{"a.blend": raw})
    assert len(bomb) < 200_000
    assert "unpacks to more than" in fault(bomb, bytes_max=8 * 1024**2)


def test_a_zip_that_lies_about_its_list_of_files_is_not_believed():
    whole = zipped(**{"a.blend": small_blend()})
    at = whole.rfind(b"PK\x05\x06")
    huge = whole[: at + 12] + struct.pack("<L", 2**31) + whole[at + 16 :]
    assert "too many files" in fault(huge)
    wide = whole[:at] + b"PK\x06\x07" + b"\0" * 16 + whole[at:]
    assert "64-bit form" in fault(wide)
    elsewhere = whole[: at + 16] + struct.pack("<L", 2**30) + whole[at + 20 :]
    assert "cannot be opened" in fault(elsewhere)


def test_a_zip_with_a_password_or_broken_contents_is_refused():
    whole = bytearray(zipped(**{"a.blend": small_blend()}))
    whole[6] |= 1
    central = whole.find(b"PK\x01\x02")
    whole[central + 8] |= 1
    assert "cannot be opened" in fault(bytes(whole))
    broken = bytearray(zipped(**{"a.blend": small_blend()}))
    broken[45:60] = b"\xff" * 15
    assert "zip" in fault(bytes(broken))
