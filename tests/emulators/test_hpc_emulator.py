"""The emulated render node: it really runs programs, one at a time, and remembers the last one for ever."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from hpc.node import HpcNode

WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"


@pytest.fixture
async def node() -> AsyncIterator[HpcNode]:
    async with HpcNode({"python": sys.executable, "absent": "/no/such/program"}) as node:
        yield node


@pytest.fixture
async def api(node: HpcNode) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=node.url, trust_env=False) as client:
        yield client


async def started(
    api: httpx.AsyncClient, task: int, arguments: str, engine: str = "python"
) -> httpx.Response:
    body = {"EngineId": engine, "TaskId": task, "Arguments": arguments}
    return await api.post("/hpc/start", json=body)


async def task_of(api: httpx.AsyncClient) -> dict | None:
    return json.loads((await api.get("/hpc/status")).text)["Task"]


async def ended(api: httpx.AsyncClient) -> tuple[int, bool]:
    async with asyncio.timeout(10):
        while (task := await task_of(api)) and task["IsRunning"]:
            await asyncio.sleep(0.02)
    return task["TaskId"], task["IsSuccess"]


async def test_a_program_runs_and_is_remembered(api, tmp_path: Path):
    status = (await api.get("/hpc/status")).json()
    assert status == {"EngineIds": ["python", "absent"], "Task": None}
    made = tmp_path / "a file"
    reply = await started(api, 7, f"python -c '{WRITE}' '{made}' \"$HOME; true\"")
    assert (reply.status_code, reply.json()["IsSuccess"]) == (200, True)
    assert await ended(api) == (7, True)
    assert made.read_text() == "$HOME; true"
    assert (await started(api, 8, "-c 'raise SystemExit(3)'")).status_code == 200
    assert await ended(api) == (8, False)
    assert "content-type" not in reply.headers


async def test_one_at_a_time_and_stopped_by_its_task_id(api):
    none = await api.post("/hpc/stop", json={"TaskId": 1})
    assert (none.status_code, none.json()["Message"]) == (200, "No active render!")
    await started(api, 2**63, "-c 'import time; time.sleep(60)'")
    assert (await task_of(api))["IsRunning"]
    assert (await started(api, 2, "-c pass")).status_code == 400
    assert (await api.post("/hpc/stop", json={"TaskId": 2})).status_code == 400
    assert (await api.post("/hpc/stop", json={"TaskId": 2**63})).status_code == 200
    assert await ended(api) == (2**63, False)


async def test_a_refused_start_looks_like_a_task_that_failed(node, api):
    await started(api, 1, "-c pass")
    assert await ended(api) == (1, True)
    refused = [await started(api, 2, "'unclosed"), await started(api, 3, "-c pass", engine="houdini")]
    assert [reply.status_code for reply in refused] == [400, 400]
    assert await ended(api) == (3, False)
    assert (await started(api, 4, "", engine="absent")).status_code == 500
    node.knobs.torn_refusals = True
    with pytest.raises(httpx.RemoteProtocolError):
        await started(api, 5, "-c pass", engine="houdini")


async def test_it_forgets_it_vanishes_and_it_hangs(node, api):
    await started(api, 1, "-c 'import time; time.sleep(60)'")
    await node.restart(program_survives=True)
    assert await task_of(api) is None
    await started(api, 2, "-c pass")
    assert await ended(api) == (2, True)
    await node.vanish()
    with pytest.raises(httpx.ConnectError):
        await api.get("/hpc/status")
    await node.appear()
    assert await ended(api) == (2, True)
    node.knobs.hung = True
    with pytest.raises(httpx.ReadTimeout):
        await api.get("/hpc/status", timeout=httpx.Timeout(10, read=0.1))
