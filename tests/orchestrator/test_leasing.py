"""Leases against a cloud in memory: adopted, kept well, let go, paid for."""

import asyncio

import pytest

from gpulease.contract.agent import EngineOffer, RegisterRequest
from orchestrator.app import Address, build
from orchestrator.clock import ManualClock
from orchestrator.fleet.costs import lease_usd
from orchestrator.fleet.hosts import BAD_SCORE
from orchestrator.settings import Settings
from orchestrator.store.memory import MemoryStore
from orchestrator.store.rows import NewJob, Registration, WorkerMove
from provider_clients.base import LaunchSpec
from provider_clients.errors import NoCapacity, OutcomeUnknown
from provider_clients.fake import FakeCloud, Fault
from scaling.snapshot import Capability, Need, Offer
from scaling.states import WorkerState as W

CSM = Capability("csm", "fake")
NEED = Need("csm")
PERIOD_S = 15.0


class Scene:
    """An orchestrator whose loops the test turns by hand, and a cloud, on one clock."""

    def __init__(self, orchestrator, cloud, clock):
        self.parts, self.cloud, self.clock = orchestrator.parts, cloud, clock
        self.store = orchestrator.parts.store

    async def turn(self, seconds=0.0):
        self.clock.advance(seconds)
        await self.parts.inventory.sweep()
        await self.parts.upkeep.look()
        await self.parts.reconciler.step()
        for _ in range(20):  # Calls to the cloud run beside the loop.
            await asyncio.sleep(0)

    async def turns(self, count, seconds=PERIOD_S):
        for _ in range(count):
            await self.turn(seconds)

    async def submit(self, name="j1", need=NEED):
        now = self.clock.now()
        await self.store.submit_jobs([NewJob(name, need, {}, now, now + 9e6, 1200.0)])

    async def workers(self, **which):
        return await self.store.list_workers(include_gone=True, limit=99, **which)

    async def only(self):
        [worker] = await self.workers()
        return worker

    async def registers(self, worker):
        said = Registration("incarnation", (CSM,), worker.gpu_class, 0.0, 1)
        assert await self.store.register_worker(worker.id, said, now=self.clock.now())

    async def leased(self):
        """One ready worker, which a job asked for."""
        await self.submit()
        await self.turns(3, 0.0)
        worker = await self.only()
        await self.registers(worker)
        return await self.only()

    def instance(self):
        [machine] = self.cloud.live()
        return machine.instance.id

    async def ledger_usd(self):
        now = self.clock.now()
        return sum(lease_usd(one, now) for one in await self.store.list_leases(since=0.0))


async def scene(folder, **cloud):
    clock = ManualClock(1_800_000_000.0)
    offered = cloud.pop("offered", None) or (cloud.pop("offer", Offer("fake", "a10", 1.0, (CSM,))),)
    made = FakeCloud(offered=offered, clock=clock.now, boot_s=1e9, later=lambda *_: None, **cloud)
    at_once = {"policy_name": "fixed", "policy_launch_delay_s_min": 0.0, "policy_launch_delay_s_max": 0.0}
    settings = Settings(data=folder, providers=(), health_period_s=PERIOD_S, _env_file=None, **at_once)
    orchestrator = await build(settings, Address(settings, 80), MemoryStore(), clock, {"fake": made})
    await orchestrator.parts.market.refresh()
    return Scene(orchestrator, made, clock)


@pytest.fixture(params=[True, False], ids=["tagged", "untagged"])
def tagged(request):
    return request.param


async def test_what_a_lost_reply_made_is_adopted_and_nothing_is_bought_again(tmp_path, tagged):
    world = await scene(tmp_path, tagged=tagged)
    world.cloud.faults.append(Fault.lost_reply())
    await world.submit()
    await world.turns(4)
    worker = await world.only()
    assert (worker.state, worker.instance_id) == (W.STARTING, world.instance())
    assert world.cloud.calls.count("create") == 1


async def test_a_lost_request_is_given_up_after_its_grace_and_costs_nothing(tmp_path, tagged):
    world = await scene(tmp_path, tagged=tagged)
    world.cloud.faults.append(Fault.lost_request())
    await world.submit()
    await world.turns(9)
    states = sorted(one.state for one in await world.workers())
    assert states == [W.GONE, W.STARTING]
    [lease] = await world.store.list_leases(since=0.0)
    assert lease.instance_id == world.instance()


async def test_what_was_just_bought_is_not_offered_any_more(tmp_path):
    """The provider said how many it has before we took one; asked again, it says so itself."""
    world = await scene(tmp_path, offer=Offer("fake", "a10", 1.0, (CSM,), count_max=1))
    await world.submit("j1")
    await world.submit("j2")
    await world.turns(3, 0.0)
    assert world.cloud.calls.count("create") == 1
    await world.parts.market.refresh()
    await world.turns(3, 0.0)
    assert world.cloud.calls.count("create") == 2


