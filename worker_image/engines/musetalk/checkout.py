"""The operator's checkout of MuseTalk: what must be there, and how its programs are started."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gpulease.contract.agent import EngineOffer
from worker_image.engines.base import EngineConfig
from worker_image.faults import HostFault
from worker_image.media.programs import ffmpeg, ffprobe, run_bounded

MODEL = "v1.5"
VRAM_GB = 8.0
_PROBE_S_MAX = 4.0
_PROGRAM = "scripts/inference.py"
_WEIGHTS = (
    "models/sd-vae/config.json",
    "models/whisper/config.json",
    "models/dwpose/dw-ll_ucoco_384.pth",
    "models/face-parse-bisent/79999_iter.pth",
    "models/face-parse-bisent/resnet18-5c106cde.pth",
)
_PACKAGES = ("torch", "mmpose", "diffusers", "transformers", "cv2")
_FIRST_ABSENT = """
import importlib.util, sys
print(next((name for name in sys.argv[1:] if importlib.util.find_spec(name) is None), ""))
"""


def offer(config: EngineConfig, backend: str, mode: str) -> EngineOffer | str:
    """The offer of that mode, or what is missing first and where to get it."""
    if config.musetalk_mode != mode:
        return f"not chosen: GPULEASE_MUSETALK_MODE is {config.musetalk_mode}"
    missing = _missing(config) or (_missing_encoders() if mode == "one-shot" else None)
    if missing is not None:
        return missing
    return EngineOffer(engine="musetalk", backend=backend, models=(MODEL,), vram_gb=VRAM_GB)


def root_of(config: EngineConfig) -> Path:
    return Path(config.musetalk_workdir or "/app")


def python_of(config: EngineConfig) -> str:
    return config.musetalk_python or sys.executable


def on_gpu(config: EngineConfig) -> bool:
    return config.device != "cpu"


def environment(config: EngineConfig) -> dict[str, str]:
    """What its programs need beside our own environment.

    They call `ffmpeg` by that name. Since torch 2.6 a checkpoint such as DWPose's, which holds more than numbers, is
    read only on demand; the weights are the operator's.
    """
    wanted = {
        "PATH": os.pathsep.join([str(_linked_programs()), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    }
    return wanted if on_gpu(config) else wanted | {"CUDA_VISIBLE_DEVICES": ""}


def _linked_programs() -> Path:
    """A folder with ffmpeg and ffprobe under these names, since a package's have others."""
    folder = Path(tempfile.gettempdir(), "ffmpeg")
    folder.mkdir(exist_ok=True)
    for name, program in (("ffmpeg", ffmpeg()), ("ffprobe", ffprobe())):
        link = folder / name
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    return folder


def _missing(config: EngineConfig) -> str | None:
    root = root_of(config)
    if not (root / _PROGRAM).is_file():
        return (
            f"no checkout of MuseTalk at {root}: clone it there, or name another folder in MUSETALK_WORKDIR"
        )
    weights = (config.musetalk_unet_model, config.musetalk_unet_config, *_WEIGHTS)
    absent = next((name for name in weights if not (root / name).is_file()), None)
    if absent is not None:
        return f"weights are missing: {root / absent}; run download_weights.sh in {root}"
    return _missing_program() or _missing_package(config) or _missing_gpu(config)


def _missing_program() -> str | None:
    try:
        ffmpeg()
        ffprobe()
    except HostFault as fault:
        return fault.message
    return None


def _missing_encoders() -> str | None:
    """Its script has ffmpeg write PNG, which small builds cannot."""
    ran = run_bounded([ffmpeg(), "-hide_banner", "-encoders"], timeout_s=_PROBE_S_MAX)
    known = {
        words[1] for line in ran.out.decode("utf-8", "replace").splitlines() if len(words := line.split()) > 1
    }
    absent = next((name for name in ("png", "libx264") if name not in known), None)
    if absent is None:
        return None
    advice = "install the system's ffmpeg package, or set GPULEASE_MUSETALK_MODE=resident, which needs no PNG"
    return f"{ffmpeg()} cannot encode {absent}, and MuseTalk's script needs it: {advice}"


def _missing_package(config: EngineConfig) -> str | None:
    python = python_of(config)
    argv = [python, "-c", _FIRST_ABSENT, *_PACKAGES]
    advice = "install requirements.musetalk.txt there, or name another Python in GPULEASE_MUSETALK_PYTHON"
    try:
        ran = subprocess.run(  # noqa: S603  The vector is ours.
            argv, cwd=root_of(config), capture_output=True, text=True, timeout=_PROBE_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the Python of MuseTalk does not start ({python}): {error}"
    if ran.returncode:
        return f"the Python of MuseTalk does not run ({python}): {ran.stderr.strip()[-300:]}"
    absent = ran.stdout.strip()
    return f"{python} has no {absent}: {advice}" if absent else None


def _missing_gpu(config: EngineConfig) -> str | None:
    if not on_gpu(config) or any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists():
        return None
    return "no NVIDIA GPU on this machine; GPULEASE_DEVICE=cpu runs it all the same, at minutes for a second of film"
