"""The emulated Comput3: what it bills, where it lies, and that its nodes speak Gradio's protocol for real."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from comput3.cloud import Comput3Emulator
from comput3.knobs import Dice, Knobs

pytestmark = pytest.mark.slow

FOX = "The quick brown fox jumps over the lazy dog."
FILE = {"_type": "gradio.FileData"}


@pytest.fixture
async def cloud() -> AsyncIterator[Comput3Emulator]:
    async with Comput3Emulator(usd_per_hour=3600.0) as cloud:
        yield cloud


@pytest.fixture
async def api(cloud: Comput3Emulator) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"X-C3-API-KEY": cloud.key}
    async with httpx.AsyncClient(base_url=cloud.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


async def launched(api: httpx.AsyncClient, lease_s: int = 600) -> httpx.Response:
    return await api.post("/launch", json={"type": "media:fast", "expires": int(time.time()) + lease_s})


async def listed(api: httpx.AsyncClient) -> list[str]:
    reply = await api.post("/workloads", json={"running": True})
    return [one["workload"] for one in reply.json()]


async def node_of(api: httpx.AsyncClient) -> str:
    node = f"http://{(await launched(api)).json()['node']}"
    await until_up(api, node)
    return node


async def until_listed(api: httpx.AsyncClient, workloads: list[str]) -> None:
    async with asyncio.timeout(10):
        while await listed(api) != workloads:
            await asyncio.sleep(0.02)


async def until_up(api: httpx.AsyncClient, node: str) -> None:
    async with asyncio.timeout(20):
        while (await api.get(node)).status_code != 200:
            await asyncio.sleep(0.01)


async def called(api: httpx.AsyncClient, page: str, name: str, data: list) -> tuple[str, list]:
    """The last event of a call, and its data."""
    asked = await api.post(f"{page}/gradio_api/call/{name}", json={"data": data})
    stream = await api.get(f"{page}/gradio_api/call/{name}/{asked.json()['event_id']}")
    event, said = stream.text.strip().rsplit("\n\n", 1)[-1].split("\n")
    return event.removeprefix("event: "), json.loads(said.removeprefix("data: "))


async def test_a_lease_is_prepaid_listed_stopped_and_billed_to_the_second(cloud, api):
    before = (await api.get("/balance")).json()["balance"]
    lease = (await launched(api)).json()
    await until_up(api, f"http://{lease['node']}")
    assert (await api.get("/balance")).json()["balance"] == before - 10
    (shown,) = (await api.post("/workloads", json={"running": True})).json()
    assert (shown["workload"], shown["node"], shown["status"]) == (
        lease["workload"],
        lease["node"],
        "running",
    )
    assert [line.workload for line in cloud.live()] == [lease["workload"]]
    stopped = (await api.post("/stop", json={"workload": lease["workload"]})).json()
    assert stopped["refund_amount"] in (9, 10)
    (line,) = cloud.bill()
    assert (line.started, line.ended) == (shown["created"], stopped["stopped"])
    assert line.usd == line.ended - line.started
    assert (cloud.live(), await listed(api)) == ([], [])
    assert (await api.post("/stop", json={"workload": lease["workload"]})).status_code == 404
    with pytest.raises(httpx.ConnectError):
        await api.get(f"http://{lease['node']}")


async def test_a_lease_ends_when_it_expires(cloud, api):
    lease = (await launched(api, lease_s=2)).json()
    node = f"http://{lease['node']}"
    await until_up(api, node)
    async with asyncio.timeout(20):
        while await listed(api):
            await asyncio.sleep(0.05)
    (line,) = cloud.bill()
    assert (line.ended - line.started in (1, 2), cloud.live()) == (True, [])
    await asyncio.sleep(0.4)
    with pytest.raises(httpx.ConnectError):
        await api.get(node)


async def test_what_is_refused(cloud, api):
    past = {"type": "media:fast", "expires": int(time.time()) - 1}
    assert (await api.post("/launch", json=past)).status_code == 400
    assert (await api.post("/launch", json={"type": "media:fast", "expires": "soon"})).status_code == 400
    assert (await api.post("/launch", json={**past, "type": "media:slow"})).status_code == 400
    async with httpx.AsyncClient(trust_env=False) as stranger:
        refused = await stranger.get(f"{cloud.url}/balance")
        assert (refused.status_code, refused.json()) == (401, {"message": "Invalid API key"})
        assert "media:fast" in (await stranger.get(f"{cloud.url}/types")).json()
        node = await node_of(api)
        assert (await stranger.get(node)).status_code == 401
    cloud.knobs.capacity = 1
    assert (await launched(api)).status_code == 503
    assert (cloud.launches, len(cloud.bill())) == (5, 1)
    assert cloud.key not in repr(cloud.requests)


async def test_faults_can_be_forced_one_by_one(cloud, api):
    cloud.knobs.next = ["create_lost", "create_unknown", "workloads:html_errors", "stop:stop_unknown"]
    lost = await launched(api)
    assert (lost.status_code, lost.headers["content-type"], cloud.bill()) == (
        502,
        "text/html; charset=utf-8",
        [],
    )
    unknown = await launched(api)
    assert (unknown.status_code, len(cloud.live())) == (502, 1)
    assert (await api.get("/balance")).status_code == 200
    assert (await api.post("/workloads", json={"running": True})).status_code == 502
    (workload,) = await listed(api)
    assert (await api.post("/stop", json={"workload": workload})).status_code == 502
    assert (cloud.live(), cloud.knobs.next) == ([], [])
    cloud.knobs.next = ["launch:rate_limited"] * 2
    waits = [(await launched(api)).headers.get("retry-after") for _ in range(2)]
    assert waits == [None, "1"]
    assert (await launched(api)).status_code == 200


def test_each_fault_has_a_stream_of_its_own():
    lone, beside = Dice(7, Knobs(create_unknown=0.5)), Dice(7, Knobs(create_unknown=0.5, rate_limited=0.5))
    first = [lone.hits("create_unknown") for _ in range(50)]
    second = [(beside.hits("rate_limited"), beside.hits("create_unknown"))[1] for _ in range(50)]
    assert first == second
    assert 10 < sum(first) < 40


async def test_lists_lag_behind(cloud, api):
    cloud.knobs.turn({"list_lag_s": 1.0, "stop_lag_s": 1.0})
    lease = (await launched(api)).json()
    assert await listed(api) == []
    await until_listed(api, [lease["workload"]])
    stop = {"workload": lease["workload"]}
    first, again = [(await api.post("/stop", json=stop)).json() for _ in range(2)]
    assert (again["stopped"], again["refund_amount"]) == (first["stopped"], 0)
    assert (await listed(api), cloud.live()) == ([lease["workload"]], [])
    await until_listed(api, [])


async def test_a_node_boots_late_and_dies_while_it_is_listed_and_billed(cloud, api):
    cloud.knobs.turn({"boot_s": 2.0, "node_death": 1.0, "die_after_s": [2.0, 2.0]})
    leases = [(await launched(api)).json() for _ in range(4)]
    nodes = [f"http://{lease['node']}" for lease in leases]
    assert {(await api.get(node)).status_code for node in nodes} == {502}
    await until_up(api, nodes[-1])
    await asyncio.sleep(2.5)
    ends = []
    for node in nodes:
        with pytest.raises((httpx.ConnectError, httpx.ReadTimeout)) as caught:
            await api.get(node, timeout=1.0)
        ends.append(caught.type)
    assert set(ends) == {httpx.ConnectError, httpx.ReadTimeout}
    assert len(await listed(api)) == len(cloud.live()) == 4


async def test_a_node_speaks_and_hears_the_same_words(api):
    node = await node_of(api)
    csm, whisper = f"{node}/csm", f"{node}/whisper"
    config = (await api.get(f"{csm}/config")).json()
    names = [one["api_name"] for one in config["dependencies"]]
    assert (config["api_prefix"], names[-1]) == ("/gradio_api", "generate_monologue_audio")
    asked = ["conversational_a", "", None, json.dumps([FOX]), 0.9, 50, 10_000, 150]
    event, (speech,) = await called(api, csm, names[-1], asked)
    assert event == "complete"
    assert (await api.get(speech["url"])).status_code == 404
    sound = await api.get(f"{csm}/gradio_api/file={speech['path']}")
    assert (sound.headers["content-type"], speech["meta"]) == ("audio/mpeg", FILE)
    upload = await api.post(f"{whisper}/gradio_api/upload", files={"files": ("a.mp3", sound.content)})
    inputs = [{"path": upload.json()[0], "meta": FILE}, *await defaults(api, whisper)]
    event, (text, files) = await called(api, whisper, "transcribe_audio", inputs)
    assert (event, text) == ("complete", f"{FOX}\n")
    read = [await api.get(f"{whisper}/gradio_api/file={one['path']}") for one in files]
    assert [word["word"] for word in read[0].json()["word_segments"]] == FOX.split()
    assert [one["orig_name"].rpartition(".")[2] for one in files] == ["json", "txt", "srt", "vtt"]
    event, said = await called(api, whisper, "transcribe_audio", [None, *inputs[1:]])
    assert (event, said[0][:7], said[1]) == ("complete", "Error: ", [])


async def defaults(api: httpx.AsyncClient, page: str) -> list:
    """Of every input but the first, as the page's configuration says."""
    config = (await api.get(f"{page}/config")).json()
    parts = {one["id"]: one["props"].get("value") for one in config["components"]}
    return [parts[id_] for id_ in config["dependencies"][-1]["inputs"][1:]]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "nobody"),
        (3, "no JSON"),
        (4, 2.1),
        (4, "0.9"),
        (6, 999),
        (2, {"path": "/etc/passwd", "meta": FILE}),
    ],
)
async def test_a_page_refuses_without_a_word(api, place: int, value):
    asked = ["upload_voice", "", None, '["Hello."]', 0.9, 50, 10_000, 150]
    asked[place] = value
    node = await node_of(api)
    assert await called(api, f"{node}/csm", "generate_monologue_audio", asked) == ("error", None)


