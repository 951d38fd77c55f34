"""transformers' WhisperModel: here it hears how loud each 20 ms are."""

import json
from pathlib import Path

import numpy as np
import torch

HOP = 320


class WhisperModel(torch.Module):
    @classmethod
    def from_pretrained(cls, folder):
        json.loads(Path(folder, "config.json").read_text())
        return cls()

    def encoder(self, samples):
        """30 s of sound, filled with silence, to 1500 levels."""
        filled = np.zeros(1500 * HOP, dtype=np.float32)
        filled[: samples.shape[-1]] = samples
        return np.sqrt((filled.reshape(1500, HOP) ** 2).mean(axis=1)).reshape(1, 1500, 1).view(torch.Tensor)
