"""Every engine backend, for real, each in its own process: the offer is honest, the job ends, the faults are told."""

import asyncio
import dataclasses
import io
import json
import shutil
import sys
import wave
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import av
import pytest
from blender_program import needs_blender, run_script

from gpulease.contract.engines import CATALOGUE
from gpulease.contract.jobs import Phase
from worker_image.engines.arguments import Places, Program, expand
from worker_image.engines.base import EngineConfig, EngineJob, MadeFile, Outcome
from worker_image.engines.registry import BACKENDS, make, probe_all
from worker_image.faults import Faulted, HostFault, InputFault
from worker_image.host.log import JobLog
from worker_image.host.pool import HostPool
from worker_image.host.process import Step

FOX = "The quick brown fox jumps over the lazy dog."
NOISY = """
import pathlib, sys, time
for percent in (0, 40, 100):
    print(f"{percent} % of the way", flush=True)
    time.sleep(0.01)
pathlib.Path(sys.argv[1], "deep").mkdir()
pathlib.Path(sys.argv[1], "deep", "b").write_text("b")
pathlib.Path(sys.argv[1], "a").write_text("a")
"""
PROGRAMS = {
    "noisy": {
        "executable": sys.executable,
        "arguments": ["-c", NOISY, "$RENDERONLINE:@output_dir"],
        "progress": r"(\d+) %",
    },
    "fails": {"executable": sys.executable, "arguments": ["-c", "print('because'); raise SystemExit(3)"]},
    "killed": {"executable": sys.executable, "arguments": ["-c", "import os; os.kill(os.getpid(), 9)"]},
    "empty": {"executable": sys.executable, "arguments": ["-c", "pass"]},
    "absent": {"executable": "no-such-program"},
}
BLEND = """
import bpy
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = 2
scene.render.resolution_x, scene.render.resolution_y = 33, 20
bpy.ops.wm.save_as_mainfile(filepath={path!r})
"""


class Bench:
    """Runs jobs through a pool, as a worker does, and keeps what was said."""

    def __init__(self, pool: HostPool, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self.steps: list[Step] = []
        self.log = ""

    async def run(self, engine: str, backend: str, asked: dict, **files: Path) -> Outcome:
        folder = self.folder / f"job-{len(list(self.folder.glob('job-*')))}"
        folder.mkdir()
        local = {name: str(shutil.copy(path, folder / f"input-{name}")) for name, path in files.items()}
        urls = dict.fromkeys(files, "https://example.com/input")
        spec = CATALOGUE[engine]
        checked = spec.input_model.model_validate({**asked, **urls})
        job = EngineJob(folder.name, engine, spec.model_of(checked), checked.model_dump(), local, str(folder))
        self.steps.clear()
        async with self.pool.lease(engine, backend, job.model) as host:
            log = JobLog(host.log_path)
            try:
                return await host.run(job, log, self.steps.append)
            finally:
                self.log = log.read(1_000_000)


def content(file: MadeFile | Path) -> bytes:
    return Path(getattr(file, "path", file)).read_bytes()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    programs = tmp_path / "programs.json"
    programs.write_text(json.dumps(PROGRAMS))
    pool = HostPool(EngineConfig(commands=str(programs)), tmp_path / "hosts")
    yield Bench(pool, tmp_path)
    await pool.close()


@pytest.fixture(scope="module")
def blend(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("blend") / "cube.blend"
    run_script(BLEND.format(path=str(path)))
    return path


@pytest.mark.parametrize("name", BACKENDS)
def test_a_probe_is_an_offer_of_the_catalogue_or_a_reason(name: str):
    backend = make(name, EngineConfig())
    offer = backend.probe()
    assert backend.name == name
    assert backend.engine in CATALOGUE
    assert offer if isinstance(offer, str) else (offer.engine, offer.backend) == (backend.engine, name)


def test_only_programs_that_are_there_are_offered(tmp_path: Path):
    path = tmp_path / "programs.json"
    path.write_text(json.dumps(PROGRAMS))
    offers, reasons = probe_all(EngineConfig(commands=str(path)))
    (command,) = [offer for offer in offers if offer.engine == "command"]
    assert command.models == ("noisy", "fails", "killed", "empty")
    path.write_text('{"x": {"executable": "true", "arguments": ["$RENDERONLINE:untyped"]}}')
    _, reasons = probe_all(EngineConfig(commands=str(path)))
    assert "untyped" in reasons["command"]


async def test_speech_is_heard_again_as_the_same_words(bench: Bench):
    spoken = await bench.run("csm", "hibari", {"text": FOX, "topk": 7, "voice": "conversational_b"})
    (speech,) = spoken.files
    with av.open(speech.path) as sound:
        (stream,) = sound.streams.audio
        assert (stream.codec.name, stream.rate, stream.channels) == ("mp3float", 24_000, 1)
        assert abs(sound.duration / 1e6 - spoken.data["duration_s"]) < 0.2
    assert (spoken.model, spoken.ignored) == ("hibari", ("topk", "voice"))
    heard = await bench.run("whisper", "faster-whisper", {}, audio_url=Path(speech.path))
    assert heard.text == FOX
    assert heard.model == "tiny.en"
    words = [word["word"] for segment in heard.data["segments"] for word in segment["words"]]
    assert words == FOX.split()
    files = {file.name: content(file).decode() for file in heard.files}
    assert files["transcript.txt"].strip() == FOX
    assert "-->" in files["transcript.srt"]
    assert files["transcript.vtt"].startswith("WEBVTT")
    assert json.loads(files["transcript.json"])["segments"] == heard.data["segments"]
    assert bench.pool.resident() == ("csm/hibari", "whisper/tiny.en")


async def test_a_monologue_has_pauses_and_a_bound_and_can_be_made_again(bench: Bench):
    asked = {"monologue": ["One.", "Two.", "Three."], "voice": "conversational_a", "pause_duration": 0}
    close = await bench.run("csm", "hibari", asked)
    assert [step.step for step in bench.steps if step.phase is Phase.INFERRING] == [0, 1, 2]
    apart = await bench.run("csm", "hibari", {**asked, "pause_duration": 500})
    assert apart.data["duration_s"] - close.data["duration_s"] == pytest.approx(1.0, abs=0.01)
    again = await bench.run("csm", "hibari", asked)
    assert content(close.files[0]) == content(again.files[0])
    short = await bench.run("csm", "hibari", {**asked, "max_audio_length": 700})
    assert short.data["truncated"]
    assert short.data["duration_s"] == pytest.approx(0.7)
    assert "max_audio_length" in short.data["note"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"text": "…"}, "nothing_to_say"),
        ({"text": "x", "model": "csm-1b"}, "model_unknown"),
        (
            {"text": "x", "voice": "clone", "reference_text": "y", "reference_audio_url": "http://x.com/y"},
            "clone_unsupported",
        ),
    ],
)
async def test_speech_that_cannot_be_is_refused(bench: Bench, asked: dict, code: str):
    with pytest.raises(InputFault) as caught:
        await bench.run("csm", "hibari", asked)
    assert caught.value.code == code


