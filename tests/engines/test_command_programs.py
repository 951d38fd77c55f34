"""Programs of the operator: typed arguments as one vector, what they tell, and how they misbehave."""

import json
import sys
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blender_world import Bench
from stopwatch import Stopwatch

from worker_image.engines.arguments import Places, Program, expand
from worker_image.engines.base import EngineConfig
from worker_image.engines.confined import confines
from worker_image.engines.in_time import TooLong, at_most
from worker_image.faults import InputFault

TELL = (
    "import json, pathlib, sys; pathlib.Path(sys.argv[1], 'argv.json').write_text(json.dumps(sys.argv[2:]))"
)
DAEMON = "import subprocess, pathlib, sys; subprocess.Popen(['sleep', '60']); "
DAEMON += "pathlib.Path(sys.argv[1], 'a').write_text('')"
FLOOD = """
import pathlib, sys
for n in range(5):
    sys.stdout.write("x" * 1_000_000)
    sys.stdout.write("\\n" * 20_000)
print("openjd_status: almost there\\nopenjd_progress: 90")
pathlib.Path(sys.argv[1], "a").write_text("")
"""
FAILS = "print('openjd_fail: the licence is gone'); raise SystemExit(9)"
WRITES = "import pathlib, sys; pathlib.Path(sys.argv[1], 'a').write_text(''); pathlib.Path(sys.argv[2]).write_text('')"
SLOW = "import pathlib, sys; print('a' * 1000); print('50%'); pathlib.Path(sys.argv[1], 'a').write_text('')"


def python(code: str, *arguments: str, **more) -> dict:
    return {"executable": sys.executable, "arguments": ["-c", code, "@output_dir", *arguments], **more}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    programs = {
        "tell": python(
            TELL, "--name=$RENDERONLINE:name", "@uploaded_file", types={"name": "sentence"}, extension=".zip"
        ),
        "daemon": python(DAEMON),
        "flood": python(FLOOD),
        "fails": python(FAILS),
        "writes": python(WRITES, str(tmp_path / "elsewhere"), confined=True),
        "slow": python(SLOW, progress=r"^(a+)+b(\d)|(\d+)%"),
    }
    path = tmp_path / "programs.json"
    path.write_text(json.dumps(programs))
    bench = Bench(tmp_path, EngineConfig(commands=str(path)))
    yield bench
    await bench.pool.close()


@pytest.mark.parametrize(
    "name", ["x; rm -rf /", "$(touch gone) `id` | cat > x", "'\"\\ ", "*", "@output_dir"]
)
async def test_what_a_shell_would_read_is_one_argument(bench: Bench, tmp_path: Path, name: str):
    upload = tmp_path / "upload"
    upload.write_text("no zip at all")
    asked = {"program": "tell", "arguments": {"name": name}}
    made = await bench.run("command", asked, file_url=upload)
    with zipfile.ZipFile(made.files[0].path) as archive:
        said = json.loads(archive.read("argv.json"))
    assert said[0] == f"--name={name}"
    assert Path(said[1]).suffix == ".zip"
    assert len(said) == 2


@pytest.mark.parametrize("name", ["-rf", "--", "two\nlines", ""])
async def test_what_would_be_an_option_or_a_line_is_refused(bench: Bench, tmp_path: Path, name: str):
    upload = tmp_path / "upload"
    upload.write_text("x")
    with pytest.raises(InputFault, match="name"):
        await bench.run("command", {"program": "tell", "arguments": {"name": name}}, file_url=upload)


async def test_kin_that_outlive_their_program_end_with_it(bench: Bench):
    began = time.monotonic()
    assert (await bench.run("command", {"program": "daemon"})).data["files"] == ["a"]
    assert time.monotonic() - began < 10


async def test_a_flood_of_output_is_cut_and_the_job_goes_on(bench: Bench):
    await bench.run("command", {"program": "flood"})
    assert any(step.message == "almost there" and step.share == 0.9 for step in bench.steps)
    assert len(bench.log) < 2_000_000


async def test_a_program_says_why_it_failed(bench: Bench):
    with pytest.raises(InputFault, match="the licence is gone"):
        await bench.run("command", {"program": "fails"})


async def test_a_progress_regex_that_takes_forever_is_given_up(bench: Bench):
    began = time.monotonic()
    assert (await bench.run("command", {"program": "slow"})).data["file_count"] == 1
    assert all(step.share in (0.0, 1.0) for step in bench.steps if step.phase == "inferring")
    assert time.monotonic() - began < 10


@pytest.mark.skipif(not confines(), reason="this kernel has no Landlock")
async def test_a_confined_program_writes_to_its_job_only(bench: Bench, tmp_path: Path):
    with pytest.raises(InputFault, match="PermissionError"):
        await bench.run("command", {"program": "writes"})
    assert not (tmp_path / "elsewhere").exists()


def test_a_regex_that_cannot_decide_refuses_in_time():
    kind = {"regex": "^(a+)+$"}
    typed = Program.model_validate(
        {"executable": "x", "arguments": ["$RENDERONLINE:it"], "types": {"it": kind}}
    )
    places = Places(None, "/out")
    assert expand(typed, {"it": "a" * 100}, places) == ["a" * 100]
    with Stopwatch() as took, pytest.raises(InputFault, match="it"):
        expand(typed, {"it": "a" * 100 + "b"}, places)
    assert took.seconds < 3


@pytest.mark.parametrize(
    ("element", "expanded"),
    [
        ("@uploaded_file", "/in"),
        ("--scene=@uploaded_file", "--scene=/in"),
        ("$RENDERONLINE:@uploaded_file", "/in"),
        ("@output_dir/frame_", "/out/frame_"),
        ("me@uploaded_file", "me@uploaded_file"),
        ("@uploaded_files", "@uploaded_files"),
    ],
)
def test_built_in_placeholders_stand_with_and_without_a_prefix(element: str, expanded: str):
    typed = Program.model_validate({"executable": "x", "arguments": [element, "@uploaded_file"]})
    assert expand(typed, {}, Places("/in", "/out"))[0] == expanded


def test_time_is_up_only_while_it_is_counted():
    with pytest.raises(TooLong), at_most(0.05):
        time.sleep(5)
    with at_most(0.5):
        pass
    time.sleep(0.6)
