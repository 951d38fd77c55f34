"""Hostile jobs through the front door of a server with real workers: refused at once, or failed with the reason."""

import io
import json
import time
import zipfile

import httpx
import pytest
from hostile_files import (
    EDITORS_WORKFLOW,
    PAGE,
    concat_script,
    image_bomb,
    playlist,
)
from hostile_web import moved, said
from hostile_world import hostile_world

pytestmark = pytest.mark.slow

TEN_GB = 10 * 1024**3
REFUSED_S_MAX = 5.0
SHELLS = (
    "; rm -rf /",
    "$(touch x) `touch y` | cat > z",
    "&& curl http://169.254.169.254/",
    "'\"\\ *?[a] ~ %0a $HOME",
    "@output_dir $RENDERONLINE:name",
)
NO_WORDS = {
    "an option": {"name": "-P evil.py"},
    "two dashes": {"name": "--"},
    "a line": {"words": "one\ntwo"},
    "a carriage return": {"words": "one\rtwo"},
    "a zero": {"words": "one\0two"},
    "a path": {"name": "../../etc/passwd"},
    "nothing": {"words": ""},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with hostile_world(tmp_path_factory.mktemp("hostile")) as world:
        yield world


def problem_of(reply, began):
    """A refusal as everybody should get one, and its fields."""
    assert time.monotonic() - began < REFUSED_S_MAX
    assert 400 <= reply.status_code < 500, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    return {fault["field"]: fault["message"] for fault in reply.json().get("errors", ())}


@pytest.mark.parametrize(
    ("engine", "asked", "field"),
    [
        ("whisper", {"audio_url": "file:///etc/passwd"}, "input.audio_url"),
        ("whisper", {"audio_url": "http://169.254.169.254/latest/meta-data/"}, "input.audio_url"),
        ("whisper", {"audio_url": "http://[::ffff:10.0.0.1]/"}, "input.audio_url"),
        ("whisper", {"audio_url": "http://0x7f000001/"}, "input.audio_url"),
        ("whisper", {"audio_url": "http://2130706433/"}, "input.audio_url"),
        ("whisper", {"audio_url": "http://127.0.0.1@169.254.169.254/"}, "input.audio_url"),
        ("whisper", {"audio_url": "http://127.0.0.1\\@10.0.0.1/"}, "input.audio_url"),
        ("whisper", {"audio_url": "http://127.0.0.1\r\nHost: x/"}, "input.audio_url"),
        ("whisper", {"audio_url": "upload://../../gpulease.db"}, "input.audio_url"),
        ("analyze", {"image_url": "gopher://127.0.0.1:6379/_FLUSHALL"}, "input.image_url"),
        (
            "musetalk",
            {"video_url": "https://a.example/v", "audio_url": "file:/etc/passwd"},
            "input.audio_url",
        ),
        ("blender", {"file_url": "/etc/passwd"}, "input.file_url"),
        ("blender", {"file_url": "https://a.example/x", "frames": "1; rm -rf /"}, "input.frames"),
        ("comfyui", {"workflow": EDITORS_WORKFLOW}, "input"),
        (
            "comfyui",
            {"workflow": {"1": {"class_type": "A", "inputs": {}}}, "inputs": {"../x": "http://a/"}},
            "input",
        ),
        ("command", {"program": "../../bin/sh"}, "input.program"),
        ("command", {"program": "tell\n"}, "input.program"),
        ("command", {"program": "tell", "arguments": {"words": "x" * 1_000_000}}, "input.arguments"),
        ("command", {"program": "tell", "arguments": {"x" * 1_000_000: "x"}}, "input.arguments"),
        ("command", {"program": "tell", "arguments": {"-P": "evil.py"}}, "input.arguments"),
        ("../../etc", {}, "engine"),
    ],
)
def test_what_shows_at_submit_is_refused_by_the_name_of_its_field(world, engine, asked, field):
    began = time.monotonic()
    fields = problem_of(world.submit(engine, asked), began)
    assert any(name == field or name.startswith(f"{field}.") for name in fields), fields
    began = time.monotonic()
    batch = world.up.http.post("/v1/jobs/batch", json={"jobs": [{"engine": engine, "input": asked}]})
    (item,) = batch.json()["items"]
    assert item["problem"]["errors"]
    world.check()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"engine": "csm", "input": {"text": "\\ud800"}}', "input"),
        (b'{"engine": "csm", "input": {"\\udfff": "x"}}', "input"),
        (b'{"engine": "csm", "input": {"text": "a"}, "metadata": {"a": "\\ud800"}}', "metadata"),
        (
            b'{"engine": "csm", "input": {"text": "a"}, "metadata": {"a": %s}}' % (b"[" * 200 + b"]" * 200),
            "metadata",
        ),
        (b'{"engine": "csm", "input": {"text": "a"}, "metadata": {"a": NaN}}', "metadata"),
        (b'{"engine": "csm", "input": {"text": "a"}, "\\ud800": 1}', "body"),
        (b'{"engine": "csm", "input": {"text": "a"}, "metadata": {"a": %s}}' % (b"9" * 5000), "body"),
        (b'{"a":' * 100_000, "body"),
        (b"[" * 1_000_000, "body"),
        (b"\xff\xfe\xfd", "body"),
        (b'{"engine":', "body"),
    ],
)
def test_what_is_hardly_json_is_refused_and_stops_nothing(world, body, field):
    """Jobs that no reply can carry would stop every listing, and whoever claims them."""
    began = time.monotonic()
    reply = world.up.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert field in problem_of(reply, began)
    if field in ("input", "metadata"):
        whole = b'{"jobs": [%s]}' % body
        batch = world.up.http.post(
            "/v1/jobs/batch", content=whole, headers={"Content-Type": "application/json"}
        )
        assert batch.json()["items"][0]["problem"]["errors"][0]["field"] == field
    assert world.up.http.get("/v1/jobs").status_code == 200