async def test_a_stranger_is_shown_and_never_touched(tmp_path, tagged):
    world = await scene(tmp_path, tagged=tagged)
    other = await world.cloud.create(stranger(), "somebody-else")
    await world.turns(20)
    assert world.parts.inventory.strangers == {"fake": (other.id,)}
    assert "delete" not in world.cloud.calls


def stranger():
    return LaunchSpec("x", "a10", "http://127.0.0.1:1", "key")


async def test_an_orphan_is_deleted_after_its_grace_and_is_in_the_ledger(tmp_path):
    world = await scene(tmp_path)
    tag = world.parts.applier.leases.deployment.tag("w-forgotten")
    await world.cloud.create(stranger(), tag)
    await world.turns(3)
    assert len(world.cloud.live()) == 1
    await world.turns(4)
    assert world.cloud.live() == ()
    [lease] = await world.store.list_leases(since=0.0)
    assert lease.worker_id.startswith("orphan-")
    assert await world.ledger_usd() == pytest.approx(world.cloud.billed_usd())


async def test_an_orphan_whose_last_answer_is_lost_is_in_the_ledger_all_the_same(tmp_path):
    """Also where the process dies there: the open lease in the store is what is gone on from."""
    world = await scene(tmp_path)
    tag = world.parts.applier.leases.deployment.tag("w-forgotten")
    await world.cloud.create(stranger(), tag)
    world.cloud.faults.append(Fault("delete", OutcomeUnknown("cut off"), after=True))
    await world.turns(6)
    assert world.cloud.live() == ()
    await world.turns(1)
    [lease] = await world.store.list_leases(since=0.0)
    assert lease.ended_at is not None
    looks_usd = 2 * PERIOD_S / 3600
    assert world.cloud.billed_usd() <= await world.ledger_usd() <= world.cloud.billed_usd() + looks_usd


async def test_the_ledger_is_the_providers_own_bill(tmp_path, tagged):
    world = await scene(tmp_path, tagged=tagged, offer=Offer("fake", "a10", 1.0, (CSM,), granularity_s=60.0))
    worker = await world.leased()
    await world.store.cancel_job("j1", who="test", reason="a test", now=world.clock.now())
    world.clock.advance(100.0)
    await world.parts.applier.stop(worker.id, "a test")
    world.clock.advance(0.5)
    await world.turns(3, 1.0)
    assert (await world.only()).state is W.GONE
    assert await world.ledger_usd() == pytest.approx(world.cloud.billed_usd())
    [lease] = await world.store.list_leases(since=0.0)
    assert lease.billed_s == 120.0


async def test_an_error_of_the_list_is_no_evidence(tmp_path, tagged):
    world = await scene(tmp_path, tagged=tagged)
    worker = await world.leased()
    world.cloud.faults.extend(Fault("list", OutcomeUnknown("a page")) for _ in range(9))
    await world.parts.inventory.sweep()
    for _ in range(8):
        world.clock.advance(PERIOD_S)
        await world.parts.inventory.sweep()
    assert (await world.store.get_worker(worker.id)).state is W.READY
    assert "a page" in world.parts.inventory.faults["fake"]


async def test_an_instance_that_vanished_is_stopped_at_the_second_look(tmp_path, tagged):
    world = await scene(tmp_path, tagged=tagged)
    await world.leased()
    world.cloud.lose(world.instance())
    await world.parts.inventory.sweep()
    assert (await world.only()).state is W.READY
    world.clock.advance(PERIOD_S)
    await world.parts.inventory.sweep()
    assert (await world.only()).state in (W.STOPPING, W.GONE)


async def test_delete_is_repeated_until_the_provider_says_not_found(tmp_path):
    world = await scene(tmp_path)
    worker = await world.leased()
    world.cloud.faults.extend(Fault("delete", OutcomeUnknown("502")) for _ in range(2))
    await world.parts.applier.stop(worker.id, "a test")
    async with asyncio.timeout(10):
        while (await world.only()).state is not W.GONE:
            await asyncio.sleep(0.05)
    assert world.cloud.calls.count("delete") >= 3
    assert world.cloud.live() == ()


async def test_three_failed_probes_end_a_machine_whose_agent_is_elsewhere(tmp_path):
    world = await scene(tmp_path, hosted=True)
    worker = await world.leased()
    world.cloud.machines[world.instance()].unwell = True
    await world.turns(2)
    assert (await world.store.get_worker(worker.id)).probe_failures == 2
    await world.registers(worker)  # Its agent is well; the machine is not.
    await world.turns(2, 1.0)
    ended = await world.store.get_worker(worker.id)
    assert ended.state in (W.STOPPING, W.GONE)


async def test_a_host_that_failed_before_is_exchanged_before_it_costs_anything(tmp_path):
    world = await scene(tmp_path, hosts=["bad", "good"])
    await world.submit()
    await world.turns(2, 0.0)
    worker = await world.only()
    for number in range(2):
        await world.parts.agents.hosts.blame(worker, f"fault {number}")
    assert (await world.parts.agents.hosts.scores())["fake", "bad"] > BAD_SCORE
    await world.turn(1.0)
    assert world.cloud.calls.count("exchange") == 1
    await world.turn(1.0)
    assert (await world.only()).host_id == "good"
    assert world.cloud.calls.count("exchange") == 1


