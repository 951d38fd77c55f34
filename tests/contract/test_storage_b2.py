"""What only B2 does: capabilities, caps, versions, tokens for a prefix, and two APIs over one bucket."""

import os
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest
from b2sdk.v3 import B2HttpApiConfig, RawSimulator
from storage_worlds import SIZES, b2_account, b2_world, chunks, dead_url

from orchestrator.storage.b2 import B2Storage
from orchestrator.storage.b2_calls import NEEDED, B2Account, region_of
from orchestrator.storage.protocol import (
    Denied,
    StorageFull,
    StorageMisconfigured,
    StorageUnavailable,
)


@pytest.fixture
async def b2(tmp_path):
    async with b2_world(tmp_path) as made:
        yield made


@asynccontextmanager
async def storage_for(account, folder):
    async with aclosing(B2Storage(account, folder / "other", sizes=SIZES)) as made:
        yield made


async def test_ours_lies_below_its_prefix(b2):
    await b2.storage.put_stream(b2.key("a.txt"), chunks(b"hello"))
    assert b2.emulator.files() == {f"avatar/outputs/{b2.key('a.txt')}": b"hello"}
    assert b2.storage.object_name("x/y") == "avatar/outputs/x/y"
    assert b2.storage.bucket == b2.emulator.bucket


async def test_what_machines_put_by_s3_is_there_for_the_native_api(b2):
    url, headers = await b2.storage.presign_put(
        b2.key("a.mp4"), size_bytes=4, content_type="video/mp4", expires_s=60
    )
    assert url.startswith(b2.emulator.s3_url)
    assert (await b2.http.put(url, content=b"film", headers=headers)).is_success
    assert (await b2.storage.stat(b2.key("a.mp4"))).size_bytes == 4
    reply = await b2.http.get(await b2.storage.presign_get(b2.key("a.mp4"), expires_s=60))
    assert (reply.content, reply.headers["content-type"]) == (b"film", "video/mp4")
    assert reply.url.path.startswith("/file/")


@pytest.mark.parametrize("missing", NEEDED)
async def test_a_key_that_lacks_a_capability_stops_the_start(b2, tmp_path, missing):
    key_id, app_key = b2.emulator.make_key(
        [one for one in NEEDED if one != missing], bucket=b2.emulator.bucket
    )
    account = replace(b2_account(b2.emulator), key_id=key_id, app_key=app_key)
    async with storage_for(account, tmp_path) as storage:
        with pytest.raises(StorageMisconfigured) as told:
            await storage.check()
    assert "capabilit" in str(told.value)
    assert app_key not in str(told.value)


async def test_a_key_for_one_bucket_and_prefix_is_enough(b2, tmp_path):
    key_id, app_key = b2.emulator.make_key(list(NEEDED), bucket=b2.emulator.bucket, prefix="avatar/")
    account = replace(b2_account(b2.emulator), key_id=key_id, app_key=app_key)
    async with storage_for(account, tmp_path) as storage:
        await storage.check()
        await storage.put_stream("jobs/a.txt", chunks(b"hello"))
        reply = await b2.http.get(await storage.presign_get("jobs/a.txt", expires_s=60))
        assert reply.content == b"hello"
        await storage.delete(["jobs/a.txt"])
        assert await storage.stat("jobs/a.txt") is None
    async with storage_for(replace(account, prefix="elsewhere/"), tmp_path) as storage:
        with pytest.raises(StorageMisconfigured, match="B2_PREFIX"):
            await storage.check()
        with pytest.raises(StorageUnavailable):
            await storage.presign_get("jobs/a.txt", expires_s=60)


async def test_a_bucket_that_is_missing_or_anothers_stops_the_start(b2, tmp_path):
    right = b2_account(b2.emulator)
    b2.emulator.make_bucket("another-bucket")
    key_id, app_key = b2.emulator.make_key(list(NEEDED), bucket=b2.emulator.bucket)
    for wrong in (
        replace(right, bucket="never-made"),
        replace(right, bucket="another-bucket", key_id=key_id, app_key=app_key),
    ):
        async with storage_for(wrong, tmp_path) as storage:
            with pytest.raises(StorageMisconfigured, match="B2_BUCKET_NAME"):
                await storage.check()


async def test_a_wrong_key_is_denied_whenever_it_is_used(b2):
    with pytest.raises(Denied):
        await b2.forger.put_stream("jobs/a", chunks(b"x"))
    with pytest.raises(StorageMisconfigured, match="B2_APP_KEY"):
        await b2.forger.check()