def test_a_body_has_a_bound(world):
    began = time.monotonic()
    reply = world.up.http.post("/v1/jobs", json={"engine": "csm", "input": {"text": "x" * 20_000_000}})
    assert problem_of(reply, began) == {}
    assert reply.status_code == 413


def hostile_inputs(world) -> dict[str, tuple[str, str, str, str]]:
    """Engine, URL, and the code and words of the fault, by what it is."""
    give, upload, trap = world.web.give, world.upload, f"127.0.0.1:{world.around.trap.port}"
    secret, port = str(world.around.secret), world.around.trap.port
    lie = give("/lie", said(b"RIFF", length=TEN_GB))
    inside = give("/inside", moved("http://169.254.169.254/latest/meta-data/"))
    number = give("/number", moved(f"http://2130706433:{port}/"))
    file = give("/file", moved(f"file://{secret}"))
    return {
        "10 GB by its length": ("whisper", lie, "input_too_big", "/lie is larger than"),
        "a redirect inside": ("whisper", inside, "input_forbidden", "169.254.169.254"),
        "a redirect to here as a number": ("analyze", number, "input_forbidden", "127.0.0.1"),
        "a redirect to a file": ("analyze", file, "input_forbidden", "may not be fetched"),
        "a name that turns": ("whisper", f"http://turns.hostile.test:{port}/", "input_forbidden", "private"),
        "a name that is both": ("whisper", f"http://both.hostile.test:{port}/", "input_forbidden", "private"),
        "a redirect to such a name": (
            "analyze",
            give("/turning", moved(f"http://both.hostile.test:{port}/")),
            "input_forbidden",
            "private",
        ),
        "a playlist called MP3": (
            "whisper",
            give("/song.mp3", said(playlist(secret, trap), "Content-Type: audio/mpeg")),
            "input_not_audio",
            "an HLS playlist",
        ),
        "a concat script": (
            "whisper",
            upload(concat_script(secret, trap), "a.wav"),
            "input_not_audio",
            "concat",
        ),
        "a page": (
            "whisper",
            give("/page", said(PAGE, "Content-Type: audio/wav")),
            "input_not_audio",
            "HTML",
        ),
        "nothing": ("whisper", give("/empty", said(b"")), "input_not_audio", "empty"),
        "an image bomb": ("analyze", upload(image_bomb(), "bomb.png"), "input_too_big", "too large an image"),
        "a drawing": (
            "analyze",
            upload(b"<svg xmlns='x'><image href='file:///etc/passwd'/></svg>"),
            "input_not_image",
            "SVG",
        ),
    }


def test_what_a_worker_finds_fails_the_job_and_names_the_input(world):
    field_of = {"whisper": "audio_url", "analyze": "image_url"}
    cases = hostile_inputs(world)
    began = time.monotonic()
    jobs = {
        name: world.accepted(engine, {field_of[engine]: url}) for name, (engine, url, _, _) in cases.items()
    }
    wrong = {}
    for name, (engine, _, code, words) in cases.items():
        job = world.ended(jobs[name])
        fault = job["fault"] or {}
        said_so = field_of[engine] in fault.get("message", "") and words in fault.get("message", "")
        if (job["status"], fault.get("kind"), fault.get("code"), said_so) != ("failed", "job", code, True):
            wrong[name] = fault or job["status"]
        assert "canary canary" not in str(job)
    assert wrong == {}
    assert time.monotonic() - began < 100
    world.check()


def test_what_a_shell_would_read_is_one_argument(world):
    jobs = {words: world.accepted("command", world.tell(words=words)) for words in SHELLS}
    for words, job_id in jobs.items():
        told = result_of(world.ended(job_id), "told.json")
        assert json.loads(told)["words"] == [f"--words={words}", "a.txt"]
    world.check()


def test_what_is_no_such_argument_fails_the_job_and_is_named(world):
    jobs = {name: world.accepted("command", world.tell(**words)) for name, words in NO_WORDS.items()}
    faults = {name: world.ended(job_id)["fault"] for name, job_id in jobs.items()}
    assert {name: (fault["kind"], fault["code"]) for name, fault in faults.items()} == dict.fromkeys(
        NO_WORDS, ("job", "argument_invalid")
    )
    assert all(f"argument {next(iter(words))}" in faults[name]["message"] for name, words in NO_WORDS.items())
    world.check()


