"""Blender for real: cameras, sizes, materials, projects in a zip, formats, and what it tells on the way."""

import asyncio
import shutil
import subprocess
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import av
import psutil
import pytest
from blender_world import BLENDER, Bench, colour, make_scenes, program
from PIL import Image
from stopwatch import Stopwatch

from worker_image.engines.base import EngineConfig, Outcome
from worker_image.engines.blender.backend import Blender
from worker_image.engines.confined import confined, confines
from worker_image.faults import HostFault, InputFault
from worker_image.web.hpc.arguments import vector
from worker_image.web.hpc.engines import Engine, Farm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BLENDER is None, reason="the program blender is not installed"),
]


@pytest.fixture(scope="session")
def outside(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("outside")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory, outside: Path) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    make_scenes(folder, outside)
    return folder


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.pool.close()


def content(made: Outcome) -> bytes:
    return Path(made.files[0].path).read_bytes()


async def render(bench: Bench, path: Path, library: Path | None = None, **asked):
    files = {"file_url": path} | ({"library_url": library} if library else {})
    return await bench.run("blender", asked, **files)


async def test_every_camera_has_its_picture_of_every_frame(bench: Bench, scenes: Path, tmp_path: Path):
    made = await render(bench, scenes / "studio.blend", frames="1-2", cameras="all")
    assert (made.data["frames"], made.data["cameras"]) == (2, ["Away", "Front", "Side"])
    (archive,) = made.files
    with zipfile.ZipFile(archive.path) as unpacked:
        unpacked.extractall(tmp_path / "pictures")
    names = [f"frame_00000{frame}_cam{camera}.png" for frame in (1, 2) for camera in range(3)]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == names
    assert [colour(tmp_path / "pictures" / name) for name in names[:3]] == ["black", "red", "red"]
    assert {step.total_steps for step in bench.steps if step.step} == {6}
    assert bench.steps[-1].message == "packing frames"


async def test_pictures_may_come_as_a_file_each(bench: Bench, scenes: Path):
    made = await render(bench, scenes / "studio.blend", cameras="all", pack="each", output="JPEG")
    assert [one.name for one in made.files] == [f"frame_000001_cam{number}.jpg" for number in range(3)]
    assert {one.content_type for one in made.files} == {"image/jpeg"}
    assert [colour(Path(one.path)) for one in made.files] == ["black", "red", "red"]


async def test_progress_goes_by_samples_and_never_back(bench: Bench, scenes: Path):
    await render(bench, scenes / "studio.blend", frames="1-3", samples=4)
    shares = [step.share for step in bench.steps if step.phase == "inferring"]
    assert shares == sorted(shares)
    assert len(set(shares)) > 4
    assert shares[-1] == 1.0
    assert any("sample" in (step.message or "") for step in bench.steps)
    assert "openjd_progress: 33.33" in bench.log


async def test_a_camera_by_its_name_or_a_list_of_those_there(bench: Bench, scenes: Path):
    made = await render(bench, scenes / "studio.blend", camera="Away", resolution="1k", samples=1)
    with Image.open(made.files[0].path) as picture:
        assert picture.size == (1920, 1080)
    assert made.data["device"] == "CPU"
    with pytest.raises(InputFault, match="'Nobody'; there are: Away, Front, Side"):
        await render(bench, scenes / "studio.blend", camera="Nobody")


@pytest.mark.slow
async def test_materials_of_the_file_and_of_a_library(bench: Bench, scenes: Path):
    swap = [{"original": "Red", "replacement": "Blue"}]
    blue = await render(bench, scenes / "studio.blend", materials=swap)
    assert (colour(blue.files[0].path), blue.data["material_slots"]) == ("blue", 1)
    exchange = [*swap, {"original": "Blue", "replacement": "Red"}]
    assert colour((await render(bench, scenes / "studio.blend", materials=exchange)).files[0].path) == "blue"
    other = [{"original": "Red", "replacement": "Green"}]
    green = await render(bench, scenes / "studio.blend", scenes / "library.blend", materials=other)
    assert colour(green.files[0].path) == "green"


@pytest.mark.parametrize(
    ("swap", "library", "said"),
    [
        (("Gold", "Blue"), False, "no material 'Gold'; there are: Blue, Red"),
        (("Red", "Gold"), False, "no material 'Gold'; there are: Blue, Red"),
        (("Red", "Gold"), True, "no material 'Gold'; there are: Green"),
    ],
)
async def test_materials_that_are_not_there(bench: Bench, scenes: Path, swap, library: bool, said: str):
    wanted = [dict(zip(("original", "replacement"), swap, strict=True))]
    more = scenes / "library.blend" if library else None
    with pytest.raises(InputFault, match=said):
        await render(bench, scenes / "studio.blend", more, materials=wanted)


@pytest.mark.slow
async def test_a_zip_brings_its_textures_and_without_them_they_are_named(
    bench: Bench, scenes: Path, tmp_path: Path
):
    archive = tmp_path / "project.zip"
    Image.new("RGB", (4, 4), (0, 255, 0)).save(tmp_path / "wood.png")
    with zipfile.ZipFile(archive, "w") as project:
        project.write(scenes / "textured.blend", "my scene/it's; here.blend")
        project.write(tmp_path / "wood.png", "my scene/textures/wood.png")
        project.writestr("__MACOSX/._x.blend", "x")
    made = await render(bench, archive)
    assert (colour(made.files[0].path), "missing" in made.data) == ("green", False)
    bare = await render(bench, scenes / "textured.blend")
    assert bare.data["missing_count"] == 1
    assert bare.data["missing"][0].endswith("textures/wood.png")


