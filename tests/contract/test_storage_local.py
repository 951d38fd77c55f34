"""What only the local storage has: a disk."""

import errno

import httpx
import pytest
from storage_worlds import chunks, local_world

from orchestrator.clock import ManualClock
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.protocol import BadKey, StorageFull


@pytest.fixture
async def local(tmp_path):
    async with local_world(tmp_path) as made:
        yield made


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


async def test_only_files_are_stored_and_a_clash_of_keys_is_said(local):
    storage, http = local.storage, local.http
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


async def test_no_browser_runs_what_was_uploaded(local):
    await local.storage.put_stream("page.html", chunks(b"<script>"))
    reply = await local.http.get(
        await local.storage.presign_get("page.html", expires_s=60, filename="x.html")
    )
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in reply.headers["content-security-policy"]
    assert "x.html" in reply.headers["content-disposition"]


async def test_a_url_of_a_stopped_server_is_refused_by_the_system(tmp_path):
    async with local_world(tmp_path) as gone:
        url = await gone.storage.presign_get("a", expires_s=60)
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(url)
