"""The same through a worker's own `POST /generate`: a problem document that names the input, or the reason."""

import time

import pytest
from hostile_files import EDITORS_WORKFLOW, PAGE, concat_script, image_bomb, playlist
from hostile_web import moved, said
from hostile_world import hostile_worker

pytestmark = pytest.mark.slow

TEN_GB = 10 * 1024**3
ANSWERED_S_MAX = 45.0
"""A firewall may let a connection to nobody wait for 20 s."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    with hostile_worker(tmp_path_factory.mktemp("hostile")) as worker:
        yield worker


@pytest.fixture
def http(alone):
    """It answers before and after, and a good job succeeds."""
    http, around, web = alone
    yield http
    asked = {
        "program": "tell",
        "file_url": web.give("/good", said(b"four")),
        "arguments": {"words": "a", "name": "b"},
    }
    assert http.post("/generate", json={"engine": "command", "input": asked}).json()["status"] == "ok"
    assert not around.trap.called()


def refused(http, body, words, **headers):
    began = time.monotonic()
    reply = http.post("/generate", json=body, headers=headers)
    assert time.monotonic() - began < ANSWERED_S_MAX
    problem = reply.json()["problem"] if headers else reply.json()
    assert reply.status_code == (200 if headers else problem["status"])
    assert 400 <= problem["status"] < 500, problem
    assert words in problem["detail"], problem
    return problem


@pytest.mark.parametrize(
    ("engine", "asked", "field"),
    [
        ("whisper", {"audio_url": "file:///etc/passwd"}, "audio_url"),
        ("analyze", {"image_url": "/etc/passwd"}, "image_url"),
        ("musetalk", {"video_url": "https://a.example/v", "audio_url": "file:///etc/passwd"}, "audio_url"),
        ("comfyui", {"workflow": EDITORS_WORKFLOW}, ""),
        ("command", {"program": "tell", "arguments": {"words": "x" * 1_000_000}}, "arguments"),
        ("command", {"program": "tell", "arguments": {"--": "x"}}, "arguments"),
        ("command", {"program": "../tell"}, "program"),
    ],
)
def test_what_shows_at_once_names_its_field(http, engine, asked, field):
    problem = refused(http, {"engine": engine, "input": asked}, field)
    assert [fault["field"] for fault in problem["errors"]] == [field]
    assert refused(http, {"engine": engine, "input": asked}, field, **{"Salad-Job-Id": "s"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"engine": "csm", "input": {"text": "\\ud800"}}', "input"),
        (b'{"engine": "csm", "input": {"text": %s}}' % (b"[" * 300 + b"]" * 300), "input"),
        (b'{"engine": "\\ud800", "input": {}}', None),
        (b'{"engine": "csm", "job_id": "../../x", "input": {}}', "job_id"),
        (b'{"engine": "csm", "job_id": "-rf", "input": {}}', "job_id"),
        (b'{"musetalk_job_id": "a/b"}', "musetalk_job_id"),
        (b'{"a":' * 100_000, None),
        (b'{"engine": "csm", "input": {"text": %s}}' % (b"9" * 5000), None),
    ],
)
def test_what_is_hardly_json_is_refused(http, body, field):
    reply = http.post("/generate", content=body)
    assert 400 <= reply.status_code < 500, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert field is None or field in {fault["field"] for fault in reply.json()["errors"]}


def test_what_a_download_finds_names_the_input(alone, http):
    _, around, web = alone
    port, secret = around.trap.port, str(around.secret)
    trap = f"127.0.0.1:{port}"
    cases = {
        "input_too_big": said(b"RIFF", length=TEN_GB),
        "input_forbidden": moved("http://169.254.169.254/latest/meta-data/"),
        "input_forbidden as a number": moved(f"http://2130706433:{port}/"),
        "input_forbidden by a name": moved(f"http://both.hostile.test:{port}/"),
        "input_forbidden as a file": moved(f"file://{secret}"),
        "input_not_audio as a playlist": said(playlist(secret, trap)),
        "input_not_audio as a script": said(concat_script(secret, trap)),
        "input_not_audio as a page": said(PAGE),
        "input_unreachable": said(b"", status="404 Not Found"),
    }
    for number, (code, reply) in enumerate(cases.items()):
        url = web.give(f"/{number}/song.mp3", reply)
        problem = refused(http, {"engine": "whisper", "input": {"audio_url": url}}, "audio_url")
        assert problem["title"] == code.split()[0]
    for name in ("turns", "both"):
        asked = {"audio_url": f"http://{name}.hostile.test:{port}/"}
        assert refused(http, {"engine": "whisper", "input": asked}, "audio_url")["title"] == "input_forbidden"
    for url in (
        "http://169.254.169.254/",
        "http://[::ffff:10.0.0.1]/",
        "http://0x7f000001/",
        "http://2130706433/",
    ):
        asked = {"audio_url": url}
        assert refused(http, {"engine": "whisper", "input": asked}, "audio_url")["title"] == "input_forbidden"


def test_an_image_bomb_is_not_unpacked(alone, http):
    url = alone[2].give("/bomb.png", said(image_bomb()))
    problem = refused(http, {"engine": "analyze", "input": {"image_url": url}}, "image_url")
    assert problem["title"] == "input_too_big"


def test_names_of_files_stay_names(http):
    made = http.post(
        "/generate", json={"engine": "command", "job_id": "n", "input": {"program": "names"}}
    ).json()
    assert len(made["data"]["files"]) == 7
    (file,) = made["files"]
    assert http.get(file["url"]).content.startswith(b"PK")
    swapped = {"engine": "command", "input": {"program": "swap"}}
    assert refused(http, swapped, "no file")["title"] == "no_output"


@pytest.mark.parametrize(
    "path",
    [
        "/generate/../files/passwd",
        "/generate/..%2f..%2f/files/passwd",
        "/generate/n/files/..%2f..%2f..%2fcanary%2fsecret.txt",
        "/generate/n/files/%2e%2e",
        "/generate/n/files/a%0d%0aX-Evil:%201",
        "/generate/n/files/%00",
    ],
)
def test_no_path_leads_to_other_files(http, path):
    request = http.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=path.encode())
    reply = http.send(request)
    assert reply.status_code == 404
    assert "canary canary" not in reply.text
    assert "x-evil" not in reply.headers