@pytest.mark.slow
async def test_formats_are_what_they_are_called(bench: Bench, scenes: Path):
    starts = {"JPEG": b"\xff\xd8\xff", "EXR": b"\x76\x2f\x31\x01"}
    for output, start in starts.items():
        made = await render(bench, scenes / "studio.blend", output=output, samples=1)
        assert content(made).startswith(start)


async def test_a_render_that_is_taken_back_ends_at_once(bench: Bench, scenes: Path):
    long = {"samples": 50_000, "resolution": "4k", "camera": "Front"}
    rendering = asyncio.create_task(render(bench, scenes / "studio.blend", **long))
    async with asyncio.timeout(60):
        while not any("Fra:" in line for line in bench.printed()):
            await asyncio.sleep(0.1)
    rendering.cancel()
    with Stopwatch() as took, pytest.raises(asyncio.CancelledError):
        await rendering
    assert took.seconds < 2
    assert not any(process.name() == "blender" for process in psutil.Process().children(recursive=True))


@pytest.mark.slow
async def test_films_of_every_camera(bench: Bench, scenes: Path):
    made = await render(bench, scenes / "studio.blend", frames="1-3", cameras="all", output="MP4", fps=12)
    assert [file.name for file in made.files] == ["film_cam0.mp4", "film_cam1.mp4", "film_cam2.mp4"]
    with av.open(made.files[1].path) as film:
        (stream,) = film.streams.video
        assert (stream.frames, stream.average_rate) == (3, 12)


@pytest.mark.slow
async def test_eevee_renders_or_says_that_it_cannot(bench: Bench, scenes: Path):
    """It needs a display or a driver that does without."""
    try:
        made = await render(bench, scenes / "studio.blend", engine="EEVEE", samples=2)
    except HostFault as fault:
        if fault.code not in {"render_failed", "blender_killed"}:
            raise
        return
    assert made.data["render_engine"].startswith("BLENDER_EEVEE")
    assert colour(made.files[0].path) == "red"


def there(outside: Path) -> set[str]:
    return {path.name for path in outside.rglob("*") if confines() or "fluid" not in str(path)}


async def test_nothing_that_a_file_would_do_beside_is_done(bench: Bench, scenes: Path, outside: Path):
    """A fluid makes its cache when the file is opened, before any script could move it: there the kernel is needed."""
    before = there(outside)
    made = await render(bench, scenes / "hostile.blend", frames="1-2")
    assert made.data["frames"] == 2
    assert there(outside) == before
    assert {"file output nodes", "Freestyle scripts", "caches outside the project"} <= set(made.ignored)


def test_a_farms_own_line_does_nothing_beside_either(scenes: Path, outside: Path, tmp_path: Path):
    """As `/hpc` runs it: no script of a job, but what a file could do is switched off once it is open."""
    before, scene = there(outside), tmp_path / "hostile.blend"
    shutil.copy(scenes / "hostile.blend", scene)
    engine = Engine("blender", str(BLENDER), is_blender=True)
    line = vector(
        Farm((engine,), (tmp_path,), 60), engine, f"blender -b {scene} -o //out_## -F PNG -x 1 -f 1"
    )
    subprocess.run(confined(line, [str(tmp_path)]), check=True, capture_output=True, timeout=60)
    assert colour(tmp_path / "out_01.png")
    assert there(outside) == before


@pytest.mark.slow
async def test_files_elsewhere_on_the_machine_are_not_read(bench: Bench, scenes: Path, outside: Path):
    made = await render(bench, scenes / "foreign.blend")
    assert str(outside / "secret.png") in made.data["missing"]
    with pytest.raises(InputFault, match="outside its folder"):
        await render(bench, scenes / "linking.blend")
    (outside / "props.blend").rename(outside / "gone")
    try:
        missing = (await render(bench, scenes / "linking.blend")).data["missing"]
    finally:
        (outside / "gone").rename(outside / "props.blend")
    assert missing == [str(outside / "props.blend")]


@pytest.mark.skipif(not confines(), reason="this kernel has no Landlock")
async def test_the_kernel_keeps_blender_in(bench: Bench, tmp_path: Path):
    """Whatever a file makes Blender do, beside its job it writes nowhere."""
    target = tmp_path / "elsewhere"
    lines = (
        "import pathlib, sys",
        f"pathlib.Path('inside').write_text('x'); pathlib.Path({str(target)!r}).write_text('x')",
    )
    fake = Bench(tmp_path, EngineConfig(blender=program(tmp_path, "blender", lines)))
    source = tmp_path / "source.blend"
    source.write_bytes(b"BLENDER")
    with pytest.raises(HostFault, match="PermissionError"):
        await render(fake, source)
    await fake.pool.close()
    assert not target.exists()
    assert (tmp_path / "job-0" / "inside").exists()


def test_a_probe_tells_a_blender_from_another_program(tmp_path: Path):
    other = program(tmp_path, "other", ["print('Other 9')"])
    old = program(tmp_path, "old", ["print('Blender 2.79')"])
    reasons = [Blender(EngineConfig(blender=name)).probe() for name in (other, old, "no-such-program")]
    assert ["does not answer like Blender" in reasons[0], "older" in reasons[1]] == [True, True]
    assert "GPULEASE_BLENDER" in reasons[2]