async def test_a_full_account_is_said_and_keeps_nothing(b2, tmp_path):
    await b2.storage.check()
    b2.emulator.knobs.storage_full = True
    with pytest.raises(StorageFull):
        await b2.storage.put_stream(b2.key("a.txt"), chunks(b"hello"))
    said = {"size_bytes": 10**8, "content_type": "video/mp4", "expires_s": 60}
    with pytest.raises(StorageFull):
        await b2.storage.start_parts(b2.key("a.mp4"), **said)
    assert b2.emulator.files() == {}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_transaction_cap_is_no_lack_of_ours(b2):
    await b2.storage.check()
    b2.emulator.knobs.transactions_full = True
    with pytest.raises(StorageFull):
        await b2.storage.presign_get(b2.key("a.txt"), expires_s=60)


async def test_uploads_survive_a_busy_server_a_cut_connection_and_an_expired_token(b2):
    await b2.storage.check()
    b2.emulator.knobs.busy_uploads = b2.emulator.knobs.cut_uploads = 1
    b2.emulator.expire_tokens()
    content = os.urandom(200_000)
    await b2.storage.put_stream(b2.key("a.bin"), chunks(content))
    assert list(b2.emulator.files().values()) == [content]


async def test_no_version_outlives_its_deletion(b2):
    for content in (b"one", b"two"):
        await b2.storage.put_stream(b2.key("a.txt"), chunks(content))
    await b2.storage.put_stream(b2.key("a.txt.json"), chunks(b"beside"))
    await b2.storage.delete([b2.key("a.txt")])
    (left,) = b2.emulator.brain.bucket_name_to_bucket[b2.emulator.bucket].file_name_and_id_to_file
    assert left[0].endswith("a.txt.json")


async def test_a_url_is_given_out_again_while_most_of_its_time_is_left(b2):
    urls = {await b2.storage.presign_get(b2.key("a.txt"), expires_s=600) for _ in range(3)}
    other = await b2.storage.presign_get(b2.key("b.txt"), expires_s=600)
    assert len(urls) == 1
    assert other not in urls
    assert b2.emulator.calls.count("b2_get_download_authorization") == 2


async def test_a_download_authorization_opens_no_other_folder(b2):
    for name in ("7/a.txt", "77/a.txt", "7/b.txt"):
        await b2.storage.put_stream(b2.key(name), chunks(b"x"))
    url = await b2.storage.presign_get(b2.key("7/a.txt"), expires_s=60)
    assert (await b2.http.get(url.replace("/7/a.txt", "/77/a.txt"))).status_code == 401
    assert (await b2.http.get(url.replace("/7/a.txt", "/7/b.txt"))).status_code == 401


async def test_what_a_crash_left_in_the_spool_goes_at_the_next_start(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "half").write_bytes(b"half")
    async with storage_for(B2Account("id", "key", "bucket"), tmp_path):
        assert list((tmp_path / "other").iterdir()) == []


async def test_a_storage_that_comes_up_late_is_found(b2, tmp_path):
    account = b2_account(b2.emulator)
    b2.emulator.knobs.transactions_full = True
    async with storage_for(account, tmp_path) as storage:
        with pytest.raises(StorageFull):
            await storage.stat("jobs/a")
        assert storage.origins() == ()
        b2.emulator.knobs.transactions_full = False
        assert await storage.stat("jobs/a") is None
        assert storage.origins() == (b2.emulator.url,)


@pytest.mark.slow
async def test_a_server_that_is_not_there_is_said(tmp_path):
    async with storage_for(B2Account("id", "very-secret", "bucket", realm=dead_url()), tmp_path) as storage:
        with pytest.raises(StorageUnavailable, match="B2") as told:
            await storage.check()
        assert "very-secret" not in str(told.value)


async def test_the_sdks_own_simulator_takes_files_large_and_small(tmp_path):
    """Its parts are of 200 bytes, so that all but the smallest is a large file."""
    config = B2HttpApiConfig(_raw_api_class=RawSimulator)
    storage = B2Storage(
        B2Account("account-0", "masterKey-0", "bkt00000"), tmp_path / "spool", api_config=config
    )
    api = storage._calls._api
    key_id, key = api.session.raw_api.create_account()
    api.authorize_account(key_id, key, realm="production")
    api.create_bucket("bkt00000", "allPrivate")
    for content in (b"small", os.urandom(5000)):
        stored = await storage.put_stream("jobs/a", chunks(content))
        assert stored.size_bytes == (await storage.stat("jobs/a")).size_bytes == len(content)
    await storage.delete(["jobs/a"])
    assert await storage.stat("jobs/a") is None
    await storage.aclose()


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://s3.us-west-004.backblazeb2.com", "us-west-004"),
        ("https://s3.eu-central-003.backblazeb2.com", "eu-central-003"),
        ("http://127.0.0.1:9000", "us-east-1"),
    ],
)
def test_the_region_is_in_the_name_of_the_endpoint(url, region):
    assert region_of(url) == region
