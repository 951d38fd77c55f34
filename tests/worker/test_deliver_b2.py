"""Results to a bucket of B2, over real sockets: what is stored, what is checked, and what the owner is told."""

import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from stopwatch import Stopwatch

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from b2.emulator import B2Emulator
from gpulease.contract.agent import UploadGrant
from worker_image.deliver.b2 import B2Bucket
from worker_image.deliver.content import Content
from worker_image.deliver.delivery import Delivery
from worker_image.deliver.destination import Facts, OutOfReach, in_thread
from worker_image.engines.base import MadeFile, Outcome
from worker_image.faults import HostFault

FACTS = Facts("j-1", "musetalk", "v15", "musetalk", {"GENERATION_TIME_SEC": 20.63})


@pytest.fixture
async def b2() -> AsyncIterator[B2Emulator]:
    async with B2Emulator() as emulator:
        yield emulator


def bucket_of(b2: B2Emulator, key: tuple[str, str] | None = None, bucket: str | None = None) -> B2Bucket:
    key = key or (b2.key_id, b2.app_key)
    return B2Bucket(key, bucket or b2.bucket, prefix="avatar/outputs", realm=b2.url)


def made(tmp_path: Path, content: bytes) -> MadeFile:
    path = tmp_path / "made.mp4"
    path.write_bytes(content)
    return MadeFile("made.mp4", str(path), "video/mp4")


async def content(tmp_path: Path, written: bytes = b"film") -> Content:
    return await Content.of(made(tmp_path, written))


async def test_a_file_and_its_facts(b2: B2Emulator, tmp_path: Path):
    stored = await bucket_of(b2).store(await content(tmp_path), "avatar/outputs/j-1.mp4", FACTS)
    assert (stored.kind, stored.bucket, stored.key) == ("b2", b2.bucket, "avatar/outputs/j-1.mp4")
    assert b2.file("avatar/outputs/j-1.mp4").content_type == "video/mp4"
    said = json.loads(b2.files()["avatar/outputs/j-1.mp4.json"])
    assert (said["sha256"], said["metrics"]) == (hashlib.sha256(b"film").hexdigest(), FACTS.metrics)
    assert b2.calls[-1] == "b2_upload_file"  # The facts come after what they are of.


@pytest.mark.parametrize("written", [b"", b"x", os.urandom(2_500_000)])
async def test_sizes(b2: B2Emulator, tmp_path: Path, written: bytes):
    b2.knobs.part_bytes, b2.knobs.recommended_part_bytes = 500_000, 1_000_000
    await bucket_of(b2).store(await content(tmp_path, written), "f", None)
    assert b2.files() == {"f": written}
    assert ("b2_finish_large_file" in b2.calls) == (len(written) > 1_000_000)


async def test_one_authorization_serves_many_and_is_renewed(b2: B2Emulator, tmp_path: Path):
    bucket, file = bucket_of(b2), await content(tmp_path)
    await asyncio.gather(*[bucket.store(file, f"f-{number}", None) for number in range(4)])
    assert b2.calls.count("b2_authorize_account") == 1
    b2.expire_tokens()
    await bucket.store(file, "later", None)
    assert (len(b2.files()), b2.calls.count("b2_authorize_account")) == (5, 2)


async def test_a_storm_is_waited_out(b2: B2Emulator, tmp_path: Path):
    b2.knobs.busy_uploads, b2.knobs.cut_uploads = 12, 2
    outcome = Outcome(files=(made(tmp_path, b"film"),))
    ((file, stored),) = await Delivery((bucket_of(b2),), patience_s=30).deliver(outcome, FACTS)
    assert (file.size_bytes, stored[0].key) == (4, "avatar/outputs/j-1.mp4")
    assert b2.files()["avatar/outputs/j-1.mp4"] == b"film"


