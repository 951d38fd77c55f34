"""Machines that are somebody's: never bought, never ended, and listed by what answers."""

import json
import socket
from dataclasses import replace

import pytest
from rough_server import answer, rough_server

from provider_clients.base import LaunchSpec, Probes
from provider_clients.buffer import Buffer
from provider_clients.errors import NotFound, OutcomeUnknown, Rejected
from provider_clients.http import Limits
from provider_clients.static import Static, StaticMachine, read_machines

SPEC = LaunchSpec("w-1", "static", "http://127.0.0.1:1", "a-key")
STATUS = {
    "EngineIds": ["blender", "ffmpeg"],
    "Task": {"TaskId": 123, "IsSuccess": False, "IsRunning": True, "TotalSeconds": 42},
}
LIMITS = Limits(connect_s=10.0, read_s=10.0, total_s=10.0, tries=1)
ENTRY = {"name": "render-1", "url": "http://10.0.0.5:5000", "engines": {"blender": "blender"}}


def machine(name, url, **changes):
    return StaticMachine(name, url, {"blender": "blender"}, **changes)


@pytest.fixture
async def node():
    async with rough_server() as server:
        server.will(answer(200, json.dumps(STATUS)))
        yield server


@pytest.fixture
def silent_url():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
async def static(node, silent_url):
    listed = (machine("render-1", node.url, key="a-secret-key"), machine("render-2", silent_url))
    made = Static(listed, limits=LIMITS)
    yield made
    await made.aclose()


@pytest.fixture(params=["static", "buffer"])
def owned(request, static):
    return static if request.param == "static" else Buffer(lambda: {"render-1": 1.0, "render-2": 46.0})


async def test_they_are_never_bought_or_ended(owned):
    assert await owned.offers() == ()
    with pytest.raises(Rejected):
        await owned.create(SPEC, "gpl-w-1")
    for name in ("render-1", "nonesuch"):
        with pytest.raises(NotFound):
            await owned.delete(name)
    assert [one.id for one in await owned.list()] == ["render-1"]


async def test_those_that_answer_are_listed(owned):
    (found,) = await owned.list()
    assert (found.id, found.tag, found.running) == ("render-1", "", True)
    assert await owned.get("render-1") == found
    with pytest.raises(NotFound):
        await owned.get("nonesuch")
    assert not owned.tagged
    assert not owned.stops_with_us


async def test_a_silent_machine_of_the_file_is_unknown_and_not_gone(static):
    with pytest.raises(OutcomeUnknown):
        await static.get("render-2")


async def test_buffer_machines_come_and_go_by_their_heartbeats():
    ages = {"w-b": 45.0, "w-a": 0.0, "w-c": 45.1}
    buffer = Buffer(lambda: ages)
    assert [one.id for one in await buffer.list()] == ["w-a", "w-b"]
    assert (await buffer.check()).notes == ("2 of 3 known machines report.",)
    ages["w-c"] = 3.0
    assert (await buffer.get("w-c")).id == "w-c"
    ages.clear()
    assert await buffer.list() == ()
    await buffer.aclose()


async def test_static_machines_say_where_they_are_and_get_their_own_key(node, static):
    (found,) = await static.list()
    assert (found.address, found.gpu_class) == (node.url, "static")
    assert isinstance(static, Probes)
    assert await static.probe(found)
    assert node.heard[0].startswith(b"GET /hpc/status ")
    assert b"X-Internal-API-Key: a-secret-key" in node.heard[0]
    assert "a-secret-key" not in repr(machine("render-1", node.url, key="a-secret-key"))


async def test_a_check_has_a_line_for_each_machine(node, static):
    first, second = (await static.check()).notes
    assert first == "render-1 answers, and runs blender, ffmpeg."
    assert second.startswith("render-2: ")
    assert "cannot be reached" in second
    node.will(answer(200, '{"engineIds": ["ffmpeg"], "task": null}'))
    assert (await static.check()).notes[0] == "render-1 answers, and does not run blender; it runs ffmpeg."
    assert (await Static(()).check()).notes == ("No machine is listed.",)


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, "<html>", "text/html"),
        answer(200, "[]"),
        answer(200, "{}"),
        answer(200, '{"EngineIds": "blender"}'),
        answer(404, "{}"),
        answer(401, '{"message": "no"}'),
        answer(500),
        b"",
    ],
)
async def test_what_is_no_render_machine_is_not_listed_and_says_why(node, static, reply):
    node.will(reply)
    assert await static.list() == ()
    assert (await static.check()).notes[0].startswith("render-1: ")
    assert not await static.probe(machine("render-1", node.url).instance)


async def test_a_machine_that_hangs_holds_nobody_up(node):
    node.dribble_s = 60.0
    static = Static((machine("render-1", node.url),), limits=replace(LIMITS, read_s=0.3, total_s=0.5))
    assert await static.list() == ()
    await static.aclose()


def written(tmp_path, text):
    path = tmp_path / "machines.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


def test_a_file_of_machines_is_read(tmp_path):
    more = {
        "name": "render-2",
        "url": "https://render.example.com/farm/",
        "engines": {"blender": "blender", "command": "ffmpeg"},
        "shared_here": "/mnt/farm",
        "shared_there": "Z:\\farm",
        "usd_per_hour": 0.5,
        "gpu_class": "RTX 4090",
        "key": "k",
    }
    first, second = read_machines(written(tmp_path, [ENTRY, more]))
    assert first == StaticMachine("render-1", "http://10.0.0.5:5000", {"blender": "blender"})
    assert second == StaticMachine(**{**more, "url": "https://render.example.com/farm"})
    assert read_machines(written(tmp_path, [])) == ()


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({"name": ""}, "0.name: "),
        ({"name": "a/b"}, "0.name: "),
        ({"url": "render.example.com"}, "0.url: "),
        ({"url": "http://user:word@render.example.com"}, "0.url: "),
        ({"engines": {}}, "0.engines: "),
        ({"engines": {"quake": "quake"}}, "0.engines.quake.*quake is no engine; there are csm, "),
        ({"engines": {"blender": ""}}, "0.engines.blender: "),
        ({"shared_here": "/mnt"}, "0: .*both shared_here and shared_there"),
        ({"usd_per_hour": -1}, "0.usd_per_hour: "),
        ({"usd_per_hour": "1"}, "0.usd_per_hour: "),
        ({"colour": "red"}, "0.colour: "),
    ],
)
def test_every_fault_of_a_file_has_its_place(tmp_path, entry, fault):
    path = written(tmp_path, [{**ENTRY, **entry}, {"name": 7}])
    with pytest.raises(ValueError, match=f"machines.json: {fault}") as caught:
        read_machines(path)
    assert "machines.json: 1.name: " in str(caught.value)
    assert "machines.json: 1.url: " in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"name": "render-1"}', "\x00"])
def test_a_file_that_is_no_list_is_named(tmp_path, text):
    with pytest.raises(ValueError, match=r"machines.json: "):
        read_machines(written(tmp_path, text))


def test_a_file_that_is_not_there_or_names_a_machine_twice_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"machines.json: .*No such file"):
        read_machines(tmp_path / "machines.json")
    with pytest.raises(ValueError, match=r"machines.json: two machines have the name render-1"):
        read_machines(written(tmp_path, [ENTRY, ENTRY]))


def test_a_key_in_a_faulty_file_is_not_shown(tmp_path):
    with pytest.raises(ValueError, match=r"0.url") as caught:
        read_machines(written(tmp_path, [{**ENTRY, "url": 7, "key": "a-secret-key"}]))
    assert "a-secret-key" not in str(caught.value)
