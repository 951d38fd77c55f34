"""The modules of video_generator.proto are what protoc makes of it; run this file by hand to make them anew."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path("gpulease/contract")
NAMES = ("video_generator_pb2.py", "video_generator_pb2.pyi", "video_generator_pb2_grpc.py")


def generate(out: Path) -> None:
    """Paths are given from the root, so that the modules import each other by the package's name."""
    made = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", *made]
    subprocess.run([*command, str(ROOT / FOLDER / "video_generator.proto")], check=True, timeout=60)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    generate(out)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_the_module_is_what_protoc_makes(made, name):
    assert (made / FOLDER / name).read_text() == (ROOT / FOLDER / name).read_text()


if __name__ == "__main__":
    generate(ROOT)
