"""Speech by the conversational speech model: a real one with small random weights, where transformers is installed."""

import json
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest

from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob, Outcome
from worker_image.engines.csm_sesame import FRAME_MS, Sesame
from worker_image.faults import Cancelled, HostFault, InputFault
from worker_image.media.sound import write_mp3

NEEDED = ("torch", "transformers", "av")
needs_transformers = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason="the extra [video] is not installed"
)
# The form of Sesame's own template: each turn is its speaker's number, its words, and its sound, if it has one.
TEMPLATE = """{% for turn in messages %}{{ '<|begin_of_text|>[' + turn['role'] + ']' }}\
{% for part in turn['content'] %}\
{% if part['type'] == 'text' %}{{ part['text'] + '<|end_of_text|>' }}{% else %}{{ '<|AUDIO|><|audio_eos|>' }}\
{% endif %}{% endfor %}{% endfor %}"""


SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>", "<|pad|>", "<unk>"]
LETTERS = {word: at for at, word in enumerate([*SPECIAL, *map(chr, range(32, 127))])}
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
CODEC = {
    **SMALL,
    "num_hidden_layers": 1,
    "num_filters": 4,
    "codebook_size": 64,
    "codebook_dim": 16,
    "num_quantizers": 4,
    "vector_quantization_hidden_dimension": 16,
    "upsample_groups": 32,
}
DEPTH = {
    **SMALL,
    "num_hidden_layers": 1,
    "num_codebooks": 4,
    "backbone_hidden_size": 32,
    "vocab_size": 64,
    "pad_token_id": 63,
}


def make_model(folder: Path) -> None:
    """A whole model in the folder's format: two layers, a codec of 80 ms a frame, a tokenizer of letters."""
    import torch  # noqa: PLC0415  Skipped where it is not installed.
    from transformers import CsmConfig, CsmForConditionalGeneration  # noqa: PLC0415  As above.

    save_processor(folder)
    torch.manual_seed(0)
    config = CsmConfig(
        **SMALL,
        num_hidden_layers=2,
        num_codebooks=4,
        vocab_size=64,
        text_vocab_size=len(LETTERS),
        audio_token_id=LETTERS["<|AUDIO|>"],
        audio_eos_token_id=LETTERS["<|audio_eos|>"],
        pad_token_id=LETTERS["<|pad|>"],
        codebook_pad_token_id=63,
        codebook_eos_token_id=0,
        depth_decoder_config=DEPTH,
        codec_config=CODEC,
        max_position_embeddings=2048,
    )
    model = CsmForConditionalGeneration(config)
    for name, codes in model.codec_model.named_buffers():
        if name.endswith("embed_sum"):  # A new codec has empty codebooks.
            codes.normal_()
    model.lm_head.weight.data.mul_(200)  # Else all codes are alike to it, whatever it has heard.
    model.save_pretrained(folder)


def save_processor(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415  As above.
    from transformers import (  # noqa: PLC0415  As above.
        CsmProcessor,
        EncodecFeatureExtractor,
        PreTrainedTokenizerFast,
    )

    tokenizer = Tokenizer(models.WordLevel(LETTERS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<|pad|>",
        additional_special_tokens=SPECIAL,
    )
    extractor = EncodecFeatureExtractor(feature_size=1, sampling_rate=24_000)
    CsmProcessor(extractor, fast, chat_template=TEMPLATE).save_pretrained(folder)


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Sesame:
    folder = tmp_path_factory.mktemp("csm")
    make_model(folder / "csm-tiny")
    backend = Sesame(EngineConfig(csm_models=str(folder), device="cpu"))
    backend.load(None)
    return backend


def silent(*_: object, **__: object) -> None:
    pass


def ran(backend: Sesame, folder: Path, report=silent, files=None, **asked) -> Outcome:
    given = {"text": "Hello there.", "max_audio_length": 800, "voice": "conversational_a", **asked}
    return backend.run(EngineJob("j", "csm", None, given, files or {}, str(folder)), report)


@needs_transformers
def test_it_speaks_for_as_long_as_it_may(sesame: Sesame, tmp_path: Path):
    outcome = ran(sesame, tmp_path)
    assert (outcome.model, outcome.data["truncated"], outcome.ignored) == ("csm-tiny", True, ())
    assert outcome.data["duration_s"] == pytest.approx(0.8, abs=2 * FRAME_MS / 1000)
    with av.open(outcome.files[0].path) as sound:
        assert (sound.format.name, sound.streams.audio[0].rate) == ("mp3", 24_000)


@needs_transformers
def test_a_seed_is_a_voice_and_random_ones_differ(sesame: Sesame, tmp_path: Path):
    def sound(name: str, **asked: str) -> bytes:
        (tmp_path / name).mkdir()
        return Path(ran(sesame, tmp_path / name, **asked).files[0].path).read_bytes()

    assert sound("one") == sound("two")
    assert sound("three", voice="random") != sound("four", voice="random")


@needs_transformers
def test_progress_is_told_step_by_step(sesame: Sesame, tmp_path: Path):
    told: list[tuple[Phase, int | None, int | None]] = []

    def report(share, message=None, *, phase=Phase.INFERRING, step=None, total_steps=None) -> None:
        told.append((phase, step, total_steps))

    asked = {"text": None, "monologue": ["One.", "Two."], "pause_duration": 500, "max_audio_length": 30_000}
    short = {
        "topk": 1000,
        "temperature": 2.0,
    }  # A random model ends at once, now and then, when it is this wild.
    outcome = ran(sesame, tmp_path, report, **asked, **short)
    assert {step for _, step, _ in told} >= {0}
    assert told[-1][0] is Phase.ENCODING
    assert outcome.data["duration_s"] > 0


@needs_transformers
def test_a_clone_hears_its_reference(sesame: Sesame, tmp_path: Path):
    tone = np.sin(np.arange(44_100) / 20).astype(np.float32)
    write_mp3([tone], 44_100, tmp_path / "reference.mp3")
    files = {"reference_audio_url": str(tmp_path / "reference.mp3")}
    asked = {"voice": "clone", "reference_audio_url": "http://a.example/r", "reference_text": "A tone."}
    with_it = ran(sesame, tmp_path, files=files, **asked)
    assert with_it.data["seed"] == 0
    heard = Path(with_it.files[0].path).read_bytes()
    assert heard != Path(ran(sesame, tmp_path).files[0].path).read_bytes()
    (tmp_path / "reference.mp3").write_text("no sound")
    with pytest.raises(InputFault, match="reference_audio_url"):
        ran(sesame, tmp_path, files=files, **asked)


@needs_transformers
def test_it_stops_when_the_job_is_taken_back(sesame: Sesame, tmp_path: Path):
    calls = 0

    def report(*_: object, **__: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        ran(sesame, tmp_path, report, max_audio_length=60_000)
    assert calls == 3


@needs_transformers
def test_only_models_of_its_kind_are_offered(sesame: Sesame, tmp_path: Path):
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert "no folder with a CSM" in Sesame(EngineConfig(csm_models=str(tmp_path))).probe()
    assert sesame.probe().models == ("csm-tiny",)
    with pytest.raises(HostFault, match="no csm model"):
        sesame.load("csm-1b")


def test_without_a_folder_it_says_what_to_set():
    assert "GPULEASE_CSM_MODELS" in Sesame(EngineConfig()).probe()
