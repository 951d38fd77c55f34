"""The Gradio client, on replies that no good app gives, and the two apps' own ways to fail."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import respx

from worker_image.faults import Faulted, HostFault
from worker_image.hosted.gradio.client import Gradio
from worker_image.hosted.gradio.csm import CsmGradio
from worker_image.hosted.gradio.replies import JSON_BYTES_MAX
from worker_image.hosted.gradio.whisper import WhisperGradio
from worker_image.hosted.remote import RemoteJob

BASE = "https://node.example/whisper"
API = f"{BASE}/gradio_api"
FORM = [
    {},
    {"value": "small", "choices": ["tiny", ["Small", "small"]]},
    {"value": "transcribe"},
    {"value": "en"},
]
CONFIG = {
    "api_prefix": "/gradio_api",
    "components": [{"id": number + 3, "props": props} for number, props in enumerate([*FORM, {"value": 16}])],
    "dependencies": [
        {"api_name": "transcribe_audio", "inputs": [3, 4, 5, 6, 7]},
        {"api_name": False, "inputs": []},
    ],
}
HTML = httpx.Response(502, html="<!DOCTYPE html><title>502</title>")


def quiet(*_, **__) -> None:
    pass


def stream(*events: str) -> httpx.Response:
    return httpx.Response(200, text="".join(f"{one}\n\n" for one in events))


def complete(*outputs) -> httpx.Response:
    return stream("event: heartbeat\ndata: null", f"event: complete\ndata: {json.dumps(outputs)}")


@pytest.fixture
async def gradio() -> AsyncIterator[Gradio]:
    gradio = Gradio(BASE, {"X-C3-API-KEY": "c3-key"})
    yield gradio
    await gradio.aclose()


@pytest.fixture
def api() -> AsyncIterator[respx.Router]:
    with respx.mock(assert_all_called=False) as router:
        router.get(f"{BASE}/config").respond(json=CONFIG)
        router.post(f"{API}/upload").respond(json=["/tmp/gradio/1/input"])
        router.post(f"{API}/call/transcribe_audio").respond(json={"event_id": "e1"})
        yield router


@pytest.fixture
def job(tmp_path: Path) -> RemoteJob:
    (tmp_path / "input-0").write_bytes(b"sound")
    files = {"audio_url": str(tmp_path / "input-0")}
    inputs = {"audio_url": "https://example.com/a/talk.MP3?signature=1"}
    return RemoteJob("j", "whisper", None, {"audio_url": "upload://1"}, files, str(tmp_path), 7, inputs)


async def fault_of(gradio: Gradio, job: RemoteJob) -> tuple[str, str]:
    with pytest.raises(Faulted) as caught:
        await WhisperGradio(gradio).run(job, quiet)
    return caught.value.kind, caught.value.code


async def test_what_is_not_said_is_what_the_form_says(gradio: Gradio, api: respx.Router, job: RemoteJob):
    answer = {"segments": [{"text": "Hi.", "words": [{"word": "Hi."}]}]}
    api.get(f"{API}/call/transcribe_audio/e1").mock(return_value=complete("Hi.\n", [{"path": "/t/a b.json"}]))
    fetched = api.get(f"{API}/file=/t/a%20b.json").respond(json=answer)
    made = await WhisperGradio(gradio).run(job, quiet)
    assert (made.outcome.model, made.outcome.text, made.outcome.data) == (
        "small",
        "Hi.",
        {"task": "transcribe", **answer},
    )
    call = next(one for one in api.calls if one.request.url.path.endswith("/call/transcribe_audio"))
    assert json.loads(call.request.content)["data"] == [
        {"path": "/tmp/gradio/1/input", "orig_name": "input.mp3", "meta": {"_type": "gradio.FileData"}},
        "small",
        "transcribe",
        "",
        16,
    ]
    assert fetched.called
    assert {one.request.headers["X-C3-API-KEY"] for one in api.calls} == {"c3-key"}


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        (complete("Error: CUDA out of memory", []), ("host", "app_error")),
        (complete("Error: Failed to load audio: x", []), ("job", "input_not_understood")),
        (complete("Error: of my ways, he said", [{"path": "/t/a.txt"}]), None),
        (complete("a text", []), ("host", "output_missing")),
        (complete(), ("host", "app_failed")),
        (complete(None, []), ("host", "app_failed")),
        (stream("event: error\ndata: null"), ("host", "app_error")),
        (stream('event: error\ndata: {"error": "GPU aborted"}'), ("host", "app_error")),
        (stream("event: generating\ndata: []"), ("host", "machine_lost")),
        (stream("event: complete\ndata: not json"), ("host", "app_failed")),
        (stream('event: complete\ndata: {"no": "list"}'), ("host", "app_failed")),
        (HTML, ("host", "app_failed")),
        (httpx.Response(307, headers={"Location": "https://evil.example/"}), ("host", "app_failed")),
        (httpx.ReadTimeout("silent"), ("host", "machine_silent")),
        (httpx.RemoteProtocolError("cut"), ("host", "machine_unreachable")),
    ],
)
async def test_an_answer_means_this(gradio: Gradio, api: respx.Router, job: RemoteJob, events, fault):
    api.get(f"{API}/call/transcribe_audio/e1").mock(side_effect=[events])
    api.get(f"{API}/file=/t/a.txt").respond(text="Error: of my ways, he said\n")
    if fault is None:
        assert (await WhisperGradio(gradio).run(job, quiet)).outcome.text == "Error: of my ways, he said"
    else:
        assert await fault_of(gradio, job) == fault


@pytest.mark.parametrize(
    "reply",
    [
        HTML,
        httpx.Response(200, json={"event_id": "../../stop"}),
        httpx.Response(200, json=[]),
        httpx.Response(200),
    ],
)
async def test_a_call_that_is_not_taken(gradio: Gradio, api: respx.Router, job: RemoteJob, reply):
    api.post(f"{API}/call/transcribe_audio").mock(side_effect=[reply])
    assert await fault_of(gradio, job) == ("host", "app_failed")


@pytest.mark.parametrize(
    "reply",
    [
        HTML,
        httpx.Response(200, json={}),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={**CONFIG, "api_prefix": "//evil.example"}),
        httpx.Response(200, json={**CONFIG, "dependencies": []}),
        httpx.Response(200, json={**CONFIG, "components": []}),
        httpx.Response(200, content=b" " * (JSON_BYTES_MAX + 1)),
        httpx.ConnectError("refused"),
    ],
)
async def test_a_page_that_is_not_the_app_offers_nothing(gradio: Gradio, api: respx.Router, reply):
    api.get(f"{BASE}/config").mock(side_effect=[reply])
    assert isinstance(await WhisperGradio(gradio).probe(), str)


async def test_version_four_has_no_prefix(gradio: Gradio, api: respx.Router):
    api.get(f"{BASE}/config").respond(json={**CONFIG, "api_prefix": None})
    assert (await gradio.app()).prefix == ""
    (offer,) = await WhisperGradio(gradio).probe()
    assert offer.models == ("small", "tiny")


async def test_sound_is_what_looks_like_sound(gradio: Gradio, api: respx.Router, tmp_path: Path):
    parts = [{"id": number, "props": {}} for number in range(8)]
    page = {
        "components": parts,
        "dependencies": [{"api_name": "generate_monologue_audio", "inputs": list(range(8))}],
    }
    api.get(f"{BASE}/config").respond(json=page)
    api.post(f"{BASE}/call/generate_monologue_audio").respond(json={"event_id": "e1"})
    api.get(f"{BASE}/call/generate_monologue_audio/e1").mock(
        side_effect=lambda _: complete({"path": "/t/a.mp3"})
    )
    sound = api.get(f"{BASE}/file=/t/a.mp3")
    job = RemoteJob("j", "csm", None, {"text": "Hi."}, {}, str(tmp_path), 7, {})
    for content, name in ((b"ID3...", "speech.mp3"), (b"RIFF...", "speech.wav")):
        sound.respond(content=content)
        assert (await CsmGradio(gradio).run(job, quiet)).outcome.files[0].name == name
    for content in (b"<html>", b""):
        sound.respond(content=content)
        with pytest.raises(HostFault):
            await CsmGradio(gradio).run(job, quiet)
