"""The emulated ComfyUI against recorded traffic of a real one, where that is at hand; it is no part of this project."""

import asyncio
import io
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from websockets.asyncio.client import connect

from comfyui.knobs import Knobs
from comfyui.server import ComfyServer

VARIABLE = "GPULEASE_TEST_COMFYUI_TRACE"
CLIENT = "9f436373-ce66-407d-b1a8-8c2888b62579"
_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_NUMBER = re.compile(r"_\d{5}_")
SHAPES_ONLY = ("/system_stats", "/object_info")
"""What these say of a machine is another's."""


def trace_path() -> Path:
    beside = Path(__file__).parents[2].parent / "shared" / "reference" / "comfyui-trace.json"
    return Path(os.environ.get(VARIABLE) or beside)


pytestmark = pytest.mark.skipif(
    not trace_path().is_file(), reason=f"no recorded traffic of ComfyUI ({VARIABLE})"
)


def scenarios() -> Iterator[tuple[str, list[dict], list[dict]]]:
    """Name, calls and frames of each; what comes before the first one is called "before"."""
    name, calls, frames = "before", [], []
    for one in json.loads(trace_path().read_text())["trace"]:
        if "scenario" in one:
            yield name, calls, frames
            name, calls, frames = one["scenario"], [], []
        elif "http" in one:
            calls.append(one["http"])
        else:
            frames.append(one["ws"])
    yield name, calls, frames


def alike(said: Any) -> Any:
    """Without what differs between two runs: ids, times, and the numbers of files."""
    match said:
        case dict():
            return {alike(key): 0 if key == "timestamp" else alike(value) for key, value in said.items()}
        case list():
            return [alike(one) for one in said]
        case str():
            return _NUMBER.sub("_#_", _ID.sub("<id>", said))
        case _:
            return said


def shape(said: Any) -> Any:
    """Keys and types; of a list of equal ones, one."""
    match said:
        case dict():
            return {key: shape(value) for key, value in said.items()}
        case list():
            shapes = [shape(one) for one in said]
            return shapes[:1] if all(one == shapes[0] for one in shapes) else shapes
        case _:
            return type(said).__name__


class Ears:
    """All text frames of one client."""

    def __init__(self) -> None:
        self.heard: list[dict] = []

    async def listen(self, url: str) -> None:
        async with connect(f"{url.replace('http', 'ws')}/ws?clientId={CLIENT}", proxy=None) as socket:
            async for frame in socket:
                if isinstance(frame, str):
                    self.heard.append(json.loads(frame))

    async def until(self, count: int) -> list[dict]:
        """So many frames, and up to the end of what runs."""
        async with asyncio.timeout(10):
            while len(self.heard) < count or not self._over():
                await asyncio.sleep(0.01)
        heard, self.heard = self.heard, []
        return heard

    def _over(self) -> bool:
        return any(one["type"] == "executing" and one["data"]["node"] is None for one in self.heard)


@pytest.fixture
async def comfy(tmp_path: Path) -> AsyncIterator[ComfyServer]:
    knobs = Knobs(vram_gb=None)
    async with ComfyServer(tmp_path, knobs) as server:
        yield server


async def test_it_answers_and_tells_what_the_real_one_did(comfy: ComfyServer):
    picture = io.BytesIO()
    Image.new("RGB", (60, 48), "red").save(picture, "PNG")
    ears, ids, count = Ears(), {}, 0
    listening = asyncio.create_task(ears.listen(comfy.url))
    while not ears.heard:
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=comfy.url, trust_env=False) as http:
        for name, calls, frames in scenarios():
            comfy.core.knobs.node_s = {"ImageScale": 0.4} if name == "interrupt_mid_run" else {}
            ended = next((at for at, one in enumerate(calls) if "/history/" in one["path"]), len(calls))
            for call in calls[:ended]:
                count += await replayed(http, call, ids, picture.getvalue())
            await asyncio.sleep(0.5)
            heard = await ears.until(len(frames)) if frames else []
            assert alike(heard)[: len(frames)] == alike(frames), name
            for call in calls[ended:]:
                count += await replayed(http, call, ids, picture.getvalue())
            if name == "interrupt_mid_run":
                assert len(heard) > len(frames), "the recording stops there, the server does not"
    listening.cancel()
    assert count == sum(len(calls) for _, calls, _ in scenarios()) > 20


async def replayed(http: httpx.AsyncClient, call: dict, ids: dict[str, str], picture: bytes) -> int:
    """Makes the recorded call and holds the answer to the recorded one."""
    path = _ID.sub(lambda found: ids.get(found[0], found[0]), call["path"])
    if "multipart" in call:
        form = {"overwrite": "true"} if "overwrite" in call["multipart"] else {}
        reply = await http.post(path, files={"image": ("face.png", picture)}, data=form)
    else:
        body, asked = call.get("json"), call.get("params")
        reply = await http.request(call["method"], path, json=body, params=renamed(asked))
    assert reply.status_code == call["status"], call
    wanted = call["body"]
    if isinstance(wanted, str):
        assert bool(reply.content) == (wanted != "<0 bytes>"), path
    elif path.startswith(SHAPES_ONLY):
        assert without_words(shape(reply.json())) == without_words(shape(wanted)), path
    else:
        assert alike(reply.json()) == alike(wanted), path
    if "content_type" in call:
        assert (
            reply.headers.get("content-type", "").partition(";")[0] == call["content_type"].partition(";")[0]
        )
    if path == "/prompt" and reply.status_code == 200:
        ids[wanted["prompt_id"]] = reply.json()["prompt_id"]
    return 1


def renamed(asked: dict | None) -> dict | None:
    """Here the numbers of files begin with one."""
    if asked is None:
        return None
    return {name: _NUMBER.sub("_00001_", value) for name, value in asked.items()}


def without_words(shown: Any) -> Any:
    """How many arguments a program was started with says nothing."""
    match shown:
        case dict():
            return {key: without_words(value) for key, value in shown.items() if key != "argv"}
        case list():
            return [without_words(one) for one in shown]
        case _:
            return shown
