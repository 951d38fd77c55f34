"""MuseTalk's models, loaded once. The calls are those of its own script (v1.5); paths in it are its checkout's."""

import contextlib
import io
import sys
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from .mmcv_ops import stand_in_for_absent_operators

WHISPER = "./models/whisper"
_RATE_HZ = 16_000


@dataclass(slots=True)
class Models:
    """`faces` is MuseTalk's module of landmarks, which loads DWPose and the face detector when it is imported.

    `batches` and `blend` are its `datagen` and `get_image`.
    """

    torch: Any
    device: Any
    half: bool
    vae: Any
    unet: Any
    positions: Any
    timesteps: Any
    listener: Any
    whisper: Any
    faces: Any
    batches: Any
    blend: Any
    parsers: dict[tuple[int, int], Any]

    @property
    def dtype(self) -> Any:
        return self.unet.model.dtype

    def parser(self, left_cheek_width: int, right_cheek_width: int) -> Any:
        """The face parser with these cheeks; only the newest is kept."""
        widths = (left_cheek_width, right_cheek_width)
        if widths not in self.parsers:
            parsing = import_module("musetalk.utils.face_parsing")
            self.parsers.clear()
            self.parsers[widths] = parsing.FaceParsing(
                left_cheek_width=widths[0], right_cheek_width=widths[1]
            )
        return self.parsers[widths]


def load(unet_model: str, unet_config: str) -> Models:
    """All of them, on the GPU if torch sees one, and there with floats of 16 bits."""
    stand_in_for_absent_operators()
    torch, transformers = import_module("torch"), import_module("transformers")
    faces, own = import_module("musetalk.utils.preprocessing"), import_module("musetalk.utils.utils")
    half = bool(torch.cuda.is_available())
    device = torch.device("cuda:0" if half else "cpu")
    vae, unet, positions = own.load_all_model(
        unet_model_path=unet_model, vae_type="sd-vae", unet_config=unet_config, device=device
    )
    if half:
        positions, vae.vae, unet.model = positions.half(), vae.vae.half(), unet.model.half()
    positions, vae.vae, unet.model = positions.to(device), vae.vae.to(device), unet.model.to(device)
    whisper = (
        transformers.WhisperModel.from_pretrained(WHISPER).to(device=device, dtype=unet.model.dtype).eval()
    )
    whisper.requires_grad_(False)
    models = Models(
        torch=torch,
        device=device,
        half=half,
        vae=vae,
        unet=unet,
        positions=positions,
        timesteps=torch.tensor([0], device=device),
        listener=import_module("musetalk.utils.audio_processor").AudioProcessor(
            feature_extractor_path=WHISPER
        ),
        whisper=whisper,
        faces=faces,
        batches=own.datagen,
        blend=import_module("musetalk.utils.blending").get_image,
        parsers={},
    )
    models.parser(90, 90)
    with quiet():
        _listen_once(models)
    return models


def _listen_once(models: Models) -> None:
    """To a second of silence: what reads sound is imported, and compiled, when it is first used."""
    with tempfile.TemporaryDirectory() as folder:
        silence = str(Path(folder, "silence.wav"))
        with wave.open(silence, "wb") as file:
            file.setparams((1, 2, _RATE_HZ, 0, "NONE", ""))
            file.writeframes(bytes(2 * _RATE_HZ))
        models.listener.get_audio_feature(silence)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps banners and bars of single frames out of the log, unless there is an error to explain."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    except ZeroDivisionError:
        raise
    except BaseException:
        sys.stderr.write(said.getvalue()[-4000:] + "\n")
        raise