async def test_a_job_that_was_taken_back_may_come_again(bench: Bench, tmp_path: Path):
    """Ids are those of jobs, and a job that was lost here may find its way back."""
    asked = CATALOGUE["csm"].input_model.model_validate({"monologue": ["One.", "Two.", "Three."] * 9})
    job = EngineJob("job", "csm", None, asked.model_dump(), {}, str(tmp_path))
    async with bench.pool.lease("csm", "hibari", None) as host:
        log, speaks = JobLog(host.log_path), asyncio.Event()

        def hear(step: Step) -> None:
            if step.phase is Phase.INFERRING:  # While it loads its model, it takes longer to heed anybody.
                speaks.set()

        taken_back = asyncio.create_task(host.run(job, log, hear))
        await speaks.wait()
        taken_back.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taken_back
        assert host.alive
        assert (await host.run(job, log, lambda _: None)).model == "hibari"


async def test_whisper_refuses_what_it_cannot_do(bench: Bench, tmp_path: Path):
    text = tmp_path / "text"
    text.write_text("no sound at all")
    silence = tmp_path / "silence.wav"
    with wave.open(str(silence), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * 16_000)
    refused = []
    for asked, path in [({}, text), ({"language": "de"}, silence), ({"task": "translate"}, silence)]:
        with pytest.raises(InputFault) as caught:
            await bench.run("whisper", "faster-whisper", asked, audio_url=path)
        refused.append(caught.value.code)
    assert refused == ["input_not_audio", "language_unsupported", "translate_unsupported"]
    with pytest.raises(HostFault) as missing:
        await bench.run("whisper", "faster-whisper", {"model": "large-v3"}, audio_url=silence)
    assert missing.value.code == "model_missing"
    assert (await bench.run("whisper", "faster-whisper", {}, audio_url=silence)).data["language"] == "en"


async def test_a_program_tells_its_progress_and_its_folder_comes_back(bench: Bench):
    made = await bench.run("command", "command", {"program": "noisy"})
    (file,) = made.files
    archive = zipfile.ZipFile(io.BytesIO(content(file)))
    assert {name: archive.read(name) for name in archive.namelist()} == {"a": b"a", "deep/b": b"b"}
    shares = [step.share for step in bench.steps if step.phase is Phase.INFERRING]
    assert shares == sorted(shares)
    assert 0.4 in shares
    assert "40 % of the way" in bench.log
    assert made.model == "noisy"


@pytest.mark.parametrize(
    ("program", "kind", "code"),
    [
        ("fails", "job", "command_failed"),
        ("killed", "host", "command_killed"),
        ("empty", "job", "no_output"),
        ("absent", "host", "program_missing"),
    ],
)
async def test_programs_that_fail(bench: Bench, program: str, kind: str, code: str):
    with pytest.raises(Faulted) as caught:
        await bench.run("command", "command", {"program": program})
    assert (caught.value.kind, caught.value.code) == (kind, code)
    assert program != "fails" or "because" in caught.value.message


