"""The SONIC graph: a still face and a voice to a film, node by node."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_image.engines.comfyui.run import Graph

CHECKPOINT = "svd_xt.safetensors"
UNET = "unet.pth"
FILM = "13"
SAMPLER = "31"
CLASSES = (
    "LoadImage",
    "ImageResize+",
    "LoadAudio",
    "ImageOnlyCheckpointLoader",
    "SONICTLoader",
    "SONIC_PreData",
    "SONICSampler",
    "VHS_VideoCombine",
    "PreviewImage",
)
MIN_RESOLUTION = 576
_SAMPLER_WEIGHT = 40.0

Link = list[str | int]


@dataclass(frozen=True, slots=True)
class Models:
    """By the names that the server lists them under, which may have folders before them."""

    checkpoint: str = CHECKPOINT
    unet: str = UNET


@dataclass(frozen=True, slots=True)
class Portrait:
    """`image` and `audio` are uploaded. The size is in pixels; the film is as long as the sound, `seconds` at most."""

    image: str
    audio: str
    width: int
    height: int
    seconds: int
    seed: int
    steps: int
    fps: float
    prefix: str


def sonic_graph(asked: Portrait, models: Models) -> Graph:
    nodes = {
        "18": _node("LoadImage", image=asked.image),
        "58": _node(
            "ImageResize+",
            image=_link("18"),
            width=asked.width,
            height=asked.height,
            interpolation="nearest",
            method="stretch",
            condition="always",
            multiple_of=0,
        ),
        "26": _node("LoadAudio", audio=asked.audio, audioUI=""),
        "32": _node("ImageOnlyCheckpointLoader", ckpt_name=models.checkpoint),
        "34": _node(
            "SONICTLoader",
            model=_link("32"),
            sonic_unet=models.unet,
            ip_audio_scale=1.0,
            use_interframe=True,
            dtype="bf16",
        ),
        "33": _predata(asked.seconds),
        SAMPLER: _node(
            "SONICSampler",
            model=_link("34"),
            data_dict=_link("33"),
            seed=asked.seed,
            inference_steps=asked.steps,
            dynamic_scale=1.0,
            fps=asked.fps,
        ),
        FILM: _film(asked.prefix),
        "21": _node("PreviewImage", images=_link("58")),
    }
    return Graph(nodes, ours=True, weights={SAMPLER: _SAMPLER_WEIGHT})


def _predata(seconds: int) -> dict[str, Any]:
    return _node(
        "SONIC_PreData",
        clip_vision=_link("32", 1),
        vae=_link("32", 2),
        audio=_link("26"),
        image=_link("58"),
        weight_dtype=_link("34", 1),
        min_resolution=MIN_RESOLUTION,
        duration=float(seconds),
        expand_ratio=1.0,
    )


def _film(prefix: str) -> dict[str, Any]:
    """No metadata is saved: it would be the whole graph, in the client's file."""
    return _node(
        "VHS_VideoCombine",
        images=_link(SAMPLER),
        audio=_link("26"),
        frame_rate=_link(SAMPLER, 1),
        loop_count=0,
        filename_prefix=prefix,
        format="video/h264-mp4",
        pix_fmt="yuv420p",
        crf=19,
        save_metadata=False,
        trim_to_audio=True,
        pingpong=False,
        save_output=True,
    )


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def _link(node: str, slot: int = 0) -> Link:
    return [node, slot]


def models_of(listed: Mapping[str, tuple[str, ...]]) -> Models | str:
    """From what the server lists for each input to the models to name, or which one is missing and where it belongs."""
    checkpoint, unet = _named(listed["ckpt_name"], CHECKPOINT), _named(listed["sonic_unet"], UNET)
    if checkpoint is None:
        return f"ComfyUI has no {CHECKPOINT} (in models/checkpoints)"
    if unet is None:
        return f"ComfyUI has no {UNET} of SONIC (in models/sonic)"
    return Models(checkpoint, unet)


def _named(listed: tuple[str, ...], name: str) -> str | None:
    return next((one for one in listed if one.replace("\\", "/").rpartition("/")[2] == name), None)
