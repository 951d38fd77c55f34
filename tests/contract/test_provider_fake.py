"""The cloud in memory, by itself: what it bills, loses, ends and exchanges, in any time that it is given."""

import asyncio
import heapq

import pytest

from provider_clients.base import Exchanges, Extends, LaunchSpec, Probes, Protects, Receipt
from provider_clients.errors import NoCapacity, NotFound, OutcomeUnknown, ProviderError
from provider_clients.fake import FakeCloud, Fault
from scaling.snapshot import Offer

SPEC = LaunchSpec("w-1", "cpu", "http://127.0.0.1:1", "a-key")


class Time:
    """Virtual seconds, and what is due in them."""

    def __init__(self):
        self.now = 0.0
        self._due = []

    def __call__(self):
        return self.now

    def later(self, delay_s, act):
        heapq.heappush(self._due, (self.now + delay_s, len(self._due), act))

    def go(self, seconds):
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            self.now, _, act = heapq.heappop(self._due)
            act()
        self.now = until


@pytest.fixture
def time():
    return Time()


def fake(time, **changes):
    offer = Offer("fake", "cpu", 3.6, (), **changes.pop("offer", {}))
    return FakeCloud(offered=(offer,), clock=time, later=time.later, **changes)


async def test_it_loses_a_reply_and_bills_all_the_same(time):
    cloud = fake(time)
    cloud.faults.append(Fault.lost_reply())
    with pytest.raises(OutcomeUnknown):
        await cloud.create(SPEC, "gpl-w-1")
    time.go(1000.0)
    (instance,) = await cloud.list()
    assert instance.tag == "gpl-w-1"
    assert cloud.billed_usd() == pytest.approx(1.0)


async def test_it_refuses_without_making(time):
    cloud = fake(time)
    cloud.faults += [Fault.no_capacity(), Fault.lost_request(), Fault("list", ProviderError("HTTP 502"))]
    with pytest.raises(NoCapacity):
        await cloud.create(SPEC, "gpl-w-1")
    with pytest.raises(OutcomeUnknown):
        await cloud.create(SPEC, "gpl-w-1")
    with pytest.raises(ProviderError):
        await cloud.list()
    assert await cloud.list() == ()


async def test_it_boots_and_tells_on_the_running_loop():
    booted = []
    cloud = FakeCloud(boot_s=0.01, on_boot=lambda spec: booted.append(spec.worker_id))
    await cloud.create(SPEC, "gpl-w-1")
    await asyncio.sleep(0.05)
    assert booted == ["w-1"]


async def test_it_boots_and_tells_in_a_time_that_it_is_given(time):
    booted = []
    cloud = fake(time, boot_s=60.0, on_boot=lambda _: booted.append(time()))
    made = await cloud.create(SPEC, "gpl-w-1")
    time.go(59.0)
    assert not await cloud.probe(made)
    time.go(1.0)
    assert await cloud.probe(made)
    cloud.machines[made.id].unwell = True
    assert not await cloud.probe(made)
    assert booted == [60.0]


@pytest.mark.parametrize("tagged", [True, False])
async def test_it_says_so_when_create_is_repeated(time, tagged):
    cloud = fake(time, tagged=tagged)
    await cloud.create(SPEC, "gpl-w-1")
    with pytest.raises(AssertionError):
        await cloud.create(SPEC, "gpl-w-1")


async def test_without_tags_only_times_tell_machines_apart(time):
    cloud = fake(time, tagged=False)
    for at in range(2):
        await cloud.create(SPEC, f"gpl-w-{at}")
        time.go(10.0)
    assert [(one.tag, one.created_at) for one in await cloud.list()] == [("", 0.0), ("", 10.0)]


async def test_its_list_lags(time):
    cloud = fake(time, list_lag_s=5.0)
    made = await cloud.create(SPEC, "gpl-w-1")
    assert await cloud.list() == ()
    assert (await cloud.get(made.id)).id == made.id
    time.go(5.0)
    assert len(await cloud.list()) == 1


