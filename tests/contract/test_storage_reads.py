"""Files read as streams, from every storage: whole, in bounded pieces, and what happens when that breaks."""

import os
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest
from rough_server import rough_server
from storage_worlds import b2_account, b2_world, chunks, world_of

from orchestrator.storage.b2 import B2Storage
from orchestrator.storage.protocol import CHUNK_BYTES, NotStored, StorageUnavailable
from orchestrator.storage.s3 import S3Storage
from orchestrator.storage.s3_calls import S3Account


@pytest.fixture(params=["local", "s3", "b2"])
async def world(request, tmp_path):
    async with world_of(request.param, request, tmp_path) as made:
        yield made


async def pieces_of(storage, key):
    async with aclosing(storage.read_stream(key)) as pieces:
        return [piece async for piece in pieces]


@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES, 2 * CHUNK_BYTES + 7])
async def test_a_file_is_read_whole_and_in_bounded_pieces(world, size):
    content = os.urandom(size)
    await world.storage.put_stream(world.key("big.bin"), chunks(content))
    pieces = await pieces_of(world.storage, world.key("big.bin"))
    assert b"".join(pieces) == content
    assert all(0 < len(piece) <= CHUNK_BYTES for piece in pieces)


async def test_what_is_not_there_is_said_before_the_first_byte(world):
    await world.storage.put_stream(world.key("folder/a.txt"), chunks(b"a"))
    for key in (world.key("never-was.bin"), world.key("folder"), "../a", "", "a" * 600):
        with pytest.raises(NotStored):
            await pieces_of(world.storage, key)


async def test_a_read_may_be_given_up_in_the_middle_and_begun_again(world):
    content = os.urandom(3 * CHUNK_BYTES)
    await world.storage.put_stream(world.key("big.bin"), chunks(content))
    for _ in range(20):
        async with aclosing(world.storage.read_stream(world.key("big.bin"))) as pieces:
            assert content.startswith(await anext(pieces))
    assert b"".join(await pieces_of(world.storage, world.key("big.bin"))) == content


async def test_a_wrong_key_reads_nothing(world):
    if world.kind == "local":
        return
    await world.storage.put_stream(world.key("a.txt"), chunks(b"a"))
    with pytest.raises(StorageUnavailable):
        await pieces_of(world.forger, world.key("a.txt"))


@asynccontextmanager
async def cutting_storage(kind, tmp_path):
    """One whose server ends in the middle of a file."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {3 * CHUNK_BYTES}\r\nConnection: close\r\n\r\n".encode()
    async with rough_server() as rough:
        rough.will(head + bytes(CHUNK_BYTES + 5))
        if kind == "s3":
            async with aclosing(S3Storage(S3Account(rough.url, rough.url, "results", "key", "secret"))) as s3:
                yield s3
            return
        async with b2_world(tmp_path) as b2:
            account = replace(b2_account(b2.emulator), s3_url=rough.url)
            async with aclosing(B2Storage(account, tmp_path / "cut")) as storage:
                yield storage


@pytest.mark.parametrize("kind", ["s3", "b2"])
async def test_a_server_that_ends_in_the_middle_is_no_end_of_the_file(kind, tmp_path):
    got: list[bytes] = []

    async def read(storage):
        async for piece in storage.read_stream("jobs/a.bin"):
            got.append(piece)  # noqa: PERF401  What came before the cut is what counts.

    async with cutting_storage(kind, tmp_path) as storage:
        with pytest.raises(StorageUnavailable):
            await read(storage)
    assert CHUNK_BYTES <= len(b"".join(got)) <= CHUNK_BYTES + 5


async def test_a_disk_that_cannot_be_read_is_out_of_reach(request, tmp_path):
    async with world_of("local", request, tmp_path) as world:
        await world.storage.put_stream(world.key("a.bin"), chunks(b"a"))
        path = world.storage.path(world.key("a.bin"))
        path.unlink()
        # Its first page is never mapped, so that the system answers a read of it with an I/O error.
        path.symlink_to("/proc/self/mem")
        with pytest.raises(StorageUnavailable):
            await pieces_of(world.storage, world.key("a.bin"))
