"""The provider: `/types`, `/balance`, `/launch`, `/workloads` and `/stop` as the orchestrator's verbs."""

import asyncio
import time
from collections.abc import Callable, Iterator

from provider_clients.base import Account, Instance, LaunchSpec, Receipt
from provider_clients.comput3.config import Comput3Config
from provider_clients.comput3.memory import Known, Memory
from provider_clients.comput3.purchase import Purchases
from provider_clients.comput3.wire import BALANCE, STOPPED, TYPES, WORKLOADS, Workload, parsed
from provider_clients.errors import NotFound, OutcomeUnknown, ProviderError, Rejected
from provider_clients.http import LIMITS, Limits, ProviderHttp
from scaling.snapshot import Capability, Estimate, Offer

ORIGIN = "https://launch.comput3.ai"
SERVICES = {
    "media": (
        Capability("csm", "csm-gradio", features=("clone",)),
        Capability(
            "whisper",
            "whisperx-gradio",
            models=("tiny", "base", "small", "medium", "large", "large-v2", "large-v3"),
            features=("multilingual", "translate"),
        ),
        Capability("portrait", "sonic-node", models=("sonic",)),
        Capability("comfyui", "comfyui-node"),
    )
}
"""What the nodes of a family of workload types run that we have engines for."""
BOOT = Estimate(mean_s=30.0, p90_s=60.0, p99_s=420.0)
"""Nodes are warm mostly, and answer in seconds; a cold one takes up to seven minutes."""
CREATED_LOOKS = 3


class Comput3:
    """Its `list` is of the whole account. `clock` is ours, in epoch seconds."""

    def __init__(
        self, config: Comput3Config, *, clock: Callable[[], float] = time.time, limits: Limits = LIMITS
    ) -> None:
        self.name = "comput3"
        self.stops_with_us = False
        self.tagged = False
        self.hosted = True
        self.list_lag_s = 2 * limits.total_s + config.patience.list_lag_s
        self._config = config
        self._clock = clock
        headers = {"X-C3-API-KEY": config.api_key, "Content-Type": "application/json", "Origin": ORIGIN}
        self._http = ProviderHttp(config.base_url, headers, limits=limits)
        self._memory = Memory()
        self._purchases = Purchases(self._http, config, self._memory, self._workloads, clock)

    async def offers(self) -> tuple[Offer, ...]:
        on_offer = await self._types()
        return tuple(self._offer(kind) for kind in self._config.kinds if kind in on_offer and services(kind))

    async def create(self, spec: LaunchSpec, tag: str) -> Instance:  # noqa: ARG002  There is no place for a tag.
        if spec.gpu_class not in self._config.kinds:
            raise Rejected(f"{spec.gpu_class!r} is none of the workload types that are configured")
        return await self._purchases.buy(spec.gpu_class)

    async def list(self) -> tuple[Instance, ...]:
        return tuple(one.instance(self._config.node_scheme) for one in await self._workloads())

    async def get(self, instance_id: str) -> Instance:
        found = next((one for one in await self.list() if one.id == instance_id), None)
        if found is None:
            raise NotFound(f"no workload {instance_id} runs")
        return found

    async def delete(self, instance_id: str) -> Receipt | None:
        """Stops a workload whether it is listed or not, since the list lags; one that was stopped is gone when
        the list says so.
        """
        known = self._memory.of(instance_id)
        if known.receipt is not None:
            await self.get(instance_id)
        elif known.created is None:
            await self._learn()
        try:
            await self._stop(instance_id, known)
        except NotFound:
            if receipt := known.note_gone(self._clock()):
                return receipt
            raise
        return known.receipt

    async def check(self) -> Account:
        on_offer = await self._types()
        balance = parsed(BALANCE, await self._http.read("GET", "/balance"), "GET /balance").balance
        running = await self._workloads()
        return Account(tuple(self._notes(on_offer, balance, len(running))), balance, None, len(running))

    async def probe(self, instance: Instance) -> bool:
        """Whether the node's front page is there. Waits with a name that is too new to be looked up."""
        if instance.address is None:
            return False
        patience = self._config.patience
        await asyncio.sleep(self._name_wait_s(instance))
        for left in reversed(range(patience.probe_tries)):
            if await self._http.answers(instance.address, total_s=patience.probe_s_max):
                return True
            if left:
                await asyncio.sleep(patience.probe_gap_s)
        return False

    async def aclose(self) -> None:
        await self._http.aclose()

    def _offer(self, kind: str) -> Offer:
        return Offer(
            provider=self.name,
            gpu_class=kind,
            usd_per_hour=self._config.usd_per_hour,
            capabilities=services(kind),
            boot_billed=True,
            lease_s_max=self._config.lease_s,
            replace_after_s=self._config.replace_s,
            boot_prior=BOOT,
        )

    def _notes(self, on_offer: tuple[str, ...], balance: float, running: int) -> Iterator[str]:
        yield f"The key works; {running} workloads run, and the balance is {balance:,.0f} units."
        for kind in self._config.kinds:
            if kind not in on_offer:
                yield f"Not on offer: {kind}; there is {', '.join(on_offer) or 'nothing'}."
            else:
                yield f"On offer: {kind}." if services(kind) else f"No engine of ours runs on {kind}."
        if balance <= 0:
            yield "Nothing can be leased until the balance is filled up."

    async def _types(self) -> tuple[str, ...]:
        return parsed(TYPES, await self._http.read("GET", "/types"), "GET /types")

    async def _workloads(self) -> tuple[Workload, ...]:
        body = await self._http.read("POST", "/workloads", json={"running": True})
        listed = parsed(WORKLOADS, body, "POST /workloads")
        self._memory.note(listed)
        return tuple(listed)

    async def _learn(self) -> None:
        """Tries to see when workloads were created, without which a stop tells no bill; stopping matters more."""
        for left in reversed(range(CREATED_LOOKS)):
            try:
                await self._workloads()
            except ProviderError:
                if left:
                    await asyncio.sleep(self._config.patience.look_every_s)
            else:
                return

    async def _stop(self, instance_id: str, known: Known) -> None:
        """A "not found" counts where the list does not have it either."""
        asked_at = self._clock()
        try:
            reply = await self._http.write("POST", "/stop", json={"workload": instance_id})
            stopped = parsed(STOPPED, reply, "POST /stop").stopped
        except OutcomeUnknown:
            known.doubted_at = float(int(asked_at))
            raise
        except (NotFound, Rejected):
            await self.get(instance_id)
        else:
            known.note_stop(asked_at if stopped is None else stopped)

    def _name_wait_s(self, instance: Instance) -> float:
        launched_at = self._memory.of(instance.id).launched_at or instance.created_at
        if launched_at is None:
            return 0.0
        delay_s = self._config.node_delay_s
        return min(delay_s, max(0.0, launched_at + delay_s - self._clock()))


def services(kind: str) -> tuple[Capability, ...]:
    return SERVICES.get(kind.partition(":")[0], ())
