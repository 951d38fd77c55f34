"""Sound to a window of features a frame, with MuseTalk's own sums, which fail for some of them."""

import math
import wave

import numpy as np
import torch
from stand_in import fails


class AudioProcessor:
    def __init__(self, feature_extractor_path="openai/whisper-tiny/"):
        self.path = feature_extractor_path

    def get_audio_feature(self, wav_path, start_index=0, weight_dtype=None):
        with wave.open(wav_path, "rb") as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16) / np.float32(32768)
        long = 30 * 16_000
        parts = [samples[at : at + long].view(torch.Tensor) for at in range(0, len(samples), long)]
        return parts, len(samples)

    def get_whisper_chunk(  # noqa: PLR0917  As it is there.
        self,
        whisper_input_features,
        device,
        weight_dtype,
        whisper,
        librosa_length,
        fps=25,
        audio_padding_length_left=2,
        audio_padding_length_right=2,
    ):
        wide = 2 * (audio_padding_length_left + audio_padding_length_right + 1)
        heard = torch.cat([whisper.encoder(one.to(device)) for one in whisper_input_features], dim=1)
        fps = int(fps)
        step = 50 / fps
        seconds = math.floor(librosa_length / 16_000)
        heard = heard[:, : seconds * 50]
        pad = math.floor(step)
        before = np.zeros_like(heard[:, : pad * audio_padding_length_left])
        after = np.zeros_like(heard[:, : pad * 3 * audio_padding_length_right])
        heard = torch.cat([before, heard, after], dim=1)
        clips = []
        for number in range(seconds * fps):
            at = math.floor(number * step)
            clip = heard[:, at : at + wide]
            if clip.shape[1] != wide or fails("exit"):
                print("Error occurred: ")
                print(f"whisper_feature.shape: {heard.shape}")
                print(f"num frames: {seconds * fps}, fps: {fps}, whisper_idx_multiplier: {step}")
                exit()  # noqa: PLR1722  As it is there.
            clips.append(clip)
        return torch.cat(clips, dim=0)
