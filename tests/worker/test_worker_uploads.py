"""How an agent stores what it made: one PUT, or many parts, over a storage that fails in the middle."""

import asyncio
import base64
import contextlib
import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopback_server import LoopbackServer
from worker_image.engines.base import MadeFile
from worker_image.faults import HostFault
from worker_image.link import Link
from worker_image.upload import upload

PART_BYTES = 300_000
ANSWERED = {"status": "ok"}


@dataclass
class Depot:
    """An orchestrator's grants, and the storage that they lead to. Counts are of calls that will go wrong."""

    parted: bool = True
    url: str = ""
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    completed: list[list[str]] = field(default_factory=list)
    tries: Counter[int] = field(default_factory=Counter)
    grants: int = 0
    at_once: int = 0
    at_once_max: int = 0
    failing: Counter[int] = field(default_factory=Counter)
    """By part: how often it is answered 503."""
    changing: Counter[int] = field(default_factory=Counter)
    """By part: how often a byte of it is changed on its way."""
    cut: int = 0
    """How many parts lose their connection."""
    spent: int = 0
    """How many parts are told that their URL holds no more."""
    gone: int = 0
    """How many completions are told that there is no such upload."""
    lost_replies: int = 0
    """How many completions take place and are not answered."""

    def app(self) -> Starlette:
        base = "/internal/workers/w/attempts/7/upload"
        return Starlette(
            routes=[
                Route(base, self.grant, methods=["POST"]),
                Route(f"{base}/complete", self.complete, methods=["POST"]),
                Route("/put/{upload}/{number:int}", self.put, methods=["PUT"]),
            ]
        )

    async def grant(self, request: Request) -> Response:
        said = await request.json()
        self.grants += 1
        upload_id, size = f"u{self.grants}", said["size_bytes"]
        self.parts[upload_id] = {}
        reply = {
            "key": f"k/{said['name']}",
            "url": f"{self.url}/put/{upload_id}/0",
            "headers": {"X-Grant": "yes"},
        }
        if self.parted:
            sizes = [min(PART_BYTES, size - at) for at in range(0, size, PART_BYTES)]
            parts = [
                {"url": f"{self.url}/put/{upload_id}/{number}", "size_bytes": one}
                for number, one in enumerate(sizes, start=1)
            ]
            reply |= {"upload_id": upload_id, "part_bytes": PART_BYTES, "parts": parts}
        return JSONResponse(reply)

    async def put(self, request: Request) -> Response:
        number = request.path_params["number"]
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            return await self._put(request, request.path_params["upload"], number)
        finally:
            self.at_once -= 1

    async def _put(self, request: Request, upload_id: str, number: int) -> Response:
        assert "x-internal-api-key" not in request.headers
        self.tries[number] += 1
        if self.cut:
            self.cut -= 1
            request.receive.__self__.transport.abort()
            return Response()
        content = await request.body()
        await asyncio.sleep(0.05)
        if self.spent:
            self.spent -= 1
            return Response("Request has expired", 403)
        if self.failing[number]:
            self.failing[number] -= 1
            return Response("busy", 503)
        if self.changing[number]:
            self.changing[number] -= 1
            content = bytes([content[0] ^ 1]) + content[1:]
        if base64.b64encode(hashlib.md5(content).digest()).decode() != request.headers["content-md5"]:
            return Response("BadDigest", 400)
        if number == 0:
            assert request.headers["x-grant"] == "yes"
            self.stored["k/film.mp4"] = content
        self.parts[upload_id][number] = content
        return Response(headers={"ETag": f'"{upload_id}-{number}"'})

    async def complete(self, request: Request) -> Response:
        said = await request.json()
        if self.gone:
            self.gone -= 1
            return JSONResponse({"title": "gone"}, 410)
        parts = self.parts[said["upload_id"]]
        assert said["etags"] == [f'"{said["upload_id"]}-{number}"' for number in sorted(parts)]
        self.completed.append(said["etags"])
        self.stored[said["key"]] = b"".join(parts[number] for number in sorted(parts))
        if self.lost_replies:
            self.lost_replies -= 1
            return Response("bad gateway", 502)
        return JSONResponse(ANSWERED)


@contextlib.asynccontextmanager
async def serving(depot):
    async with contextlib.aclosing(await LoopbackServer.start(depot.app())) as server:
        depot.url = f"http://{server.address}"
        async with contextlib.aclosing(Link(depot.url, "w", "key")) as link:
            yield link


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(3 * PART_BYTES + 17))
    return path


async def store(depot, film, for_s=20.0):
    made = MadeFile("film.mp4", str(film), "video/mp4")
    async with serving(depot) as link:
        return await upload(link, 7, "incarnation", made, for_s=for_s)


async def test_a_large_file_goes_in_parts_two_at_a_time(film):
    depot, content = Depot(), film.read_bytes()
    file = await store(depot, film)
    assert depot.stored == {"k/film.mp4": content}
    assert (file.key, file.size_bytes) == ("k/film.mp4", len(content))
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert depot.at_once_max == 2
    assert depot.tries == {1: 1, 2: 1, 3: 1, 4: 1}


async def test_a_part_that_fails_is_tried_again_by_itself(film):
    depot = Depot(failing=Counter({2: 2}), changing=Counter({3: 1}))
    await store(depot, film)
    assert depot.stored["k/film.mp4"] == film.read_bytes()
    assert depot.tries == {1: 1, 2: 3, 3: 2, 4: 1}
    assert (depot.grants, len(depot.completed)) == (1, 1)


async def test_a_connection_that_is_cut_costs_one_part(film):
    depot = Depot(cut=1)
    await store(depot, film)
    assert depot.stored["k/film.mp4"] == film.read_bytes()
    assert depot.tries.total() == 5


async def test_urls_that_hold_no_more_are_asked_for_again(film):
    depot = Depot(spent=1)
    await store(depot, film)
    assert depot.stored["k/film.mp4"] == film.read_bytes()
    assert depot.grants == 2
    assert depot.completed[0][0].startswith('"u2-')


async def test_an_upload_that_is_gone_begins_anew(film):
    depot = Depot(gone=1)
    await store(depot, film)
    assert depot.stored["k/film.mp4"] == film.read_bytes()
    assert depot.grants == 2


async def test_a_lost_reply_to_the_completion_costs_no_part(film):
    depot = Depot(lost_replies=1)
    await store(depot, film)
    assert (depot.grants, len(depot.completed)) == (1, 2)
    assert depot.tries.total() == 4


async def test_a_storage_without_parts_gets_one_put_with_its_digest(film):
    depot = Depot(parted=False, changing=Counter({0: 1}))
    file = await store(depot, film)
    assert depot.stored == {"k/film.mp4": film.read_bytes()}
    assert file.size_bytes == film.stat().st_size
    assert depot.tries == {0: 2}


async def test_a_storage_that_stays_broken_is_the_machines_fault(film):
    depot = Depot(failing=Counter({2: 1000}))
    with pytest.raises(HostFault, match="503") as told:
        await store(depot, film, for_s=1.0)
    assert told.value.code == "upload_failed"
    assert depot.stored == {}


async def test_an_attempt_taken_back_stops_its_parts(film):
    depot = Depot(failing=Counter({1: 1000, 2: 1000}))
    made = MadeFile("film.mp4", str(film), "video/mp4")
    async with serving(depot) as link:
        storing = asyncio.create_task(upload(link, 7, "incarnation", made, for_s=60.0))
        while depot.tries.total() < 3:
            await asyncio.sleep(0.01)
        storing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await storing
        seen = depot.tries.total()
        await asyncio.sleep(0.5)
        assert depot.tries.total() == seen