async def test_a_storm_without_end_is_the_hosts_fault(b2: B2Emulator, tmp_path: Path):
    b2.knobs.busy_uploads = 10_000
    outcome = Outcome(files=(made(tmp_path, b"film"),))
    with pytest.raises(OutOfReach, match="503"):
        await Delivery((bucket_of(b2),), patience_s=1).deliver(outcome, FACTS)
    assert b2.files() == {}


@pytest.mark.parametrize(
    ("who", "bucket", "code", "words"),
    [
        ("liar", "talking-avatar", "bucket_refused", "B2_APP_KEY"),
        ("nobody", "talking-avatar", "bucket_refused", "B2_KEY_ID"),
        ("owner", "nowhere", "bucket_missing", "B2_BUCKET_NAME"),
        ("reader", "talking-avatar", "bucket_refused", "talking-avatar"),
        ("guest", "talking-avatar", "bucket_refused", "B2_KEY_ID"),
        ("tenant", "talking-avatar", "bucket_refused", "talking-avatar"),
    ],
)
async def test_what_the_owner_must_mend(b2: B2Emulator, tmp_path: Path, who, bucket, code, words):  # noqa: PLR0917  Its table.
    b2.make_bucket("other")
    some = ["listBuckets", "writeFiles", "listFiles"]
    keys = {
        "owner": (b2.key_id, b2.app_key),
        "liar": (b2.key_id, "wrong"),
        "nobody": ("nobody", "wrong"),
        "reader": b2.make_key(["listBuckets", "listFiles", "readFiles"], b2.bucket),
        "guest": b2.make_key(some, "other"),
        "tenant": b2.make_key(some, b2.bucket, "only/here/"),
    }
    with pytest.raises(HostFault) as fault:
        await bucket_of(b2, keys[who], bucket).store(await content(tmp_path), "f", None)
    assert not isinstance(fault.value, OutOfReach)
    assert fault.value.code == code
    assert words in fault.value.message
    assert b2.files() == {}


@pytest.mark.parametrize("knob", ["storage_full", "transactions_full"])
async def test_caps_are_not_tried_again(b2: B2Emulator, tmp_path: Path, knob: str):
    bucket = bucket_of(b2)
    await bucket.store(await content(tmp_path), "f", None)
    setattr(b2.knobs, knob, True)
    with Stopwatch() as took, pytest.raises(HostFault) as fault:
        await Delivery((bucket,)).deliver(Outcome(files=(made(tmp_path, b"film"),)), FACTS)
    assert (fault.value.code, took.seconds < 5) == ("bucket_full", True)


async def test_whoever_gives_up_is_not_held(b2: B2Emulator, tmp_path: Path):
    bucket = bucket_of(b2)
    await bucket.store(await content(tmp_path), "warm", None)
    b2.knobs.slow_s = 600
    storing = asyncio.create_task(bucket.store(await content(tmp_path), "f", None))
    await asyncio.sleep(0.2)
    storing.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await storing
    assert time.monotonic() - began < 60


async def test_work_that_nobody_waits_for_is_told():
    told = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(given_up) -> None:
        assert given_up.wait(60)
        loop.call_soon_threadsafe(told.set)

    working = asyncio.create_task(in_thread(work))
    await asyncio.sleep(0.05)
    working.cancel()
    async with asyncio.timeout(30):
        await told.wait()


async def test_a_grant_for_the_owners_bucket_is_stored_with_the_owners_key(b2: B2Emulator, tmp_path: Path):
    delivery = Delivery((bucket_of(b2),))
    grant = UploadGrant(
        key="jobs/1/f.mp4", url=f"{b2.s3_url}/x", bucket=b2.bucket, object_name="p/jobs/1/f.mp4"
    )
    await delivery.direct_for(grant)(made(tmp_path, b"film"))
    assert b2.files() == {"p/jobs/1/f.mp4": b"film"}
    for change in ({"bucket": None}, {"bucket": "other"}, {"url": "http://127.0.0.2:1/x"}):
        assert delivery.direct_for(grant.model_copy(update=change)) is None
    assert Delivery().direct_for(grant) is None
