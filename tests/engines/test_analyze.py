"""`analyze`: a vision model behind each of the two APIs, over a real socket; and what a CPU measures, for real."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from vision import Vision, serving

from worker_image.engines.analyze.measures import Measures
from worker_image.engines.analyze.ollama import Ollama, address
from worker_image.engines.analyze.openai import OpenAiVision
from worker_image.engines.base import Backend, EngineConfig, EngineJob, Outcome
from worker_image.faults import Cancelled, HostFault, InputFault
from worker_image.host.pool import HostPool

pytestmark = pytest.mark.slow

SERVED = {
    "ollama": lambda url: Ollama(EngineConfig(ollama_url=url)),
    "openai": lambda url: OpenAiVision(EngineConfig(vision_url=f"{url}/v1", vision_models=("llava:latest",))),
}


@pytest.fixture
async def vision() -> AsyncIterator[Vision]:
    async with serving() as found:
        yield found


@pytest.fixture(params=SERVED)
def served(request: pytest.FixtureRequest, vision: Vision) -> Backend:
    return SERVED[request.param](vision.url)


def picture(folder: Path, size: tuple[int, int] = (640, 200), words: str = "", **exif: int) -> Path:
    image = Image.new("RGB", size, "white")
    if words:
        ImageDraw.Draw(image).text((20, 60), words, fill="black", font=ImageFont.load_default(36))
    path = folder / "input-0"
    tags = image.getexif()
    if "orientation" in exif:
        tags[0x0112] = exif["orientation"]
    image.save(path, "JPEG", quality=95, exif=tags)
    return path


def job(folder: Path, image: Path, prompt: str = "What is it?") -> EngineJob:
    asked = {"image_url": "http://a.example/i", "prompt": prompt}
    return EngineJob("j1", "analyze", None, asked, {"image_url": str(image)}, str(folder))


def silent(*_: object, **__: object) -> None:
    pass


async def ran(backend: Backend, given: EngineJob, report: Callable[..., None] = silent) -> Outcome:
    """Backends are synchronous, and the emulator lives in this loop."""

    def whole() -> Outcome:
        backend.load(None)
        return backend.run(given, report)

    return await asyncio.to_thread(whole)


async def test_the_model_sees_the_picture_and_the_prompt(served: Backend, vision: Vision, tmp_path: Path):
    reports: list[float] = []
    outcome = await ran(
        served, job(tmp_path, picture(tmp_path)), lambda share, *_, **__: reports.append(share)
    )
    assert outcome.text == "A picture of 640 by 200 pixels. What is it?"
    assert (outcome.model, outcome.data["prompt"], outcome.ignored) == ("llava:latest", "What is it?", ())
    assert reports == sorted(reports)
    assert reports[-1] > 0


async def test_only_models_that_see_are_offered(vision: Vision):
    offer = await asyncio.to_thread(Ollama(EngineConfig(ollama_url=vision.url)).probe)
    assert offer.models == ("llava:latest",)
    unnamed = OpenAiVision(EngineConfig(vision_url=f"{vision.url}/v1"))
    assert "GPULEASE_VISION_MODELS" in await asyncio.to_thread(unnamed.probe)
    vision.models = {"llama3:latest": False}
    assert "ollama pull" in await asyncio.to_thread(Ollama(EngineConfig(ollama_url=vision.url)).probe)


async def test_a_picture_is_turned_upright_and_made_to_fit(served: Backend, vision: Vision, tmp_path: Path):
    """Orientation 6: the camera was held on its side."""
    await ran(served, job(tmp_path, picture(tmp_path, (4096, 1024), orientation=6)))
    (seen,) = vision.pictures
    assert (seen.size, seen.getexif().get(0x0112)) == ((512, 2048), None)


async def test_a_transparent_picture_lies_on_white(served: Backend, vision: Vision, tmp_path: Path):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "input-0", "PNG")
    await ran(served, job(tmp_path, tmp_path / "input-0"))
    assert min(vision.pictures[0].getpixel((10, 10))) > 250


async def test_what_is_no_picture_is_the_jobs_fault(served: Backend, tmp_path: Path):
    (tmp_path / "input-0").write_text("<html>not found</html>")
    with pytest.raises(InputFault, match="image_url"):
        await ran(served, job(tmp_path, tmp_path / "input-0"))


async def test_a_job_that_is_taken_back_hangs_up(served: Backend, vision: Vision, tmp_path: Path):
    vision.knobs.word_s = 0.1
    wanted = {"at": 0.0}

    def report(share: float, *_: object, **__: object) -> None:
        if share > 0:
            wanted["at"] = wanted["at"] or time.monotonic()
            raise Cancelled

    with pytest.raises(Cancelled):
        await ran(served, job(tmp_path, picture(tmp_path), "word " * 200), report)
    assert time.monotonic() - wanted["at"] < 10, "the words would take 20 s"
    async with asyncio.timeout(10):
        while not vision.hung_up:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("knobs", "code"),
    [
        ({"error": "model requires more system memory (9 GiB) than is available"}, "out_of_memory"),
        ({"error_in_stream": "CUDA error: out of memory"}, "out_of_memory"),
        ({"error": "<html>bad gateway</html>", "status": 502}, "engine_failed"),
        ({"stops_after": 3}, "model_broke_off"),
    ],
)
async def test_faults_of_the_server_are_the_hosts(
    served: Backend, vision: Vision, tmp_path: Path, knobs, code
):
    for name, value in knobs.items():
        setattr(vision.knobs, name, value)
    with pytest.raises(HostFault) as caught:
        await ran(served, job(tmp_path, picture(tmp_path)))
    assert caught.value.code == code


async def test_an_answer_that_was_cut_says_so(served: Backend, vision: Vision, tmp_path: Path):
    vision.knobs.cut_at_length = True
    outcome = await ran(served, job(tmp_path, picture(tmp_path)))
    assert "cut" in outcome.data["note"]


async def test_models_come_and_go(vision: Vision, tmp_path: Path):
    backend = Ollama(EngineConfig(ollama_url=vision.url))
    await ran(backend, job(tmp_path, picture(tmp_path)))
    assert vision.loaded == ["llava:latest"]
    await asyncio.to_thread(backend.unload)
    assert vision.loaded == []
    with pytest.raises(HostFault, match="not found"):
        await asyncio.to_thread(backend.load, "moondream")


async def test_the_key_is_sent_and_a_wrong_one_is_told(vision: Vision, tmp_path: Path):
    vision.knobs.key = "right"
    given = EngineConfig(vision_url=f"{vision.url}/v1", vision_models=("llava:latest",), vision_key="right")
    assert (await ran(OpenAiVision(given), job(tmp_path, picture(tmp_path)))).text
    wrong = OpenAiVision(EngineConfig(vision_url=f"{vision.url}/v1"))
    assert "401" in await asyncio.to_thread(wrong.probe)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("", ""),
        ("gpu-box", "http://gpu-box:11434"),
        ("10.0.0.5:8000", "http://10.0.0.5:8000"),
        ("[::1]", "http://[::1]:11434"),
        ("https://ollama.example/", "https://ollama.example"),
    ],
)
def test_the_address_is_read_as_ollama_reads_it(given: str, url: str):
    assert address(given) == url


def test_a_server_that_is_not_there_is_told():
    assert "does not answer" in Ollama(EngineConfig(ollama_url="127.0.0.1:9")).probe()
    assert "does not list" in OpenAiVision(EngineConfig(vision_url="http://127.0.0.1:9/v1")).probe()


# Without a vision model


@pytest.fixture(scope="module")
def measures() -> Measures:
    pytest.importorskip("rapidocr_onnxruntime")
    backend = Measures(EngineConfig())
    backend.load(None)
    return backend


def test_it_reads_what_is_written_and_does_not_pretend(measures: Measures, tmp_path: Path):
    outcome = measures.run(job(tmp_path, picture(tmp_path, words="Invoice 4711 total 98.50 USD")), silent)
    (line,) = outcome.data["lines"]
    assert line["text"].replace(" ", "") == "Invoice4711total98.50USD"
    left, top, width, height = line["box"]
    assert 10 < left < 30
    assert 50 < top < 80
    assert width > 400
    assert height < 60
    assert "the prompt was not answered" in outcome.text
    assert outcome.ignored == ("prompt",)


def test_boxes_are_in_pixels_of_the_picture_as_it_came(measures: Measures, tmp_path: Path):
    image = Image.new("RGB", (3200, 1000), "white")
    ImageDraw.Draw(image).text((100, 300), "Invoice 4711", fill="black", font=ImageFont.load_default(180))
    image.save(tmp_path / "input-0", "PNG")
    (line,) = measures.run(job(tmp_path, tmp_path / "input-0"), silent).data["lines"]
    assert line["box"][2] > 800


def test_it_measures_light_and_colour(measures: Measures, tmp_path: Path):
    image = Image.new("RGB", (300, 100), (200, 30, 30))
    image.paste((40, 70, 200), (0, 0, 100, 100))
    image.save(tmp_path / "input-0", "PNG")
    data = measures.run(job(tmp_path, tmp_path / "input-0"), silent).data
    assert [(one["name"], round(one["share"], 1)) for one in data["colours"]] == [("red", 0.7), ("blue", 0.3)]
    assert (data["width"], data["height"], data["faces"], data["lines"]) == (300, 100, [], [])
    assert 0.2 < data["brightness"] < 0.5


async def test_what_it_keeps_in_the_server_goes_when_the_worker_rests(vision: Vision, tmp_path: Path):
    """Through the engine's own process, as a worker runs it."""
    pool = HostPool(EngineConfig(ollama_url=vision.url), tmp_path / "hosts")
    async with pool.lease("analyze", "ollama", None) as host:
        await host.load(None)
    assert vision.loaded == ["llava:latest"]
    await pool.unload()
    assert (vision.loaded, pool.resident()) == ([], ())