@pytest.mark.parametrize(
    "name",
    ["-rf", "new\nline.txt", "\r\nSet-Cookie: a=b", "q\"u'o;te.txt", "../../../climb.txt", "..", "\0", "é/…"],
)
def test_no_name_of_an_upload_leads_anywhere(world, name):
    http, content = world.up.http, b"four"
    raw = http.post("/v1/uploads", params={"name": name}, content=content)
    form = http.post("/v1/uploads", files={"file": (name, content)})
    for reply in (raw, form):
        assert reply.status_code == 201, reply.text
        assert "set-cookie" not in reply.headers
        asked = {**world.tell(), "file_url": reply.json()["url"]}
        told = json.loads(result_of(world.ended(world.accepted("command", asked)), "told.json"))
        assert (told["file"], told["bytes"]) == ("input-0", 4)
    world.check()


def test_no_path_of_a_url_leads_anywhere(world):
    path = "/-rf%22%0a;'..%2f..%2fx.png?file=/etc/passwd&x=%00"
    url = world.web.give(path, said(b"four"))
    job_id = world.accepted("command", {**world.tell(), "file_url": url})
    told = json.loads(result_of(world.ended(job_id), "told.json"))
    assert (told["file"], told["bytes"]) == ("input-0", 4)
    world.check()


def test_names_that_a_program_gives_its_files_are_made_plain(world):
    job = world.ended(world.accepted("command", {"program": "names"}))
    assert job["status"] == "succeeded", job["fault"]
    plain = {"q\"u'o;te", "new_line", "-rf", ".._.._climb", "C_drive", "__", "__X-Evil_ 1"}
    assert set(job["result"]["data"]["files"]) == plain
    (file,) = job["result"]["files"]
    reply = httpx.get(file["url"])
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert set(archive.namelist()) == plain
        assert {archive.read(name) for name in plain} == {b"made"}
    assert "result.zip" in reply.headers["content-disposition"]
    evil = httpx.get(file["url"].replace("name=result.zip", "name=a%0d%0aX-Evil:%201.html"))
    assert (evil.status_code, "x-evil" in evil.headers) == (403, False)
    world.check()


def test_a_program_that_puts_a_link_in_place_of_its_folder_gives_nothing_away(world):
    job = world.ended(world.accepted("command", {"program": "swap"}))
    assert (job["status"], job["fault"]["code"], job["result"]) == ("failed", "no_output", None)
    world.check()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/..%2f..%2fgpulease.db"),
        ("GET", "/v1/jobs/../../../etc/passwd"),
        ("GET", "/v1/jobs/%2e%2e/logs"),
        ("GET", "/v1/jobs/..%5c..%5cx/logs"),
        ("GET", "/v1/jobs/a%0d%0aX-Evil:%201"),
        ("POST", "/v1/jobs/..%2f..%2fx/cancel"),
        ("POST", "/v1/jobs/%00/retry"),
        ("GET", "/v1/workers/..%2f..%2fx"),
        ("POST", "/internal/workers/..%2f..%2fx/register"),
        ("POST", "/internal/workers/%2e%2e/heartbeat"),
        ("GET", "/files/..%2fgpulease.db?expires=9999999999&signature=x"),
        ("PUT", "/files/%2e%2e/%2e%2e/canary/new?expires=9999999999&signature=x"),
        ("GET", "/files/..%2f..%2fcanary%2fsecret.txt"),
        ("GET", "/files//etc/passwd"),
    ],
)
def test_ids_and_keys_do_not_climb(world, method, path):
    began = time.monotonic()
    request = world.up.http.build_request(method, "/", json={})
    request.url = request.url.copy_with(raw_path=path.encode())
    reply = world.up.http.send(request)
    problem_of(reply, began)
    assert "canary canary" not in reply.text
    assert "SQLite" not in reply.text
    assert "x-evil" not in reply.headers
    world.check()


@pytest.mark.slow
def test_a_server_that_drips_is_given_up(world):
    """Its worker is not lost for others: the download ends with its bound of 30 s."""
    slow = world.web.give("/slow", world.web.drip(said(b"RIFF", length=1_000_000)))
    began = time.monotonic()
    job = world.ended(world.accepted("whisper", {"audio_url": slow}), 60)
    assert (job["status"], job["fault"]["code"]) == ("failed", "input_unreachable")
    assert "audio_url" in job["fault"]["message"]
    assert "slower than 1024 bytes/s" in job["fault"]["message"]
    assert time.monotonic() - began < 50
    world.check()


def result_of(job, name) -> bytes:
    """A file in the archive that a job made."""
    assert job["status"] == "succeeded", job["fault"]
    (file,) = job["result"]["files"]
    with zipfile.ZipFile(io.BytesIO(httpx.get(file["url"]).content)) as archive:
        return archive.read(name)
