"""The machines of a world: they boot, get agents, fall ill and die; nodes are served by a host; owners lend theirs."""

import asyncio
from collections.abc import Callable
from typing import Any

from lives import Body
from rough_agent import RoughAgent
from rough_cloud import RoughCloud
from scenario import ENGINES, CloudSpec
from virtual_time import VirtualClock, context_of

from provider_clients.base import LaunchSpec
from provider_clients.fake import Machine

HOST_PERIOD_S = 5.0
LOOK_S = 60.0
STRANGER_SHARE = 0.01
ENROLMENT_KEY = "owners may enrol"


class Machines:
    def __init__(self, world: Any) -> None:
        self._world = world
        self._scenario = world.scenario
        self.agents: list[RoughAgent] = []
        self.clouds = {one.name: self._cloud(one) for one in self._scenario.clouds}

    def begin(self, work: Any) -> asyncio.Task[Any]:
        """The world's own: no orchestrator's death ends it."""
        return self._world.loop.create_task(work, context=context_of(None))

    def _cloud(self, spec: CloudSpec) -> RoughCloud:
        boots = self._scenario.stream(f"boots {spec.name}")

        def later(delay_s: float, act: Callable[[], object]) -> None:
            """Boots vary, and some never end; leases end when they should."""
            if delay_s == spec.boot_s:
                delay_s *= boots.lognormvariate(0.0, 0.3)
                if boots.random() < spec.never_boots:
                    return
            self._world.loop.call_later(delay_s, act, context=context_of(None))

        hooks = {} if spec.hosted else {"on_boot": lambda launched: self._boot(spec, launched)}
        cloud = spec.made(VirtualClock(self._world.loop, spec.skew_s).now, later, hooks)
        return RoughCloud(cloud, spec, self._scenario.stream(f"cloud {spec.name}"), self._world.broken)

    def leased(self) -> list[Machine]:
        """What the clouds bill us for now."""
        return [one for cloud in self.clouds.values() for one in cloud.ours() if one.ended_at is None]

    def _boot(self, spec: CloudSpec, launched: LaunchSpec) -> None:
        if launched.worker_key:
            machine = self.clouds[spec.name].of_worker(launched.worker_id)
            self.begin(self._agent(spec, machine, launched.worker_id, launched.worker_key).live())

    def _agent(self, spec: CloudSpec, machine: Machine, worker_id: str, key: str) -> RoughAgent:
        boots = machine.boots

        def here() -> bool:
            return machine.ended_at is None and machine.boots == boots

        def bad() -> bool:
            host = machine.instance.host_id or ""
            return not here() or machine.unwell or host.startswith("bad")

        agent = RoughAgent(
            office=self._world.lives,
            worker_id=worker_id,
            key=key,
            gpu_class=machine.instance.gpu_class,
            engines=ENGINES,
            capacity=spec.capacity,
            # A hosted agent is not on the machine, and notices nothing but that its jobs fail.
            alive=(lambda: True) if spec.hosted else here,
            bad=bad,
            habits=self._scenario.habits,
            dice=self._scenario.stream(f"agent {worker_id} {boots}"),
        )
        self.agents.append(agent)
        return agent

    # Beside the orchestrator

    async def host(self, body: Body) -> None:
        """The processes that run hosted agents, which end with their orchestrator."""
        serving: dict[str, asyncio.Task[None]] = {}
        hosted = [one for one in self._scenario.clouds if one.hosted]
        while hosted:
            duties = [(spec, duty) for spec in hosted for duty in await self._duties(body, spec)]
            for spec, duty in duties:
                if duty.worker_id not in serving:
                    serving[duty.worker_id] = asyncio.create_task(self._serve(spec, duty))
            for gone in serving.keys() - {duty.worker_id for _, duty in duties}:
                serving[gone].cancel()
            serving = {name: task for name, task in serving.items() if not task.cancelling()}
            await asyncio.sleep(HOST_PERIOD_S)

    async def _duties(self, body: Body, spec: CloudSpec) -> Any:
        return (await body.parts.hosting.duties(spec.name)).duties

    async def _serve(self, spec: CloudSpec, duty: Any) -> None:
        machine = self.clouds[spec.name].cloud.machines[duty.address]
        while machine.booted_at is None:
            await asyncio.sleep(HOST_PERIOD_S)
        await self._agent(spec, machine, duty.worker_id, duty.worker_key).live()

    # Owners

    async def lend(self, number: int) -> None:
        """An owner's machine comes and goes, with and without a word."""
        dice = self._scenario.stream(f"owner {number}")
        while True:
            agent = RoughAgent(
                office=self._world.lives,
                worker_id=f"garage-{number}",
                key=ENROLMENT_KEY,
                gpu_class="garage-gpu",
                engines=ENGINES,
                capacity=1,
                alive=lambda: True,
                bad=lambda: False,
                habits=self._scenario.habits,
                dice=dice,
            )
            self.agents.append(agent)
            life = self.begin(agent.live())
            await asyncio.wait({life}, timeout=dice.expovariate(1.0 / 3000.0))
            life.cancel()
            await asyncio.sleep(dice.expovariate(1.0 / 1500.0))

    # Fate

    async def fail(self) -> None:
        dice = self._scenario.stream("deaths")
        while True:
            await asyncio.sleep(LOOK_S)
            for spec in self._scenario.clouds:
                await self._strangers(spec, dice.random())
                for machine in self.clouds[spec.name].ours():
                    if machine.ended_at is None:
                        self._befall(spec, machine, dice.random(), dice.random())

    async def _strangers(self, spec: CloudSpec, luck: float) -> None:
        """They come and go. Without tags, one that came while we buy could not be told from ours."""
        cloud = self.clouds[spec.name]
        if luck < STRANGER_SHARE and spec.tagged:
            await cloud.add_stranger(f"somebody-{len(cloud.strangers)}")
        elif luck > 1.0 - STRANGER_SHARE:
            for name in cloud.strangers:
                cloud.cloud.lose(name)

    def _befall(self, spec: CloudSpec, machine: Machine, death: float, illness: float) -> None:
        life_s = self._scenario.machine_life_s
        if life_s is not None and death < LOOK_S / life_s:
            self.clouds[spec.name].cloud.lose(machine.instance.id)
        elif spec.unwell_s is not None and illness < LOOK_S / spec.unwell_s:
            machine.unwell = True
            if machine.booted_at is None:
                self.clouds[spec.name].cloud.trouble(machine.instance.id, "its image comes too slowly")
