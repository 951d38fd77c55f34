"""What a ComfyUI server can do for us: an offer, or what it lacks."""

from dataclasses import dataclass

from worker_image.engines.comfyui.client import ComfyUI
from worker_image.engines.comfyui.graph import CLASSES, Models, models_of
from worker_image.engines.comfyui.replies import combo
from worker_image.faults import HostFault

SONIC = "sonic"
"""The model that a portrait's result names."""


@dataclass(frozen=True, slots=True)
class Found:
    """`vram_gb` is all that the server's GPU has: its models come and go."""

    vram_gb: float
    models: Models


async def find_sonic(server: ComfyUI) -> Found | str:
    """Raises: HostFault: the server does not answer."""
    device = await server.device()
    info = await server.classes(*CLASSES)
    if missing := [name for name in CLASSES if name not in info]:
        return f"ComfyUI lacks the nodes {', '.join(missing)} (see docs/engines/comfyui.md)"
    models = models_of(
        {
            "ckpt_name": combo(info, "ImageOnlyCheckpointLoader", "ckpt_name"),
            "sonic_unet": combo(info, "SONICTLoader", "sonic_unet"),
        }
    )
    return models if isinstance(models, str) else Found(device.vram_gb, models)


async def models_here(server: ComfyUI) -> Models:
    """Raises: HostFault: something is missing."""
    match await find_sonic(server):
        case str() as missing:
            raise HostFault("model_missing", missing)
        case found:
            return found.models
