"""mmpose for real: MuseTalk's pose network from mmpose's own configs, with random weights, on a CPU.

It runs where MuseTalk's Python has mmpose: `GPULEASE_MUSETALK_PYTHON`, or this one. mmcv may lack its operators.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import worker_image.engines.musetalk

PYTHON = os.environ.get("GPULEASE_MUSETALK_PYTHON", sys.executable)
FOUND = "import importlib.util, sys; sys.exit(any(importlib.util.find_spec(n) is None for n in ('mmpose', 'torch')))"
POSE = """
import json, sys, warnings
from pathlib import Path

warnings.filterwarnings("ignore")
sys.path.append(sys.argv[1])
from inside.mmcv_ops import stand_in_for_absent_operators

without_ops = stand_in_for_absent_operators()
import numpy as np
import torch

try:
    import torchvision
except RuntimeError:  # A build for CUDA beside a torch without it: its operators are declared, and never called.
    for name in [one for one in sys.modules if one.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    declared = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
import mmpose
from mmengine.config import Config
from mmengine.runner import save_checkpoint
from mmpose.apis import inference_topdown, init_model

name, weights = sys.argv[2], Path(sys.argv[3])
(found,) = Path(mmpose.__file__).parent.joinpath(".mim", "configs").rglob(name)
config = Config.fromfile(found)
config.model.backbone.init_cfg = None
torch.manual_seed(0)
first = init_model(config, None, device="cpu")
save_checkpoint({"state_dict": first.state_dict()}, str(weights))
torch.manual_seed(1)
again = init_model(config, str(weights), device="cpu")
other = init_model(config, None, device="cpu")
image = np.random.default_rng(0).integers(0, 255, (384, 288, 3), dtype=np.uint8)
points = [inference_topdown(model, image)[0].pred_instances.keypoints for model in (first, again, other)]
print(json.dumps({
    "version": mmpose.__version__,
    "without_ops": without_ops,
    "parameters": sum(one.numel() for one in first.parameters()),
    "shape": points[0].shape,
    "finite": bool(np.isfinite(points[0]).all()),
    "same": bool((points[0] == points[1]).all()),
    "other": bool((points[0] != points[2]).any()),
    "face": points[0][0][23:91].astype(int).tolist(),
}))
"""


def has_mmpose() -> bool:
    try:
        return (
            subprocess.run([PYTHON, "-c", FOUND], capture_output=True, timeout=30, check=False).returncode
            == 0
        )
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not has_mmpose(), reason="mmpose is not installed for GPULEASE_MUSETALK_PYTHON")
@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        ("rtmpose-m_8xb64-270e_coco-wholebody-256x192.py", 17_953_039),
        ("rtmpose-l_8xb32-270e_coco-wholebody-384x288.py", None),
    ],
)
def test_the_same_weights_find_the_same_points(tmp_path: Path, config: str, parameters: int | None):
    """The larger network is the one whose distilled weights (DWPose) MuseTalk has."""
    ours = str(Path(worker_image.engines.musetalk.__file__).parent)
    argv = [PYTHON, "-c", POSE, ours, config, str(tmp_path / "weights.pth")]
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    ran = subprocess.run(
        argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert seen["shape"] == [1, 133, 2]
    assert seen["finite"]
    assert seen["same"]
    assert seen["other"]
    assert len(seen["face"]) == 68
    assert parameters in (None, seen["parameters"])
    assert (tmp_path / "weights.pth").stat().st_size > 4 * seen["parameters"]
