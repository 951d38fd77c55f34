"""The networks: the picture of a face passes through, and its mouth opens as far as the sound is loud."""

import types
from pathlib import Path

import cv2
import numpy as np
import torch
from stand_in import count, fails, pause

SMALL = 64
LOUD = 0.3


class _Coder(torch.Module):
    pass


class VAE:
    def __init__(self, model_path):
        assert Path(model_path, "config.json").is_file()
        self.vae = _Coder()

    def get_latents_for_unet(self, img):
        assert img.shape == (256, 256, 3)
        small = cv2.resize(img, (SMALL, SMALL)).astype(np.float32)
        return np.concatenate([small, np.zeros((SMALL, SMALL, 1), np.float32)], axis=2)[None].view(
            torch.Tensor
        )

    def decode_latents(self, latents):
        faces = []
        for one in np.asarray(latents):
            face = cv2.resize(one[..., :3].clip(0, 255).astype(np.uint8), (256, 256))
            high = round(60 * float(one[0, 0, 3]))
            faces.append(
                cv2.ellipse(face, (128, 190), (50, high), 0, 0, 360, (20, 10, 10), -1) if high else face
            )
        return np.stack(faces)


class _Network(torch.Module):
    def __call__(self, latents, timesteps, encoder_hidden_states=None):
        if fails("oom"):
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 7.79 GiB total)"
            )
        if fails("killed"):
            import os  # noqa: PLC0415

            os.kill(os.getpid(), 9)
        for _ in latents:
            pause("frame_s")
        middle = encoder_hidden_states.shape[1] // 2
        level = np.asarray(encoder_hidden_states[:, middle - 1 : middle + 1]).mean(axis=(1, 2)) / LOUD
        opened = np.array(latents)
        opened[..., 3] = level.clip(0, 1)[:, None, None]
        return types.SimpleNamespace(sample=opened.view(torch.Tensor))


class UNet:
    def __init__(self, unet_config, model_path, device=None):
        Path(unet_config).read_text()
        Path(model_path).read_bytes()
        self.model = _Network()


class _Positions(torch.Module):
    def __call__(self, features):
        return features


def load_all_model(unet_model_path="", vae_type="sd-vae", unet_config="", device=None):
    count("load")
    if fails("weights"):
        raise FileNotFoundError(2, "No such file or directory", "./models/sd-vae/diffusion_pytorch_model.bin")
    pause("load_s")
    print(f"load unet model from {unet_model_path}")
    return VAE(f"./models/{vae_type}"), UNet(unet_config, unet_model_path, device), _Positions()


def get_file_type(video_path):
    ext = Path(video_path).suffix.lower()
    if ext in (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"):
        return "image"
    return "video" if ext in (".avi", ".mp4", ".mov", ".flv", ".mkv") else "unsupported"


def get_video_fps(video_path):
    video = cv2.VideoCapture(video_path)
    fps = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return fps


def datagen(whisper_chunks, vae_encode_latents, batch_size=8, delay_frame=0, device="cuda:0"):
    sounds, latents = [], []
    for number, sound in enumerate(whisper_chunks):
        sounds.append(sound)
        latents.append(vae_encode_latents[(number + delay_frame) % len(vae_encode_latents)])
        if len(latents) >= batch_size:
            yield torch.stack(sounds), torch.cat(latents, dim=0)
            sounds, latents = [], []
    if latents:
        yield torch.stack(sounds).to(device), torch.cat(latents, dim=0).to(device)
