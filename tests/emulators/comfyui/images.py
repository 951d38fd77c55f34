"""Nodes that load, scale, show and save still images."""

import asyncio
from pathlib import Path
from typing import Any

from PIL import Image

from comfyui.catalogue import SCALE_METHODS, Made, NodeClass, number
from comfyui.running import Running


def classes(uploads: list[str]) -> dict[str, NodeClass]:
    scale = {
        "image": ["IMAGE"],
        "upscale_method": [SCALE_METHODS],
        "width": number("INT", 512, 0, 16384),
        "height": number("INT", 512, 0, 16384),
        "crop": [["disabled", "center"]],
    }
    resize = {
        "image": ["IMAGE"],
        "width": number("INT", 512, 0, 16384),
        "height": number("INT", 512, 0, 16384),
        "interpolation": [["nearest", "bilinear", "bicubic", "area", "nearest-exact", "lanczos"]],
        "method": [["stretch", "keep proportion", "fill / crop", "pad"]],
        "condition": [["always", "downscale if bigger", "upscale if smaller"]],
        "multiple_of": number("INT", 0, 0, 512),
    }
    save = {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}
    return {
        "LoadImage": NodeClass({"image": [uploads, {"image_upload": True}]}, ("IMAGE", "MASK"), _load),
        "ImageScale": NodeClass(scale, ("IMAGE",), _scale),
        "ImageResize+": NodeClass(resize, ("IMAGE", "INT", "INT"), _resize),
        "SaveImage": NodeClass(save, (), _save, is_output=True),
        "PreviewImage": NodeClass({"images": ["IMAGE"]}, (), _preview, is_output=True),
        "LoadLatent": NodeClass({"latent": [[]]}, ("LATENT",), _nothing),
    }


async def _load(run: Running, image: str) -> Made:
    return Made((await asyncio.to_thread(_opened, run.inputs / image), None))


async def _scale(run: Running, image: Any, width: int, height: int, **_: Any) -> Made:
    return Made((await asyncio.to_thread(image.resize, (width, height)),))


async def _resize(run: Running, image: Any, width: int, height: int, **_: Any) -> Made:
    return Made((await asyncio.to_thread(image.resize, (width, height)), width, height))


async def _save(run: Running, images: Any, filename_prefix: str) -> Made:
    return await _kept(run, images, filename_prefix, "output")


async def _preview(run: Running, images: Any) -> Made:
    return await _kept(run, images, "ComfyUI_temp", "temp")


async def _kept(run: Running, image: Any, prefix: str, kind: str) -> Made:
    path = run.next_file(kind, prefix, "_.png")
    await asyncio.to_thread(image.save, path)
    return Made((), {"images": [run.shown(path, kind)]})


async def _nothing(run: Running, **_: Any) -> Made:
    return Made((None,))


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
