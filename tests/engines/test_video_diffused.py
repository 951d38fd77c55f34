"""Pipelines of diffusers: what is found in a folder, sizes, and real ones with small random weights."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from gpulease.contract.engines import VideoInput
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob
from worker_image.engines.video.diffused import Diffused, models_in
from worker_image.engines.video.shape import FRAMES_MAX, Grid, shape_of
from worker_image.faults import Cancelled, HostFault, InputFault

NEEDED = ("torch", "diffusers", "transformers", "av")
needs_diffusers = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason="the extra [video] is not installed"
)
INPUT = {"prompt": "a cat on a boat", "width": 72, "height": 64, "duration": 1.0, "fps": 8, "steps": 3}


class Report:
    def __init__(self, cancel_at: int | None = None) -> None:
        self.told: list[tuple] = []
        self._cancel_at = cancel_at

    def __call__(self, share, message=None, *, phase=Phase.INFERRING, step=None, total_steps=None) -> None:
        if self._cancel_at is not None and step == self._cancel_at:
            raise Cancelled
        self.told.append((phase, step, total_steps))


@pytest.mark.parametrize(
    ("grid", "made"),
    [(Grid(6, 16), (13, 80, 64)), (Grid(4, 16), (9, 80, 64)), (Grid(8, 32), (9, 96, 64))],
)
def test_a_little_more_is_made_than_was_asked_for(grid, made):
    shape = shape_of(VideoInput.model_validate(INPUT), grid)
    assert (shape.frames, shape.width, shape.height) == (8, 72, 64)
    assert (shape.made_frames, shape.made_width, shape.made_height) == made


def test_the_shortest_clip_is_one_frame():
    shape = shape_of(VideoInput(prompt="x", duration=0.001, fps=1), Grid(6, 16))
    assert (shape.frames, shape.made_frames) == (1, 1)


@pytest.mark.parametrize(
    ("more", "field"),
    [({"duration": 120.0, "fps": 120}, "duration: "), ({"width": 4096, "height": 4096}, "width: ")],
)
def test_what_no_pipeline_makes_is_the_jobs_fault(more, field):
    with pytest.raises(InputFault, match=field):
        shape_of(VideoInput.model_validate(INPUT | more), Grid(6, 16))
    assert FRAMES_MAX < 120 * 120


def folder_with(folder: Path, name: str, index: object) -> None:
    (folder / name / "transformer").mkdir(parents=True)
    text = index if isinstance(index, str) else json.dumps(index)
    (folder / name / "model_index.json").write_text(text)


def test_folders_with_such_a_pipeline_are_models_and_no_others(tmp_path):
    folder_with(tmp_path, "wan-2.1", {"_class_name": "WanPipeline"})
    folder_with(tmp_path, "mochi-1-preview", {"_class_name": "MochiPipeline"})
    folder_with(tmp_path, "sdxl", {"_class_name": "StableDiffusionXLPipeline"})
    folder_with(tmp_path, "own-code", {"_class_name": ["mine", "MochiPipeline"]})
    folder_with(tmp_path, "broken", "{")
    folder_with(tmp_path, "list", "[]")
    (tmp_path / "empty").mkdir()
    assert list(models_in(tmp_path)) == ["mochi-1-preview", "wan-2.1"]
    assert models_in(tmp_path / "none") == {}


def test_a_probe_says_what_to_set_or_install(tmp_path):
    assert "GPULEASE_VIDEO_MODELS" in Diffused(EngineConfig()).probe()
    found = Diffused(EngineConfig(video_models=str(tmp_path))).probe()
    installed = all(find_spec(name) for name in NEEDED)
    assert ("has no folder" if installed else "gpulease[video]") in found


def test_a_model_that_is_not_here_is_the_hosts_fault(tmp_path):
    with pytest.raises(HostFault, match="sora"):
        Diffused(EngineConfig(video_models=str(tmp_path))).load("sora")


# From here on with the real library: random weights, a few hundred KiB each.


def tiny_text():
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel  # noqa: PLC0415

    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "cat": 4, "on": 5, "boat": 6}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )
    config = T5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return tokenizer, T5EncoderModel(config).eval()


def save_mochi(folder: Path) -> None:
    import torch  # noqa: PLC0415
    from diffusers import (  # noqa: PLC0415
        AutoencoderKLMochi,
        FlowMatchEulerDiscreteScheduler,
        MochiPipeline,
        MochiTransformer3DModel,
    )

    torch.manual_seed(0)
    tokenizer, text_encoder = tiny_text()
    vae = AutoencoderKLMochi(
        latent_channels=12,
        out_channels=3,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    transformer = MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        text_embed_dim=32,
        time_embed_dim=4,
        max_sequence_length=256,
    )
    MochiPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae.eval(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer.eval(),
    ).save_pretrained(str(folder))


def save_wan(folder: Path) -> None:
    import torch  # noqa: PLC0415
    from diffusers import (  # noqa: PLC0415
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanPipeline,
        WanTransformer3DModel,
    )

    torch.manual_seed(0)
    tokenizer, text_encoder = tiny_text()
    vae = AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    ).save_pretrained(str(folder))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_mochi(folder / "mochi-tiny")
    save_wan(folder / "wan-tiny")
    return folder


def job_in(tmp_path: Path, number: int = 0, **more) -> EngineJob:
    folder = tmp_path / f"job-{number}"
    folder.mkdir()
    return EngineJob("job-1", "video", None, INPUT | more, {}, str(folder))


def decoded(path: str):
    import av  # noqa: PLC0415

    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@needs_diffusers
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("model", "pipeline"), [("mochi-tiny", "MochiPipeline"), ("wan-tiny", "WanPipeline")]
)
def test_a_real_pipeline_makes_a_clip_of_the_size_asked_for(models, tmp_path, model, pipeline):
    backend = Diffused(EngineConfig(video_models=str(models), device="cpu"))
    assert backend.probe().models == ("mochi-tiny", "wan-tiny")
    assert backend.load(model) == model
    resident = backend._pipeline
    report = Report()
    first = backend.run(job_in(tmp_path, 1, seed=5), report)
    assert backend.load(model) == model
    assert backend._pipeline is resident
    again = backend.run(job_in(tmp_path, 2, seed=5), Report())
    other = backend.run(job_in(tmp_path, 3), Report())
    frames, same, different = (decoded(one.files[0].path) for one in (first, again, other))
    assert [one.shape for one in frames] == [(64, 72, 3)] * 8
    assert all((one == two).all() for one, two in zip(frames, same, strict=True))
    assert any((one != two).any() for one, two in zip(frames, different, strict=True))
    assert [one for one in report.told if one[0] is Phase.INFERRING][-1] == (Phase.INFERRING, 3, 3)
    assert report.told[-1] == (Phase.ENCODING, 8, 8)
    assert (first.model, first.data["pipeline"], first.data["seed"]) == (model, pipeline, 5)
    assert (first.data["frames"], first.data["duration_s"], first.data["device"]) == (8, 1.0, "cpu")


@needs_diffusers
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cancel_ends_it_between_two_steps(models, tmp_path):
    backend = Diffused(EngineConfig(video_models=str(models), device="cpu"))
    backend.load("wan-tiny")
    report = Report(cancel_at=2)
    with pytest.raises(Cancelled):
        backend.run(job_in(tmp_path, 1), report)
    assert (Phase.INFERRING, 1, 3) in report.told
    assert backend.run(job_in(tmp_path, 2), Report()).files


@needs_diffusers
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_weights_that_cannot_be_read_and_devices_that_are_not_there_are_the_hosts_fault(models, tmp_path):
    import torch  # noqa: PLC0415

    broken = tmp_path / "broken"
    save_wan(broken)
    next((broken / "vae").glob("*.safetensors")).write_bytes(b"\0" * 64)
    with pytest.raises(HostFault) as caught:
        Diffused(EngineConfig(video_models=str(tmp_path), device="cpu")).load("broken")
    assert caught.value.code == "model_invalid"
    if not torch.cuda.is_available():
        with pytest.raises(HostFault, match="GPULEASE_DEVICE"):
            Diffused(EngineConfig(video_models=str(models), device="cuda")).load("wan-tiny")
