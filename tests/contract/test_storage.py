"""The storage contract, for every implementation, over a real socket."""

import asyncio
import errno
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from orchestrator.api.problems import install
from orchestrator.clock import ManualClock
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.protocol import BadKey, StorageFull
from orchestrator.storage.routes import files_router


async def chunks(*parts):
    for part in parts:
        yield part


@asynccontextmanager
async def served(storage):
    app = FastAPI()
    install(app)
    app.include_router(files_router(storage))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await running


@pytest.fixture
async def place(tmp_path):
    clock, origin = ManualClock(), []
    storage = LocalStorage(tmp_path / "storage", lambda: origin[0], b"secret", clock)
    async with served(storage) as url, httpx.AsyncClient() as http:
        origin.append(url)
        yield storage, clock, http


async def test_what_is_put_can_be_read_until_it_is_deleted(place):
    storage, _, http = place
    stored = await storage.put_stream("a/b.txt", chunks(b"hel", b"lo"))
    assert stored.size_bytes == 5
    assert (await storage.stat("a/b.txt")).size_bytes == 5
    url = await storage.presign_get("a/b.txt", expires_s=60, filename="hello.txt")
    reply = await http.get(url)
    assert (reply.content, reply.headers["x-content-type-options"]) == (b"hello", "nosniff")
    assert "hello.txt" in reply.headers["content-disposition"]
    assert (await http.get(url, headers={"Range": "bytes=1-2"})).content == b"el"
    await storage.delete(["a/b.txt", "never/was"])
    assert await storage.stat("a/b.txt") is None
    assert (await http.get(url)).status_code == 404


async def test_a_put_url_takes_what_it_says_and_no_more(place):
    storage, _, http = place
    url, headers = await storage.presign_put("x/y.bin", size_bytes=4, content_type="text/plain", expires_s=60)
    assert (await http.put(url, content=b"12345", headers=headers)).status_code == 413
    assert await storage.stat("x/y.bin") is None
    assert (await http.put(url, content=b"1234", headers=headers)).status_code == 204
    assert (await storage.stat("x/y.bin")).size_bytes == 4


async def test_urls_expire_and_hold_for_one_method_and_key(place):
    storage, clock, http = place
    await storage.put_stream("a.txt", chunks(b"a"))
    await storage.put_stream("b.txt", chunks(b"b"))
    url = await storage.presign_get("a.txt", expires_s=60)
    assert (await http.put(url, content=b"z")).status_code == 403
    assert (await http.get(url.replace("a.txt", "b.txt"))).status_code == 403
    parts = urlsplit(url)
    later = dict(parse_qsl(parts.query)) | {"expires": "9999999999"}
    assert (await http.get(parts._replace(query=urlencode(later)).geturl())).status_code == 403
    clock.advance(61)
    assert (await http.get(url)).status_code == 403


@pytest.mark.parametrize("key", ["../a", "/a", "a/../b", "a//b", "", "a\x00b", ".hidden", "a" * 600, "a/.."])
async def test_no_key_leads_out_of_the_folder(place, key):
    storage, _, _ = place
    with pytest.raises(BadKey):
        await storage.put_stream(key, chunks(b"x"))


async def test_a_full_disk_keeps_nothing(tmp_path):
    class Full:
        """A file on a disk with three bytes left."""

        def __init__(self, path):
            self.file, self.left = path.open("xb"), 3

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    storage = LocalStorage(tmp_path, lambda: "http://here", b"secret", ManualClock(), opener=Full)
    with pytest.raises(StorageFull):
        await storage.put_stream("a.txt", chunks(b"12", b"34"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_broken_upload_keeps_nothing(place, tmp_path):
    storage, _, _ = place

    async def breaking():
        yield b"some"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await storage.put_stream("a.txt", breaking())
    assert await storage.stat("a.txt") is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_only_files_are_stored_and_a_clash_of_keys_is_said(place):
    storage, _, http = place
    await storage.put_stream("a/b.txt", chunks(b"x"))
    for key in ("a", "a/b.txt/c", "../a", "n" * 300):
        assert await storage.stat(key) is None
        with pytest.raises(BadKey):
            await storage.put_stream(key, chunks(b"y"))
    assert (await http.get(await storage.presign_get("a", expires_s=60))).status_code == 404


async def test_halves_that_a_crash_left_go_at_the_next_start(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "half").write_bytes(b"half")
    storage = LocalStorage(tmp_path, lambda: "http://here", b"secret", ManualClock())
    await storage.put_stream("a.txt", chunks(b"whole"))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.txt"]
