"""One loaded pipeline of diffusers: where it lies, what it can make, and how it is run and left."""

import gc
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker_image.engines.video.shape import Grid, Shape
from worker_image.faults import HostFault

ROOM_BYTES = 8 * 2**30
"""What latents and the decoder take beside the weights; where there is less, the parts take turns on the GPU."""

_MIB = 2**20
_TEMPORAL = ("vae_temporal_scale_factor", "vae_scale_factor_temporal", "vae_temporal_compression_ratio")
_SPATIAL = ("vae_spatial_scale_factor", "vae_scale_factor_spatial", "vae_spatial_compression_ratio")
_NO_MEMORY = ("out of memory", "can't allocate memory")


class Pipeline:
    """`wrapped` is diffusers' own; `device` is cpu or cuda."""

    def __init__(self, wrapped: Any, device: str) -> None:
        self.name = type(wrapped).__name__
        self.device = device
        self.grid = grid_of(wrapped)
        self._wrapped = wrapped
        self._takes = inspect.signature(wrapped.__call__).parameters

    def frames(
        self, wanted: dict[str, Any], shape: Shape, on_step: Callable[[int], None]
    ) -> tuple[Any, tuple[str, ...]]:
        """An array (frames, height, width, 3), and what was wanted and means nothing to this pipeline.

        Raises:
            HostFault: the GPU or the machine has not enough memory, or the model made no numbers.
        """
        import torch  # noqa: PLC0415  It takes seconds to import.

        negative, takes = wanted["negative_prompt"], "negative_prompt" in self._takes
        with _memory_faults(), torch.inference_mode():
            made = self._wrapped(
                prompt=wanted["prompt"],
                **({"negative_prompt": negative} if takes else {}),
                num_frames=shape.made_frames,
                width=shape.made_width,
                height=shape.made_height,
                num_inference_steps=wanted["steps"],
                generator=torch.Generator("cpu").manual_seed(wanted["seed"]),
                callback_on_step_end=_told(on_step),
                output_type="np",
            ).frames[0]
        if not bool((made == made).all()):  # noqa: PLR0124  Only what is no number differs from itself.
            raise HostFault("video_invalid", f"{self.name} made no picture: its numbers overflowed")
        return made, ("negative_prompt",) if negative and not takes else ()

    def metrics(self) -> dict[str, float | int | str]:
        if self.device != "cuda":
            return {}
        import torch  # noqa: PLC0415  As above.

        return {"PEAK_VRAM_MIB": torch.cuda.max_memory_allocated() // _MIB}

    def close(self) -> None:
        self._wrapped = None
        gc.collect()
        if self.device == "cuda":
            import torch  # noqa: PLC0415  As above.

            torch.cuda.empty_cache()


def open_pipeline(folder: Path, device: str) -> Pipeline:
    """Weights are read from safetensors only, which hold no code.

    Raises:
        HostFault: there is no such device, it cannot be loaded, or does not fit.
    """
    import torch  # noqa: PLC0415  It takes seconds to import.
    from diffusers import DiffusionPipeline  # noqa: PLC0415  As above.

    chosen = _device(device, cuda=torch.cuda.is_available())
    dtype = torch.bfloat16 if chosen == "cuda" else torch.float32
    try:
        with _memory_faults():
            wrapped = DiffusionPipeline.from_pretrained(
                str(folder), dtype=dtype, local_files_only=True, use_safetensors=True
            )
            wrapped.set_progress_bar_config(disable=True)
            _tile(wrapped)
            _place(wrapped, chosen)
    except (OSError, ValueError, TypeError, ImportError, AttributeError) as error:
        raise HostFault("model_invalid", f"{folder.name} cannot be loaded: {error}") from error
    return Pipeline(wrapped, chosen)


def grid_of(wrapped: Any) -> Grid:
    """From its own factors: those of its decoder, and of the patches that its transformer sees."""
    patch = getattr(getattr(wrapped.transformer, "config", None), "patch_size", 1)
    side = patch[-1] if isinstance(patch, (list, tuple)) else patch
    return Grid(_factor(wrapped, _TEMPORAL, 4), _factor(wrapped, _SPATIAL, 8) * (side or 1))


def _factor(wrapped: Any, names: tuple[str, ...], otherwise: int) -> int:
    return next((int(getattr(wrapped, name)) for name in names if hasattr(wrapped, name)), otherwise)


def _device(asked: str, *, cuda: bool) -> str:
    if asked == "cuda" and not cuda:
        raise HostFault("device_missing", "GPULEASE_DEVICE is cuda, and torch sees no such device")
    return "cuda" if cuda and asked != "cpu" else "cpu"


def _tile(wrapped: Any) -> None:
    """Frames are decoded in tiles, which takes far less memory."""
    tiled = getattr(wrapped.vae, "enable_tiling", None)
    if tiled is not None:
        tiled()


def _place(wrapped: Any, device: str) -> None:
    import torch  # noqa: PLC0415  As above.

    if device == "cpu":
        return
    torch.cuda.reset_peak_memory_stats()
    weights = sum(one.numel() * one.element_size() for one in _parameters(wrapped))
    free_bytes, _ = torch.cuda.mem_get_info()
    if weights + ROOM_BYTES > free_bytes:
        wrapped.enable_model_cpu_offload()
    else:
        wrapped.to(device)


def _parameters(wrapped: Any) -> Iterator[Any]:
    for part in wrapped.components.values():
        if hasattr(part, "parameters"):
            yield from part.parameters()


def _told(on_step: Callable[[int], None]) -> Callable[..., dict[str, Any]]:
    """What it raises ends the run: that is how a job is taken back."""

    def told(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        on_step(step + 1)
        return tensors

    return told


@contextmanager
def _memory_faults() -> Iterator[None]:
    """In words is how torch says it, on a GPU and on a CPU."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
            why = str(error).partition("\n")[0][:500]
            raise HostFault("out_of_memory", f"the video does not fit into memory: {why}") from error
        raise
