"""MuseTalk's parts by themselves: what a probe misses, safe names, words of failures, bars, and a command line."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from musetalk_world import URLS, WEIGHTS, make_checkout

from gpulease.contract.engines import CATALOGUE, MusetalkParams
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig
from worker_image.engines.musetalk.checkout import VRAM_GB, environment
from worker_image.engines.musetalk.materials import frames_per_s
from worker_image.engines.musetalk.one_shot import OneShot
from worker_image.engines.musetalk.resident import Resident
from worker_image.engines.musetalk.safe import is_safe, safe_name
from worker_image.engines.musetalk.stages import Watch
from worker_image.engines.musetalk.verdict import blame
from worker_image.faults import HostFault
from worker_image.media.probe import Media


def config_of(folder: Path, **others) -> EngineConfig:
    return EngineConfig(**{"device": "cpu", "musetalk_workdir": str(folder), **others})


def test_all_that_is_there_is_offered(tmp_path: Path):
    offer = Resident(config_of(make_checkout(tmp_path / "app"))).probe()
    assert not isinstance(offer, str), offer
    assert (offer.engine, offer.backend, offer.models, offer.vram_gb) == (
        "musetalk",
        "musetalk",
        ("v1.5",),
        VRAM_GB,
    )


def test_a_probe_names_the_first_thing_that_is_missing(tmp_path: Path):
    app = tmp_path / "app"
    assert "MUSETALK_WORKDIR" in Resident(config_of(app)).probe()
    make_checkout(app)
    for name in WEIGHTS:
        kept = (app / name).rename(app / "away")
        said = Resident(config_of(app)).probe()
        assert name in said
        assert "download_weights.sh" in said
        kept.rename(app / name)
    (app / "mmpose" / "__init__.py").unlink()
    (app / "mmpose").rmdir()
    assert "has no mmpose" in Resident(config_of(app)).probe()
    absent = Resident(config_of(app, musetalk_python=str(tmp_path / "python"))).probe()
    assert "does not start" in absent
    broken = Resident(config_of(app, musetalk_python="/bin/false")).probe()
    assert "does not run" in broken


def test_a_probe_names_the_mode_that_was_chosen(tmp_path: Path):
    app = make_checkout(tmp_path / "app")
    assert "GPULEASE_MUSETALK_MODE is resident" in OneShot(config_of(app)).probe()
    assert "GPULEASE_MUSETALK_MODE is one-shot" in Resident(config_of(app, musetalk_mode="one-shot")).probe()


def test_its_script_needs_an_ffmpeg_that_writes_png(tmp_path: Path):
    """Whichever this machine has: a small one is a reason, a full one an offer."""
    said = OneShot(config_of(make_checkout(tmp_path / "app"), musetalk_mode="one-shot")).probe()
    assert not isinstance(said, str) or "cannot encode png" in said


@pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has a GPU")
def test_without_a_gpu_it_runs_only_where_that_was_asked_for(tmp_path: Path):
    assert (
        "GPULEASE_DEVICE=cpu" in Resident(config_of(make_checkout(tmp_path / "app"), device="auto")).probe()
    )


def test_its_programs_find_ffmpeg_by_that_name(tmp_path: Path):
    around = environment(config_of(tmp_path))
    folder = Path(around["PATH"].split(os.pathsep)[0])
    assert folder.parent == Path(tempfile.gettempdir())
    assert all(os.access(folder / name, os.X_OK) for name in ("ffmpeg", "ffprobe"))
    assert around["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in environment(config_of(tmp_path, device="cuda"))


@pytest.mark.parametrize(
    "name", ["a b", "it's", 'a"b', "a\nb", "-rf", "$(reboot)", "a;b", "a%d", "ä", ".hidden"]
)
def test_names_that_a_shell_would_read_otherwise_get_a_link(tmp_path: Path, name: str):
    folder = tmp_path / name
    folder.mkdir()
    assert not is_safe(folder)
    with safe_name(folder) as safe:
        assert is_safe(safe)
        (safe / "made").write_text("here")
    assert not safe.is_symlink()
    assert not safe.parent.exists()
    assert (folder / "made").read_text() == "here"


def test_a_safe_name_stays_and_without_a_place_for_a_link_it_is_told(tmp_path: Path):
    with safe_name(tmp_path) as safe:
        assert safe == tmp_path
    (tmp_path / "a b").mkdir()
    for bad in (tmp_path / "absent", tmp_path / "a b"):
        with pytest.raises(HostFault, match="GPULEASE_SCRATCH"), safe_name(tmp_path / "a b", links_at=bad):
            pass


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out_of_memory"),
        ("Error occurred during processing: CUDA error: an illegal memory access", "cuda_error"),
        ("OSError: [Errno 28] No space left on device", "disk_full"),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: './models/musetalkV15/unet.pth'",
            "weights_missing",
        ),
        ("OSError: Error no file named config.json found in directory models/sd-vae.", "weights_missing"),
        ("FileNotFoundError: ./models/dwpose/dw-ll_ucoco_384.pth can not be found.", "weights_missing"),
        ("Error occurred during processing: integer modulo by zero", "no_face"),
        ("Error occurred during processing: division by zero", "no_face"),
        ("Error occurred: \nwhisper_feature.shape: torch.Size([1, 60, 5, 384])", "sound_unusable"),
        ("Error occurred during processing: list index out of range", None),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/tmp/x'", None),
    ],
)
def test_words_of_failures_are_understood(words: str, code: str | None):
    fault = blame(words)
    assert (fault.code if fault else None) == code


def test_bars_and_stages_move_the_progress_forward_only():
    told = []

    def report(share, message=None, *, phase=Phase.INFERRING, step=None, total_steps=None):
        told.append((phase, share, message, step, total_steps))

    watch = Watch(report)
    lines = [
        "load unet model from x",
        "Loaded inference config: {}",
        "Extracting landmarks... time-consuming operation",
        "reading images...",
        " 50%|█████     | 5/10 [00:01<00:01, 5.00it/s]",
        "100%|██████████| 10/10 [00:02<00:00, 5.00it/s]",
        "get key_landmark and face bounding boxes with the default value",
        " 10%|█         | 1/10 [00:01<00:09, 1.00it/s]error bbox: (1, 2)",
        None,
        "Number of frames: 10",
        "Starting inference",
        " 50%|█████     | 1/2 [00:01<00:01, 1.00it/s]",
        "Padding generated images to original video size",
        "100%|██████████| 20/20 [00:01<00:00]",
        "Video generation command: ffmpeg",
        "Results saved to ./results/v15/a_b.mp4 ",
        "\tMaximum resident set size (kbytes): 5130911",
    ]
    for line in lines:
        watch.on_line(line)
    shares = [share for phase, share, *_ in told if phase is Phase.INFERRING]
    assert shares == sorted(shares)
    assert told[7][2:] == ("finding the face", 1, 10)
    assert told[8] == told[7]
    assert told[13][1] == pytest.approx(1.0)
    assert (watch.saved, watch.peak_ram_kb, watch.frames) == ("./results/v15/a_b.mp4", 5130911, 10)
    assert "error bbox" in "\n".join(watch.words)
    assert not watch.error


def test_no_word_of_a_client_reaches_the_command_line(tmp_path: Path):
    urls = {"video_url": "https://x.com/-i /etc/passwd;.mp4", "audio_url": "https://x.com/$(reboot)'\"%0a"}
    asked = CATALOGUE["musetalk"].input_model.model_validate({**URLS, **urls})
    argv = OneShot(config_of(tmp_path, musetalk_python=sys.executable))._argv(tmp_path, asked.params)
    assert not [word for word in argv if "passwd" in word or "reboot" in word or "x.com" in word]
    assert argv[argv.index("-m") + 1] == "scripts.inference"
    assert argv[argv.index("--unet_config") + 1] == "models/musetalkV15/musetalk.json"
    assert "--use_float16" not in argv


@pytest.mark.parametrize(
    ("fps", "params", "paced"),
    [
        (25.0, {}, 25),
        (29.97, {}, 30),
        (59.94, {}, 30),
        (50.0, {}, 25),
        (120.0, {}, 30),
        (0.0, {}, 25),
        (2.0, {}, 25),
        (30.0, {"audio_padding_length_left": 3}, 25),
        (30.0, {"fps": 24}, 24),
    ],
)
def test_the_pace_is_one_that_it_can_keep(fps: float, params: dict, paced: int):
    face = Media("x", "video", "mp4", "mov", 1, fps=fps)
    assert frames_per_s(face, MusetalkParams(**params)) == paced
