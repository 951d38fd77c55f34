"""A GPU that is not there: NVIDIA's two libraries, compiled on the spot, answer from a file.

The worker loads them as it loads the real ones, through the real binding. Without a C compiler there is none.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = {"nvml.c": "libnvidia-ml.so.1", "cuda.c": "libcuda.so.1"}
COMPILER = shutil.which("cc") or shutil.which("gcc")
RTX_4090 = {
    "driver": "550.54.14",
    "cuda": 12040,
    "0.name": "NVIDIA GeForce RTX 4090",
    "0.uuid": "GPU-11111111-2222-3333-4444-555555555555",
    "0.total_mib": 24564,
    "0.used_mib": 500,
    "0.temperature_c": 41,
    "0.util": 37,
}


@dataclass
class NvidiaStandIn:
    """`say` changes what the libraries answer from now on; None forgets a line."""

    folder: Path
    lines: dict[str, object]

    @property
    def environment(self) -> dict[str, str]:
        found = [str(self.folder), os.environ.get("LD_LIBRARY_PATH", "")]
        return {
            "LD_LIBRARY_PATH": ":".join(one for one in found if one),
            "NVIDIA_STAND_IN": str(self.folder / "answers"),
        }

    def say(self, **changes: object) -> None:
        """Dots of keys are written as two underscores: `0.used_mib` is `_0__used_mib`."""
        for name, value in changes.items():
            key = name.removeprefix("_").replace("__", ".")
            if value is None:
                self.lines.pop(key, None)
            else:
                self.lines[key] = value
        fresh = self.folder / "answers.new"
        fresh.write_text("".join(f"{key} {value}\n" for key, value in self.lines.items()))
        fresh.replace(self.folder / "answers")


def compile_into(folder: Path, *, cuda: bool = True) -> NvidiaStandIn:
    """Compiles the libraries into the folder, which is its own, and starts with an RTX 4090."""
    assert COMPILER is not None
    for source, library in LIBRARIES.items():
        if cuda or source != "cuda.c":
            argv = [COMPILER, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(folder / library)]
            subprocess.run([*argv, str(HERE / source)], check=True, timeout=60)
    made = NvidiaStandIn(folder, dict(RTX_4090))
    made.say()
    return made
