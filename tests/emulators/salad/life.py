"""The life of one instance: from machine to machine, and from container to container, until it is told to end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from ports import free_ports

from salad.catalogue import usd_per_hour
from salad.cloud import Cloud
from salad.container import Container
from salad.delivery import probe, serve_queue
from salad.groups import MOVED, Group, Instance, Move, Order, State
from salad.ledger import Run
from salad.times import now

_PARTS = 20
_ENDS = {0: "Exited Successfully", 137: "Likely Out of System Memory"}
Step = Callable[[], Awaitable[Order | None]]


async def live(cloud: Cloud, group: Group, instance: Instance) -> None:
    await _Life(cloud, group, instance).run()


@dataclass
class _Life:
    cloud: Cloud
    group: Group
    instance: Instance
    restarts: int = 0
    starts: int = 0

    async def run(self) -> None:
        move = Move.MACHINE
        while move is not Move.END:
            move = await self._once(move)

    async def _once(self, move: Move) -> Move:
        steps: dict[Move, tuple[Step, ...]] = {
            Move.MACHINE: (self._allocate, self._download, self._create),
            Move.CREATE: (self._create,),
            Move.START: (self._restart,),
        }
        for step in steps[move]:
            order = await step()
            if order is not None:
                if order.move is not Move.END:
                    self.group.tell(order.event, self.instance)
                return order.move
        return await self._serve()

    # On the way to a running container; each step ends early when it is told to

    async def _allocate(self) -> Order | None:
        self.restarts = 0
        self.instance.machine_id = str(uuid4())
        self.instance.version = self.group.version
        self.instance.enter(State.ALLOCATING)
        order = await self._pause(self.cloud.knobs.allocate_s)
        if order is None:
            self.group.tell("Instance Allocated", self.instance)
        return order

    async def _download(self) -> Order | None:
        knobs = self.cloud.knobs
        slow = self.cloud.dice.hits("slow_download")
        self.instance.enter(State.DOWNLOADING)
        self.group.tell("Instance Downloading", self.instance)
        for part in range(_PARTS):
            self.instance.progress = 100.0 * part / _PARTS
            order = await self._pause((knobs.slow_download_s if slow else knobs.download_s) / _PARTS)
            if order is not None:
                return order
        return None

    async def _create(self) -> Order | None:
        self.instance.enter(State.CREATING)
        self.group.tell("Instance Creating", self.instance)
        return await self._pause(self.cloud.knobs.create_s)

    async def _restart(self) -> Order | None:
        self.instance.enter(State.CREATING)
        return await self._pause(self.cloud.knobs.restart_s)

    async def _pause(self, pause_s: float) -> Order | None:
        """Nothing to restart or to create anew yet, so of the orders only the others count."""
        end = asyncio.get_running_loop().time() + pause_s
        while True:
            left_s = end - asyncio.get_running_loop().time()
            order = await self._order_within(left_s)
            if order is None or order.move in (Move.MACHINE, Move.END):
                return order

    async def _order_within(self, within_s: float) -> Order | None:
        try:
            await asyncio.wait_for(self._told(), max(0.0, within_s))
        except TimeoutError:
            return None
        return self.instance.orders.pop(0)

    async def _told(self) -> None:
        if not self.instance.orders:
            self.instance.told.clear()
            await self.instance.told.wait()

    # While the container runs

    async def _serve(self) -> Move:
        self.group.tell("Instance Starting", self.instance)
        try:
            container = await self._start()
        except OSError:
            self.group.tell("Instance Start Failure: Other", self.instance)
            order = await self._pause(self.cloud.knobs.restart_s)
            return order.move if order else Move.MACHINE
        async with self._running(container) as run:
            order = await self._end_of(container)
        self.group.tell(order.event, self.instance, run.ended)
        if order.then:
            self.group.tell(order.then, self.instance)
        return order.move

    async def _start(self) -> Container:
        self.starts += 1
        folder = self.cloud.config.folder
        here = folder / "instances" / f"{self.instance.id}-{self.starts}"
        log = folder / "logs" / f"{self.group.name}.log"
        return await Container.start(self.cloud.config.argv, here, log, self._environment())

    def _environment(self) -> dict[str, str]:
        cloud, group, instance = self.cloud, self.group, self.instance
        port = {}
        if group.asked.get("queue_connection") or group.asked.get("networking"):
            (instance.port,) = free_ports(1)
            port = {"GPULEASE_WORKER_PORT": str(instance.port)}
        return {
            **group.container.get("environment_variables", {}),
            **port,
            "HOSTNAME": instance.machine_id,
            "SALAD_ORGANIZATION_NAME": group.organization,
            "SALAD_PROJECT_NAME": group.project,
            "SALAD_CONTAINER_GROUP_NAME": group.name,
            "SALAD_CONTAINER_GROUP_ID": group.id,
            "SALAD_INSTANCE_ID": instance.id,
            "SALAD_MACHINE_ID": instance.machine_id,
            "SALAD_METADATA_URI": f"{cloud.url}/imds/{instance.id}",
        }

    @asynccontextmanager
    async def _running(self, container: Container) -> AsyncIterator[Run]:
        """Billed from here to the end of the last of its processes."""
        run = self._opened(container)
        beside = [
            asyncio.create_task(work(self.cloud, self.group, self.instance)) for work in (probe, serve_queue)
        ]
        try:
            yield run
        finally:
            for task in beside:
                task.cancel()
            results = await asyncio.gather(*beside, return_exceptions=True)
            self.cloud.failures += [one for one in results if isinstance(one, Exception)]
            await container.kill()
            run.ended = now()
            self.instance.pid, self.instance.billed, self.instance.ready = None, False, False

    def _opened(self, container: Container) -> Run:
        price = usd_per_hour(self.group.container["resources"], self.group.priority)
        assert price is not None
        self.instance.enter(State.RUNNING)
        self.instance.pid, self.instance.billed = container.process.pid, True
        run = self.cloud.ledger.open(self.group.name, self.instance.id, price, self.instance.updated_at)
        self.group.tell("Instance Running", self.instance, run.started)
        return run

    async def _end_of(self, container: Container) -> Order:
        fate, after_s = self._fate()
        ended = await self._ended(container, after_s)
        if ended is None:
            return await self._lost(container, fate)
        if isinstance(ended, int):
            return self._exited(ended)
        if ended.lag_s:
            self.instance.enter(State.STOPPING)
            await self._ended(container, ended.lag_s)
        return ended

    async def _ended(self, container: Container, within_s: float | None) -> Order | int | None:
        """The container's exit code, or what the instance is told, or None when time is up."""
        exit_code = asyncio.create_task(container.exit_code())
        told = asyncio.create_task(self._told())
        try:
            await asyncio.wait({exit_code, told}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if self.instance.orders:
                return self.instance.orders.pop(0)
            return exit_code.result() if exit_code.done() else None
        finally:
            exit_code.cancel()
            told.cancel()
            await asyncio.gather(exit_code, told, return_exceptions=True)

    def _fate(self) -> tuple[Order, float | None]:
        """What takes this machine away, and how long after the container came up; None is never."""
        knobs, dice = self.cloud.knobs, self.cloud.dice
        dies = dice.hits("node_death")
        preempted = dice.hits("preemption", unless=dies)
        death_s = dice.up_to("node_death_s", knobs.node_death_within_s)
        preemption_s = dice.up_to("preemption_s", knobs.preemption_within_s)
        if dies:
            return Order(
                Move.MACHINE, "Instance Interrupted (Node Offline)", knobs.node_death_notice_s
            ), death_s
        order = Order(Move.MACHINE, "Instance Interrupted (Priority)")
        return order, preemption_s if preempted else None

    async def _lost(self, container: Container, fate: Order) -> Order:
        """What ran is gone without a signal; the cloud notices later."""
        await container.kill()
        if not fate.lag_s:
            return fate
        return await self._order_within(fate.lag_s) or fate

    def _exited(self, code: int) -> Order:
        """Started again, whatever the exit code; after some times on another machine."""
        self.restarts += 1
        event = f"Instance Exited:{code} ({_ENDS.get(code, 'Error')})"
        if self.restarts <= self.cloud.knobs.restarts_max:
            return Order(Move.START, event, then="Instance Restarted")
        return Order(Move.MACHINE, event, then=MOVED)