TYPED = [
    ("natural", ["0", "17"], ["-1", "1.5", "", "1e3", "x", " 1"]),
    ("integer", ["-5", "+7", "0"], ["1.5", "--5", "5;ls"]),
    ("real", ["-1.5", "2", "1e-3"], ["nan", "inf", "1,5", "0x10"]),
    ("word", ["abc", "a.b-c_1"], ["-abc", "a b", "a/b", "$HOME", ""]),
    ("sentence", ["it is $(rm -rf /) `x`; | > 'quoted'"], ["-o", "--", "a\nb", "a\0b", ""]),
    ("file", ["scene one.ma"], ["../x", "a/b", ".hidden", "-x", "a\\b"]),
    ("path", ["a/b/c.exr", "x"], ["/etc/passwd", "a/../b", "../a", "a//b", "-a/b"]),
    ("extension", [".exr", "png"], ["../x", ".", "-x", "tar.gz"]),
    ({"regex": "^[A-Z]{2}$"}, ["DE"], ["DEU", "de", "DE\n", ""]),
    ({"regex": "^.*$"}, ["anything"], ["-anything"]),
]


@pytest.mark.parametrize(("kind", "good", "bad"), TYPED, ids=lambda value: json.dumps(value)[:20])
def test_argument_types(kind, good: list[str], bad: list[str]):
    program = Program.model_validate(
        {"executable": "x", "arguments": ["-a", "v=$RENDERONLINE:it"], "types": {"it": kind}}
    )
    places = Places(None, "/out")
    for value in good:
        assert expand(program, {"it": value}, places) == ["-a", f"v={value}"]
    for value in bad:
        with pytest.raises(InputFault, match="it"):
            expand(program, {"it": value}, places)


def test_a_value_is_never_looked_through_for_placeholders():
    program = Program.model_validate(
        {
            "executable": "x",
            "arguments": ["$RENDERONLINE:it", "$RENDERONLINE:@uploaded_file", "$RENDERONLINE:@output_dir"],
            "types": {"it": "sentence"},
        }
    )
    expanded = expand(program, {"it": "$RENDERONLINE:@output_dir"}, Places("/in/file", "/out"))
    assert expanded == ["$RENDERONLINE:@output_dir", "/in/file", "/out"]


@pytest.mark.parametrize(
    ("values", "uploaded", "code"),
    [
        ({}, "/in", "argument_missing"),
        ({"it": 1, "extra": 2}, "/in", "argument_unknown"),
        ({"it": 1}, None, "file_missing"),
    ],
)
def test_arguments_must_be_exactly_those_asked_for(values: dict, uploaded: str | None, code: str):
    program = Program.model_validate(
        {
            "executable": "x",
            "arguments": ["$RENDERONLINE:it", "$RENDERONLINE:@uploaded_file"],
            "types": {"it": "natural"},
        }
    )
    with pytest.raises(InputFault) as caught:
        expand(program, values, Places(uploaded, "/out"))
    assert caught.value.code == code


@needs_blender
async def test_blender_renders_stills_archives_and_films(bench: Bench, blend: Path):
    still = await bench.run("blender", "blender", {"width": 16, "height": 12}, file_url=blend)
    assert [file.name for file in still.files] == ["frame_000001.png"]
    with av.open(still.files[0].path) as image:
        (stream,) = image.streams.video
        assert (stream.width, stream.height) == (16, 12)
    assert still.model.startswith("blender-")
    assert still.data["render_engine"] == "CYCLES"
    frames = await bench.run("blender", "blender", {"frames": "1-2", "output": "JPEG"}, file_url=blend)
    archive = zipfile.ZipFile(frames.files[0].path)
    assert archive.namelist() == ["frame_000001.jpg", "frame_000002.jpg"]
    assert max(step.share for step in bench.steps) == 1.0
    film = await bench.run(
        "blender", "blender", {"frames": "1-2", "output": "MP4", "fps": 12}, file_url=blend
    )
    with av.open(film.files[0].path) as video:
        (stream,) = video.streams.video
        assert (stream.width, stream.height, stream.frames, stream.average_rate) == (32, 20, 2, 12)


@needs_blender
async def test_blender_refuses_what_it_cannot_render(bench: Bench, blend: Path, tmp_path: Path):
    text = tmp_path / "text"
    text.write_text("import os; os.system('x')")
    broken = tmp_path / "broken"
    broken.write_bytes(content(blend)[:5000])
    codes = []
    for asked, path in [({}, text), ({}, broken), ({"camera": "Nobody"}, blend)]:
        with pytest.raises(InputFault) as caught:
            await bench.run("blender", "blender", asked, file_url=path)
        codes.append(caught.value.code)
    assert codes == ["input_not_blend", "blend_invalid", "blend_invalid"]


def test_outcomes_cross_the_pipe_unchanged():
    outcome = Outcome("m", "t", {"a": 1}, (), {"b": 2.0}, ("c",))
    assert Outcome.from_json(json.loads(json.dumps(outcome.as_json()))) == outcome
    assert dataclasses.asdict(outcome)["model"] == "m"
