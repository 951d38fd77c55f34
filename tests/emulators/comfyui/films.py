"""The nodes of SONIC, and the one that makes a film of frames: a still one here, with the real sound."""

import asyncio
import struct
from pathlib import Path
from typing import Any

from comfyui.catalogue import Made, NodeClass, number
from comfyui.knobs import Knobs
from comfyui.running import Running
from worker_image.media.probe import require_audio
from worker_image.media.programs import named, run_ffmpeg

_LONG_MAX = 320
"""A film of this size is made faster, and shows as much."""


def classes(knobs: Knobs, uploads: list[str]) -> dict[str, NodeClass]:
    checkpoint = {"ckpt_name": [list(knobs.checkpoints)]}
    loader = {
        "model": ["MODEL"],
        "sonic_unet": [list(knobs.sonic_models)],
        "ip_audio_scale": number("FLOAT", 1.0, 0.5, 2.0),
        "use_interframe": ["BOOLEAN", {"default": True}],
        "dtype": [["fp16", "fp32", "bf16"], {"default": "fp16"}],
    }
    predata = {
        "clip_vision": ["CLIP_VISION"],
        "vae": ["VAE"],
        "audio": ["AUDIO"],
        "image": ["IMAGE"],
        "weight_dtype": ["DTYPE"],
        "min_resolution": number("INT", 576, 128, 2048),
        "duration": number("FLOAT", 10.0, 1.0, 100_000_000_000.0),
        "expand_ratio": number("FLOAT", 1.0, 0.1, 1.0),
    }
    sampler = {
        "model": ["MODEL_SONIC"],
        "data_dict": ["SONIC_PREDATA"],
        "seed": number("INT", 0, 0, 2**31 - 1),
        "inference_steps": number("INT", 25, 1, 1024),
        "dynamic_scale": number("FLOAT", 1.0, 0.5, 2.0),
        "fps": number("FLOAT", 25.0, 5.0, 120.0),
    }
    return {
        "LoadAudio": NodeClass({"audio": [uploads, {"audio_upload": True}]}, ("AUDIO",), _load_audio),
        "ImageOnlyCheckpointLoader": NodeClass(checkpoint, ("MODEL", "CLIP_VISION", "VAE"), _checkpoint),
        "SONICTLoader": NodeClass(loader, ("MODEL_SONIC", "DTYPE"), _sonic),
        "SONIC_PreData": NodeClass(predata, ("SONIC_PREDATA",), _predata),
        "SONICSampler": NodeClass(sampler, ("IMAGE", "FLOAT"), _sample),
        "VHS_VideoCombine": _combine_class(),
    }


def _combine_class() -> NodeClass:
    inputs = {
        "images": ["IMAGE"],
        "frame_rate": number("FLOAT", 8, 1, 200),
        "loop_count": number("INT", 0, 0, 100),
        "filename_prefix": ["STRING", {"default": "AnimateDiff"}],
        "format": [["image/gif", "image/webp", "video/h264-mp4", "video/webm"]],
        "pingpong": ["BOOLEAN", {"default": False}],
        "save_output": ["BOOLEAN", {"default": True}],
    }
    return NodeClass(inputs, ("VHS_FILENAMES",), _combine, is_output=True, optional={"audio": ["AUDIO"]})


async def _load_audio(run: Running, audio: str, **_: Any) -> Made:
    return Made((run.inputs / audio,))


async def _checkpoint(run: Running, ckpt_name: str) -> Made:
    return Made((f"model of {ckpt_name}", "clip vision", "vae"))


async def _sonic(run: Running, dtype: str, **_: Any) -> Made:
    return Made(("sonic", dtype))


async def _predata(run: Running, audio: Path, image: Any, duration: float, **_: Any) -> Made:
    """As long as the sound, at most."""
    sound = await asyncio.to_thread(require_audio, audio, "audio")
    return Made(({"image": image, "seconds": min(duration, sound.duration_s or 0.0)},))


async def _sample(
    run: Running, data_dict: dict[str, Any], inference_steps: int, fps: float, **_: Any
) -> Made:
    for step in range(inference_steps):
        await run.step(run.knobs.step_s)
        run.progress(step + 1, inference_steps)
        run.preview(struct.pack(">II", 1, 1) + b"\xff\xd8\xff")
    return Made((data_dict, fps))


async def _combine(run: Running, images: Any, frame_rate: float, filename_prefix: str, **more: Any) -> Made:
    audio = None if run.knobs.silent_film else more.get("audio")
    path = run.next_file("output", filename_prefix, "-audio.mp4" if audio else ".mp4")
    await asyncio.to_thread(_film, images, frame_rate, audio, path)
    shown = {**run.shown(path, "output"), "format": more["format"], "frame_rate": frame_rate}
    still = path.with_name(f"{path.stem.removesuffix('-audio')}.png").name
    return Made((str(path),), {run.knobs.film_key: [{**shown, "workflow": still, "fullpath": str(path)}]})


def _film(made: dict[str, Any], fps: float, audio: Path | None, path: Path) -> None:
    """Of one still: as PNG beside it, which clients are told of, and as JPEG, which every ffmpeg reads."""
    image = made["image"].copy()
    image.thumbnail((_LONG_MAX, _LONG_MAX))
    image = image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
    image.save(path.with_name(f"{path.stem.removesuffix('-audio')}.png"))
    still = path.with_suffix(".jpg")
    image.save(still)
    frames = ["-f", "image2", "-loop", "1", "-framerate", f"{fps:g}", "-i", named(still)]
    sound = [*require_audio(audio, "audio").arguments, "-c:a", "aac", "-shortest"] if audio else []
    film = ["-t", f"{made['seconds']:.3f}", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    run_ffmpeg([*frames, *sound, *film, named(path)])
    still.unlink()
