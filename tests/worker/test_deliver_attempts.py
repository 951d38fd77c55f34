"""An orchestrator's attempt on a machine whose owner has keys of the bucket: it is stored with them, and only there."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from agent_orchestrator import Emulator
from conftest import Start, until

from b2.emulator import B2Emulator

pytestmark = pytest.mark.slow

COPY = {"program": "copy", "arguments": {"words": "!"}}


def settings(b2: B2Emulator, **more: str) -> dict[str, str]:
    own = {"B2_KEY_ID": b2.key_id, "B2_APP_KEY": b2.app_key, "B2_BUCKET_NAME": b2.bucket}
    return {**own, "GPULEASE_B2_REALM": b2.url, **more}


@pytest.mark.parametrize("theirs", ["talking-avatar", "somebody-elses", None])
async def test_where_a_result_goes(world: Emulator, start: Start, theirs: str | None):
    world.bucket = theirs
    async with B2Emulator("talking-avatar") as b2:
        start(**settings(b2))
        attempt = world.give("command", COPY, file=b"a film")
        await until(lambda: attempt in world.finished)
        (file,) = world.finished[attempt]["result"]["files"]
        assert file["key"] == f"{attempt}/{file['name']}"
        if theirs == b2.bucket:
            assert (list(b2.files()), world.stored) == ([f"ours/{file['key']}"], {})
            assert len(b2.files()[f"ours/{file['key']}"]) == file["size_bytes"]
        else:
            assert (b2.files(), list(world.stored)) == ({}, [file["key"]])


async def test_a_bucket_that_refuses_its_owner_is_the_hosts_fault(world: Emulator, start: Start):
    async with B2Emulator("talking-avatar") as b2:
        world.bucket = b2.bucket
        start(**settings(b2, B2_APP_KEY="wrong"))
        attempt = world.give("command", COPY, file=b"a film")
        await until(lambda: attempt in world.finished)
        fault = world.finished[attempt]["fault"]
        assert (fault["kind"], fault["code"]) == ("host", "bucket_refused")
        assert "B2_APP_KEY" in fault["message"]
