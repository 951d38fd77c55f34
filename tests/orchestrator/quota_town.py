"""People with quotas, their jobs and their workers, over a store of either sort."""

from uuid import uuid4

import pytest

from gpulease.contract.jobs import Result
from orchestrator.access.quotas import QuotaBook
from orchestrator.clock import ManualClock
from orchestrator.settings import Settings
from orchestrator.store import rows
from orchestrator.store.memory import MemoryStore
from orchestrator.store.people import By, Project, Quota, Subscription, User
from orchestrator.store.sqlite import open_sqlite
from scaling.snapshot import Capability, Need
from scaling.states import WorkerState

ROOT = By("root")
START = 1_800_000_000.0


def settings_of(**given):
    return Settings(_env_file=None, **given)


class Town:
    """A store with people in it, and the book of their quotas."""

    def __init__(self, store, **settings):
        self.store = store
        self.clock = ManualClock(START)
        self.book = QuotaBook(store, self.clock, settings_of(**settings))
        self.risen = 0
        self.book.on_change = self._rise

    def _rise(self):
        self.risen += 1

    async def user(self, name, **quota):
        made = await self.subscription(Quota(**quota), name=f"of {name}")
        await self.store.add_user(User(name, name, "submitter", START, subscription_id=made.id))

    async def subscription(self, quota, number=0, name="a subscription"):
        wanted = Subscription(number, name, quota)
        return await self.store.put_subscription(wanted, by=ROOT, now=self.clock.now())

    async def project(self, name, owner, **quota):
        await self.store.add_project(Project(name, name, owner, START, Quota(**quota)))

    def job(self, owner="ann", **need):
        now = self.clock.now()
        wanted = Need("csm", owner=owner, **need)
        return rows.NewJob(str(uuid4()), wanted, {"text": "hello"}, now, now + 3600, 1200)

    async def queue(self, count, owner="ann", **need):
        return await self.store.submit_jobs([self.job(owner, **need) for _ in range(count)])

    async def submit(self, owner="ann", **need):
        job = self.job(owner, **need)
        async with self.book.admit([job.need]):
            await self.store.submit_jobs([job])

    async def fit(self, owner, project, count):
        """Raises where so many more jobs do not."""
        async with self.book.admit([Need("csm", owner=owner, project=project or "")] * count):
            pass

    async def worker(self, name="w1", capacity=10, usd_per_hour=3.6, **said):
        """One that serves."""
        now = self.clock.now()
        await self.store.intend_worker(
            rows.NewWorker(name, "local", "cpu", usd_per_hour, now, now, "h", "demand")
        )
        create = rows.WorkerMove(WorkerState.CREATING, (WorkerState.INTENDED,), "test", "a test")
        assert await self.store.move_worker(name, create, now=now)
        speech = (Capability("csm", "x"),)
        registration = rows.Registration("incarnation", speech, "cpu", 8.0, capacity, **said)
        assert await self.store.register_worker(name, registration, now=now)
        return await self.store.get_worker(name)

    async def claim(self, worker="w1", limits=None):
        return await self.store.claim_job(
            worker,
            "incarnation",
            uuid4().hex,
            resident=(),
            now=self.clock.now(),
            limits=limits or self.book.limits(),
        )

    async def finish(self, claimed):
        held = rows.Held(claimed.attempt.id, claimed.attempt.worker_id, "incarnation")
        await self.store.finish_attempt(
            held, result=Result(backend="x", text="said"), fault=None, now=self.clock.now()
        )


@pytest.fixture(params=["memory", "sqlite"])
async def town(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else await open_sqlite(tmp_path / "a.db")
    yield Town(store)
    await store.aclose()
