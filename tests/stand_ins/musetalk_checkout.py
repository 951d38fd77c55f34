"""A stand-in for a checkout of MuseTalk: its layout, its names, small weights, and knobs for its failures.

What fails: oom, killed, crash, exit, hang, weights; and of the script alone: says-saved, saves-nothing, saves-garbage,
saves-old, saves-elsewhere, saves-silently. Pauses: load_s (once a load), landmark_s and frame_s (a frame).
"""

import json
import shutil
from pathlib import Path

HERE = Path(__file__).with_name("musetalk")
LAYOUT = {
    "scripts/inference.py": "script.py",
    "musetalk/utils/audio_processor.py": "listener.py",
    "musetalk/utils/blending.py": "blending.py",
    "musetalk/utils/face_parsing/__init__.py": "parsing.py",
    "musetalk/utils/preprocessing.py": "faces.py",
    "musetalk/utils/utils.py": "loading.py",
    "stand_in.py": "knobs.py",
    "torch/__init__.py": "tensors.py",
    "transformers/__init__.py": "whisper.py",
}
EMPTY = ("diffusers/__init__.py", "mmpose/__init__.py")
WEIGHTS = (
    "models/musetalkV15/unet.pth",
    "models/musetalkV15/musetalk.json",
    "models/sd-vae/config.json",
    "models/whisper/config.json",
    "models/dwpose/dw-ll_ucoco_384.pth",
    "models/face-parse-bisent/79999_iter.pth",
    "models/face-parse-bisent/resnet18-5c106cde.pth",
)


def make_checkout(folder: Path, **knobs) -> Path:
    """Writes it below `folder`, which need not exist, and returns it."""
    for place, source in LAYOUT.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / source, path)
    for place in (*EMPTY, *WEIGHTS):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if place in EMPTY else "{}")
    turn(folder, **knobs)
    return folder


def turn(folder: Path, **knobs) -> None:
    """Sets all its knobs anew."""
    (folder / "knobs.json").write_text(json.dumps(knobs))


def counted(folder: Path) -> dict[str, int]:
    """How often it did what: load, landmarks (by frame), job."""
    path = folder / "counts.txt"
    words = path.read_text().split() if path.exists() else []
    return {word: words.count(word) for word in sorted(set(words))}
