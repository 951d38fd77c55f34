"""Uploads: sent whole, or in parts and stored later."""

from dataclasses import replace

import pytest
import store_world
from store_world import BY, audit_of

from orchestrator.store import people
from orchestrator.store.errors import Duplicate

store = store_world.store
SENDING = people.Upload(
    "u1", "ann", "a.blend", "up/u1", 0, "", "application/x-blender", 1.0, 100.0, parts_id="m1"
)


async def test_an_upload_is_kept_once(store):
    whole = replace(SENDING, size_bytes=5, sha256="00", stored_at=1.0, parts_id=None)
    await store.add_upload(whole)
    assert await store.get_upload("u1") == whole
    assert await store.get_upload("nope") is None
    with pytest.raises(Duplicate):
        await store.add_upload(whole, by=BY)
    assert await audit_of(store) == []


async def test_an_upload_in_parts_is_stored_once(store):
    await store.add_upload(SENDING, by=BY)
    assert (await store.get_upload("u1")).stored_at is None
    stored = await store.finish_upload("u1", size_bytes=7, sha256="ab", now=9.0, by=BY)
    assert stored == replace(SENDING, size_bytes=7, sha256="ab", stored_at=9.0, parts_id=None)
    assert await store.finish_upload("u1", size_bytes=8, sha256="cd", now=10.0, by=BY) == stored
    assert await store.get_upload("u1") == stored
    assert await store.finish_upload("nope", size_bytes=1, sha256="", now=9.0, by=BY) is None
    assert [one.what for one in await audit_of(store)] == ["upload.add", "upload.finish"]


async def test_uploads_are_listed_newest_first(store):
    made = [
        replace(SENDING, id=f"u{number}", owner="ann" if number % 2 else "bob", created_at=float(number // 2))
        for number in range(6)
    ]
    for upload in made:
        await store.add_upload(upload)
    newest = sorted(made, key=lambda one: (one.created_at, one.id), reverse=True)
    assert await store.list_uploads(None, before=None, limit=9) == newest
    page = await store.list_uploads(None, before=None, limit=4)
    last = (page[-1].created_at, page[-1].id)
    assert await store.list_uploads(None, before=last, limit=4) == newest[4:]
    assert [one.id for one in await store.list_uploads("ann", before=(2.0, "u5"), limit=9)] == ["u3", "u1"]


async def test_an_upload_is_removed_once(store):
    await store.add_upload(SENDING)
    assert await store.remove_upload("u1", by=BY, now=5.0) == SENDING
    assert await store.remove_upload("u1", by=BY, now=6.0) is None
    assert await store.get_upload("u1") is None
    [row] = await audit_of(store)
    assert (row.what, row.target, row.before["key"], row.after) == ("upload.remove", "u1", "up/u1", None)


async def test_what_was_never_stored_expires_too(store):
    await store.add_upload(SENDING)
    await store.add_upload(replace(SENDING, id="u2", key="up/u2", stored_at=2.0))
    assert (await store.purge(finished_before=0.0, now=99.0)).keys == ()
    assert set((await store.purge(finished_before=0.0, now=100.0)).keys) == {"up/u1", "up/u2"}
    assert await store.list_uploads(None, before=None, limit=9) == []
