"""The queues that a worker serves: from its environment or its command line, and told when it registers."""

from pathlib import Path

import pytest
from agent_orchestrator import KEY, Emulator
from conftest import until
from test_worker_owner import owned

from worker_image.settings import SettingsError, load


def test_queues_are_a_comma_list_and_none_means_all(monkeypatch):
    monkeypatch.delenv("GPULEASE_WORKER_QUEUES", raising=False)
    assert load().queues == ()
    monkeypatch.setenv("GPULEASE_WORKER_QUEUES", "short-low, night")
    assert load().queues == ("short-low", "night")
    assert load(queues="long-high").queues == ("long-high",)


@pytest.mark.parametrize("queues", ["Long High", "fine,../etc", ",".join(["q"] * 65)])
def test_what_cannot_name_a_queue_stops_the_start(queues):
    with pytest.raises(SettingsError, match="queues"):
        load(queues=queues)


async def test_a_worker_tells_its_queues_when_it_registers(world: Emulator, tmp_path: Path):
    async with owned(world, tmp_path, "--key", KEY, "--queues", "long-high,night"):
        await until(lambda: bool(world.registered))
        assert world.registered[0]["queues"] == ["long-high", "night"]