async def test_the_faults_of_a_host_are_forgiven(tmp_path):
    world = await scene(tmp_path, hosts=["bad"])
    worker = await world.leased()
    await world.parts.agents.hosts.blame(worker, "died")
    world.clock.advance(6 * 3600.0)
    assert (await world.parts.agents.hosts.scores())["fake", "bad"] == pytest.approx(0.5)


async def test_a_busy_machine_is_protected_and_an_idle_one_is_not(tmp_path):
    world = await scene(tmp_path)
    worker = await world.leased()
    await world.store.claim_job(worker.id, "incarnation", "nonce-1", resident=(), now=world.clock.now())
    await world.turn(1.0)
    machine = world.cloud.machines[world.instance()]
    assert machine.busy
    await world.turn(1.0)
    assert world.cloud.calls.count("protect") == 1


async def test_a_busy_machine_near_the_end_of_its_lease_gets_a_longer_one(tmp_path):
    world = await scene(tmp_path, lease_s=2000.0, offer=Offer("fake", "a10", 1.0, (CSM,), lease_s_max=2000.0))
    worker = await world.leased()
    await world.store.claim_job(worker.id, "incarnation", "nonce-1", resident=(), now=world.clock.now())
    world.clock.advance(1500.0)
    await world.parts.upkeep.look()
    ends_at = (await world.only()).lease_ends_at
    assert ends_at == pytest.approx(world.clock.now() + 3600.0)


async def test_a_refused_launch_cools_the_offer_and_leaves_no_lease(tmp_path):
    world = await scene(tmp_path)
    world.cloud.faults.append(Fault("create", NoCapacity("sold out")))
    await world.submit()
    await world.turns(3, 0.0)
    assert (await world.only()).state is W.GONE
    assert await world.store.list_leases(since=0.0) == []
    [blocked] = world.parts.reconciler.last.plan.blocked
    assert blocked.code == "cooling"
    await world.turns(4, 61.0)
    assert [one.state for one in await world.workers()].count(W.STARTING) == 1


async def test_of_two_tiers_the_other_is_leased_at_its_own_price_while_one_is_sold_out(tmp_path):
    spot = Offer("fake", "a10", 0.3, (CSM,), life_mean_s=36_000.0)
    world = await scene(tmp_path, offered=(spot, Offer("fake", "a10", 1.0, (CSM,))))
    await world.submit("j1")
    world.cloud.faults.append(Fault("create", NoCapacity("sold out")))
    await world.turns(5, 0.0)
    await world.submit("j2")
    await world.turns(4, 200.0)
    dear, cheap = sorted(world.cloud.live(), key=lambda one: -one.offer.usd_per_hour)
    assert (dear.spec.usd_per_hour, dear.offer.usd_per_hour) == (1.0, 1.0)
    assert (cheap.spec.usd_per_hour, cheap.offer) == (0.3, spot)


async def test_an_offer_that_promises_more_than_its_machines_keep_is_bought_once(tmp_path):
    whisper = Capability("whisper", "fake", ("base",))
    world = await scene(tmp_path, offer=Offer("fake", "a10", 1.0, (CSM, whisper)))
    await world.submit("j1", Need("whisper", "base"))
    await world.turns(3, 0.0)
    worker = await world.only()
    agents = world.parts.agents
    said = RegisterRequest(incarnation="incarnation", engines=(EngineOffer(engine="csm", backend="fake"),))
    await agents.register(worker, said)
    await world.turns(6, 1.0)
    assert len(await world.workers()) == 1
    [blocked] = world.parts.reconciler.last.plan.blocked
    assert blocked.need.engine == "whisper"
    world.clock.advance(3601.0)
    await world.turns(2, 0.0)
    assert len(await world.workers()) == 2


async def test_purchases_without_tags_are_made_one_after_the_other(tmp_path):
    world = await scene(tmp_path, tagged=False)
    for number in range(4):
        await world.submit(f"j{number}")
    await world.parts.reconciler.step()
    await world.parts.reconciler.step()
    states = [one.state for one in await world.workers()]
    assert states.count(W.CREATING) <= 1
    await world.turns(8, 0.0)
    ids = [one.instance_id for one in await world.workers()]
    assert len(ids) == len(set(ids)) == len(world.cloud.live())


async def test_a_row_that_was_creating_at_a_crash_is_resolved_at_the_start(tmp_path, tagged):
    world = await scene(tmp_path, tagged=tagged)
    await world.submit()
    await world.parts.reconciler.step()
    worker = await world.only()
    await world.store.move_worker(
        worker.id, WorkerMove(W.CREATING, (W.INTENDED,), "test", "a crash"), now=world.clock.now()
    )
    await world.cloud.create(stranger(), world.parts.applier.leases.deployment.tag(worker.id))
    await world.parts.inventory.sweep()
    assert (await world.only()).instance_id == world.instance()
