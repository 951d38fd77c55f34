"""What is read from a `.blend`: the same as Blender says of it; and from a hostile one, a refusal in time."""

import gzip
import io
import itertools
import json
import time

import pytest
import zstandard
from blend_files import lying_block, made_by_blender, small_blend
from blender_program import BLENDER
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.library.examine import examine
from orchestrator.library.reading import Bounds, Unreadable

needs_blender = pytest.mark.skipif(BLENDER is None, reason="Blender is not installed")


def read(raw: bytes, **bounds):
    kind, found = examine(io.BytesIO(raw), "scene.blend", Bounds(**bounds))
    assert kind == "blend"
    json.dumps(found)
    return found


def fault(raw: bytes, **bounds) -> str:
    with pytest.raises(Unreadable) as refused:
        examine(io.BytesIO(raw), "scene.blend", Bounds(**bounds))
    return str(refused.value)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blend")
    return folder, made_by_blender(folder)


@needs_blender
@pytest.mark.parametrize(("name", "compression"), [("plain", "none"), ("packed", "zstd"), ("gzip", "gzip")])
def test_a_file_holds_what_blender_says_it_holds(real, name, compression):
    folder, told = real
    raw = (folder / f"{'plain' if name == 'gzip' else name}.blend").read_bytes()
    found = read(gzip.compress(raw) if name == "gzip" else raw)
    assert {kind: found[kind] for kind in ("materials", "cameras", "objects", "meshes")} == {
        kind: told[kind] for kind in ("materials", "cameras", "objects", "meshes")
    }
    assert (found["blender"], found["compression"]) == (told["version"], compression)
    assert found["counts"] == {"materials": 3, "objects": 3, "meshes": 1, "libraries": 0, "cameras": 2}
    main = {"name": "Haupt", "active": True, "frame": 7, "frame_start": 3, "frame_end": 77}
    size = {"width": 640, "height": 360, "percent": 50, "engine": "CYCLES"}
    assert found["scenes"][0] == main | size
    assert [(one["name"], one["active"]) for one in found["scenes"]] == [("Haupt", True), ("Second", False)]
    assert found["complete"]


@needs_blender
def test_a_real_file_that_was_cut_is_refused_wherever_that_was(real):
    folder, _ = real
    for name in ("plain", "packed"):
        raw = (folder / f"{name}.blend").read_bytes()
        for share in (0.01, 0.3, 0.7, 0.95):
            assert fault(raw[: int(len(raw) * share)])


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pointers_and_bytes_may_be_of_any_order(wide, order):
    found = read(small_blend(("Red", "Blue"), frame=12, wide=wide, order=order, version=279))
    assert (found["materials"], found["cameras"]) == (["Blue", "Red"], ["Front"])
    assert (found["scenes"][0]["frame"], found["blender"]) == (12, "2.79")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"BLENDER", "ends within its head"),
        (b"BLENDER-v30x" + b"\0" * 50, "may be too new"),
        (b"BLENDER17-02v0600" + b"\0" * 50, "may be too new"),
        (b"BLENDER-v304", "the head of a block"),
        (lying_block(-1), "of -1 bytes cannot be"),
        (lying_block(2**31 - 1), "ends within a block 'MA' of 2147483647 bytes"),
        (lying_block(2**31 - 1, b"XX"), "ends within a block 'XX'"),
        (lying_block(2**31 - 1, b"DNA1"), "cannot be"),
        (lying_block(32, b"DNA1"), "DNA1 block, which describes its structures, is broken"),
        (lying_block(8, b"MA")[:44] + small_blend(())[-24:], "no DNA1 block"),
        (small_blend().replace(b"MARed", b"XXRed"), "has no name"),
        (small_blend(end=False), "the head of a block"),
        (b"\x1f\x8b" + b"x" * 100, "gzip compression is broken"),
        (gzip.compress(small_blend())[:60], "gzip compression is broken"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 100, "zstd compression is broken"),
        (zstandard.compress(small_blend())[:60], "ends within"),
        (zstandard.compress(b"no blend at all"), "does not begin with BLENDER"),
        (b"", "it is no .blend"),
    ],
    ids=itertools.count(),
)
def test_what_is_wrong_with_a_broken_file_is_said(raw, said):
    assert said in fault(raw)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_stops_at_the_bound(pack):
    bomb = pack(lying_block(2**30, b"XX") + bytes(64 * 1024**2))
    assert len(bomb) < 200_000
    assert fault(bomb, bytes_max=8 * 1024**2) == "it unpacks to more than 8388608 bytes"


def test_a_window_of_gigabytes_is_not_taken():
    parameters = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert "zstd compression is broken" in fault(packer.compress(small_blend()) + packer.flush())


def test_millions_of_blocks_stop_at_the_time():
    started = time.monotonic()
    raw = b"BLENDER-v304" + lying_block(0)[12:36] * 2_000_000
    assert "takes more than 0.2 s" in fault(raw, seconds_max=0.2)
    assert time.monotonic() - started < 5


def test_of_very_many_names_the_first_are_kept_and_all_are_counted():
    found = read(small_blend([f"M{number:05}" for number in range(1_500)]))
    assert (len(found["materials"]), found["counts"]["materials"]) == (1_000, 1_500)
    assert found["complete"]
    many = read(small_blend([f"M{number:05}" for number in range(30_500)]))
    assert (many["counts"]["materials"], many["complete"]) == (30_000, False)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=12))
def test_spoilt_bytes_are_read_or_refused_and_never_break_it(spoilt):
    raw = bytearray(small_blend())
    for place, byte in spoilt:
        raw[place % len(raw)] = byte
    try:
        _, found = examine(io.BytesIO(bytes(raw)), "x.blend")
        json.dumps(found, ensure_ascii=False).encode()
    except Unreadable:
        return


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2_000), st.binary(max_size=40))
def test_cut_files_with_anything_after_them_are_read_or_refused(length, rest):
    try:
        examine(io.BytesIO(small_blend()[:length] + rest), "x.blend")
    except Unreadable:
        return