@pytest.mark.parametrize(
    ("billing", "ran_s", "receipt"),
    [
        ({}, 90.0, Receipt(0.0, 90.0, 90.0)),
        ({}, 90.2, Receipt(0.0, 90.2, 91.0)),
        ({"granularity_s": 60.0}, 90.0, Receipt(0.0, 90.0, 120.0)),
        ({"granularity_s": 60.0, "min_billed_s": 600.0}, 90.0, Receipt(0.0, 90.0, 600.0)),
        ({"boot_billed": False}, 90.0, Receipt(30.0, 90.0, 60.0)),
        ({"boot_billed": False}, 20.0, Receipt(20.0, 20.0, 0.0)),
    ],
)
async def test_it_bills_as_its_offer_says(time, billing, ran_s, receipt):
    cloud = fake(time, boot_s=30.0, offer=billing)
    made = await cloud.create(SPEC, "gpl-w-1")
    time.go(ran_s)
    assert await cloud.delete(made.id) == receipt
    time.go(1000.0)
    assert cloud.billed_usd() == pytest.approx(receipt.billed_s * 3.6 / 3600)


async def test_a_lease_ends_by_itself(time):
    ended = []
    cloud = fake(time, lease_s=100.0, on_end=lambda _: ended.append(time()))
    made = await cloud.create(SPEC, "gpl-w-1")
    assert made.lease_ends_at == 100.0
    time.go(99.0)
    assert len(await cloud.list()) == 1
    time.go(500.0)
    assert ended == [100.0]
    assert await cloud.list() == ()
    with pytest.raises(NotFound):
        await cloud.delete(made.id)
    assert cloud.billed_usd() == pytest.approx(0.1)


async def test_a_lease_that_is_extended_ends_later(time):
    cloud = fake(time, lease_s=100.0)
    made = await cloud.create(SPEC, "gpl-w-1")
    time.go(90.0)
    assert (await cloud.extend(made.id, 50.0)).lease_ends_at == 140.0
    time.go(49.0)
    assert len(await cloud.list()) == 1
    time.go(1.0)
    assert await cloud.list() == ()


async def test_an_exchange_moves_it_to_the_next_host_and_boots_again(time):
    booted, ended = [], []
    cloud = fake(
        time,
        boot_s=10.0,
        hosts=("h-1", "h-2"),
        on_boot=lambda _: booted.append(time()),
        on_end=lambda _: ended.append(time()),
    )
    made = await cloud.create(SPEC, "gpl-w-1")
    time.go(5.0)
    cloud.trouble(made.id, "its download is slow")
    assert (await cloud.get(made.id)).trouble == "its download is slow"
    await cloud.exchange(made.id, "its download is slow")
    moved = await cloud.get(made.id)
    assert (made.host_id, moved.host_id, moved.trouble) == ("h-1", "h-2", None)
    time.go(30.0)
    assert (booted, ended) == ([15.0], [5.0])


async def test_it_can_do_all_that_providers_do_beside_and_fails_at_it_too(time):
    cloud = fake(time)
    made = await cloud.create(SPEC, "gpl-w-1")
    assert isinstance(cloud, Probes)
    assert isinstance(cloud, Protects)
    assert isinstance(cloud, Exchanges)
    assert isinstance(cloud, Extends)
    await cloud.protect(made.id, busy=True)
    assert cloud.machines[made.id].busy
    calls = {
        "probe": lambda: cloud.probe(made),
        "protect": lambda: cloud.protect(made.id, busy=False),
        "exchange": lambda: cloud.exchange(made.id, ""),
        "extend": lambda: cloud.extend(made.id, 1.0),
        "check": cloud.check,
        "delete": lambda: cloud.delete(made.id),
    }
    for verb, call in calls.items():
        cloud.faults.append(Fault(verb, OutcomeUnknown("HTTP 502")))
        with pytest.raises(OutcomeUnknown):
            await call()
    assert cloud.calls[-6:] == list(calls)
    assert cloud.live()


async def test_a_machine_that_dies_is_gone_and_billed_until_then(time):
    ended = []
    cloud = fake(time, on_end=lambda spec: ended.append(spec.worker_id))
    made = await cloud.create(SPEC, "gpl-w-1")
    time.go(100.0)
    cloud.lose(made.id)
    cloud.lose(made.id)
    time.go(100.0)
    assert await cloud.list() == ()
    assert ended == ["w-1"]
    assert cloud.billed_usd() == pytest.approx(0.1)