async def test_calls_wait_for_each_other_and_the_stream_beats(cloud, api):
    cloud.knobs.turn({"work_s": 0.4, "heartbeat_s": 0.1, "csm_error": 1.0})
    page = f"{await node_of(api)}/csm/gradio_api/call/generate_monologue_audio"
    asked = ["conversational_a", "", None, '["Hello."]', 0.9, 50, 10_000, 150]
    began = time.monotonic()
    events = [(await api.post(page, json={"data": asked})).json()["event_id"] for _ in range(3)]
    with pytest.raises(httpx.ReadTimeout):
        await api.get(f"{page}/{events[1]}", timeout=httpx.Timeout(5, read=0.05))
    last = (await api.get(f"{page}/{events[2]}")).text
    assert time.monotonic() - began >= 0.8
    assert len(list(cloud._folder.glob("nodes/*/csm/call-*"))) == 2
    assert last.startswith("event: heartbeat\ndata: null\n\n")
    assert last.endswith("event: error\ndata: null\n\n")


async def test_scripts_elsewhere_can_turn_knobs_and_read_the_bill(cloud, api):
    lease = (await launched(api)).json()
    own = f"{cloud.origin}/emulator"
    turned = await api.post(f"{own}/knobs", json={"capacity": 1, "next": ["stop:html_errors"]})
    assert (turned.status_code, cloud.knobs.capacity) == (200, 1)
    assert (await api.post(f"{own}/knobs", json={"no_such": 1})).status_code == 400
    await api.post(f"{own}/kill", json={"workload": lease["workload"], "how": "close"})
    with pytest.raises(httpx.ConnectError):
        await api.get(f"http://{lease['node']}")
    assert (await api.post("/stop", json={"workload": lease["workload"]})).status_code == 502
    (line,) = (await api.get(f"{own}/live")).json()
    assert (line["workload"], line["ended"]) == (lease["workload"], None)
    assert len((await api.get(f"{own}/bill")).json()) == 1


async def test_thirty_nodes_at_once_cost_little(api):
    leases = await asyncio.gather(*(launched(api) for _ in range(30)))
    nodes = [f"http://{lease.json()['node']}" for lease in leases]
    await asyncio.gather(*(until_up(api, node) for node in nodes))
    used = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - used < 0.25
