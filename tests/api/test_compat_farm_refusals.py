"""What the render farm refuses of a form, and that nothing of it is kept; and forms that are only unusual."""

import json
import re

import pytest
from farm_world import FRAMES, SCENE, asked, client, settings_of, stored

from orchestrator.settings import Settings
from orchestrator.store.people import Quota, Subscription

BOUND = 100_000


@pytest.fixture
def settings(tmp_path) -> Settings:
    return settings_of(tmp_path, upload_bytes_max=BOUND)


@pytest.fixture
async def farm(world):
    return await client(world)


REFUSED = [
    ("an engine that is not there", asked("7", **FRAMES), "scene.blend", "engine 7"),
    ("a number that is none", asked("blender", **FRAMES), "scene.blend", "EngineId"),
    ("another extension", asked(**FRAMES), "scene.png", ".blend"),
    ("no extension", asked(**FRAMES), "blend", ".blend"),
    ("an argument that is unknown", asked(**FRAMES, samples="4"), "scene.blend", "samples"),
    ("an argument that is missing", asked(start_frame="1"), "scene.blend", "end_frame"),
    ("letters for a number", asked(start_frame="one", end_frame="2"), "scene.blend", "natural"),
    ("a sign on a natural", asked(start_frame="-1", end_frame="2"), "scene.blend", "natural"),
    ("a line break behind it", asked(start_frame="1\n", end_frame="2"), "scene.blend", "natural"),
    ("digits of another script", asked(start_frame="\u0661", end_frame="2"), "scene.blend", "natural"),
    ("a shell's words", asked(start_frame="1; reboot", end_frame="2"), "scene.blend", "natural"),
    ("a very long value", asked(start_frame="1" * 5000, end_frame="2"), "scene.blend", "natural"),
    ("a frame too far", asked(start_frame="1", end_frame="1000000"), "scene.blend", "end_frame"),
    ("frames that go backwards", asked(start_frame="9", end_frame="2"), "scene.blend", "end_frame"),
    ("an output that nobody makes", asked(**FRAMES | {"output_format": ".gif"}), "scene.blend", ".png"),
    ("no JSON", "{", "scene.blend", "request"),
    ("JSON that is no object", "[]", "scene.blend", "request"),
    ("half of a character", '{"EngineId": "1", "Arguments": "\ud800"}', "scene.blend", "request"),
]


@pytest.mark.parametrize("file_first", [False, True], ids=["request first", "file first"])
async def test_a_wrong_request_is_400_and_keeps_nothing(world, farm, file_first):
    for what, request_part, name, said in REFUSED:
        request = ("request", (None, request_part.encode("utf-8", "surrogatepass")))
        file = ("file", (name, SCENE))
        reply = await farm.send([file, request] if file_first else [request, file])
        assert (reply.status_code, reply.json()["IsAdded"]) == (400, False), what
        assert said in reply.json()["ErrorMessage"], what
        assert stored(world) == [], what
    assert await farm.tasks() == []


async def test_a_name_twice_is_refused(farm):
    body = json.loads(asked(**FRAMES))
    body["Arguments"].append({"ArgTypeId": "start_frame", "Value": "2"})
    reply = await farm.enqueue(json.dumps(body))
    assert (reply.status_code, reply.json()["IsAdded"]) == (400, False)


REQUEST = ("request", (None, asked(**FRAMES)))
INCOMPLETE = {
    "no file": [REQUEST],
    "no request": [("file", ("scene.blend", SCENE))],
    "an empty file": [REQUEST, ("file", ("scene.blend", b""))],
    "two files": [REQUEST, ("a", ("a.blend", SCENE)), ("b", ("b.blend", SCENE))],
    "two requests": [REQUEST, REQUEST, ("file", ("a.blend", SCENE))],
    "no name": [REQUEST, ("file", ("../", SCENE))],
}


async def test_a_form_that_lacks_or_repeats_a_part_keeps_nothing(world, farm):
    for what, parts in INCOMPLETE.items():
        reply = await farm.send(parts)
        assert (reply.status_code, reply.json()["IsAdded"]) == (400, False), what
        assert stored(world) == [], what


async def test_a_path_in_a_name_leads_nowhere(world, farm):
    for name in ("../../etc/scene.blend", "..\\..\\scene.blend", "/abs/scene.blend", "C:\\scene.blend"):
        assert (await farm.enqueue(name=name)).status_code == 200
    assert [one["Render"]["FileName"] for one in await farm.tasks()] == ["scene.blend"] * 4
    keys = stored(world)
    assert len(keys) == 4
    assert all(re.fullmatch(r"uploads/[0-9a-f]{32}/scene\.blend", key) for key in keys)


async def test_a_name_in_another_script_is_shown_and_its_extension_counts_in_any_case(world, farm):
    assert (await farm.enqueue(name="Szene für Käthe.BLEND")).status_code == 200
    (shown,) = await farm.tasks()
    assert shown["Render"]["FileName"] == "Szene für Käthe.BLEND"


async def test_either_order_of_the_parts_is_good_and_others_are_read_over(world, farm):
    parts = [
        ("note", (None, "hello")),
        ("file", ("scene.blend", SCENE)),
        ("request", (None, asked(**FRAMES))),
    ]
    reply = await farm.send(parts)
    assert reply.json()["IsAdded"] is True, reply.text


async def test_a_number_may_come_as_one(farm):
    assert (await farm.enqueue(asked(1, start_frame=1, end_frame=2))).status_code == 200
    assert (await farm.post("dequeue", "1")).status_code == 200


@pytest.mark.parametrize("said_before", [True, False], ids=["declared", "found out"])
async def test_a_file_that_is_too_large_is_413_and_keeps_nothing(world, farm, said_before):
    content = bytes(BOUND + 400_000 if said_before else BOUND + 1)
    reply = await farm.enqueue(content=content)
    assert (reply.status_code, reply.json()["IsAdded"]) == (413, False)
    assert str(BOUND) in reply.json()["ErrorMessage"]
    assert stored(world) == []
    assert (await farm.enqueue(content=bytes(BOUND))).status_code == 200


async def test_a_request_that_is_too_large_is_413(world, farm):
    reply = await farm.enqueue(" " * 300_000 + asked(**FRAMES), content=b"x")
    assert (reply.status_code, reply.json()["IsAdded"]) == (413, False)


async def test_a_body_that_is_no_form_is_400(world, farm):
    for kind in ("application/json", "multipart/form-data", "multipart/form-data; boundary=" + "b" * 300):
        reply = await world.http.post(
            "/renderapi/v1/enqueue", content=b"{}", headers={**farm.headers, "Content-Type": kind}
        )
        assert (reply.status_code, reply.json()["IsAdded"]) == (400, False)


async def test_the_queue_limit_counts_tasks_until_they_end(world, farm):
    store = world.orchestrator.parts.store
    await store.put_subscription(Subscription(1, "Default", Quota(queued_max=2)), by=None, now=0.0)
    first = await farm.queued()
    agent = await world.agent({"engine": "blender", "backend": "test", "models": ["4.2"]})
    assert await agent.claim()
    await farm.queued()
    reply = await farm.enqueue()
    assert (reply.status_code, reply.json()["IsAdded"]) == (403, False)
    assert "Queue limit 2 reached for your subscription" in reply.json()["ErrorMessage"]
    assert len(stored(world)) == 2
    assert (await farm.post("dequeue", first)).status_code == 200
    assert (await farm.enqueue()).status_code == 200
