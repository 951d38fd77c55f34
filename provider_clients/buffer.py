"""Owners' machines, which nobody buys: they come and go by their own heartbeats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from provider_clients.base import Account, Instance, LaunchSpec, Receipt
from provider_clients.errors import NotFound, Rejected
from scaling.snapshot import Offer

SILENT_S_MAX = 45.0


@dataclass(slots=True)
class Buffer:
    """`roster` tells, of each worker that ever reported, how many seconds ago it last did."""

    roster: Callable[[], Mapping[str, float]]
    name: str = "buffer"
    stops_with_us: bool = False
    tagged: bool = False
    hosted: bool = False
    list_lag_s: float = 0.0

    async def offers(self) -> tuple[Offer, ...]:
        return ()

    async def create(self, spec: LaunchSpec, tag: str) -> Instance:
        raise Rejected(f"{tag} ({spec.gpu_class}) cannot be bought: buffer machines are their owners'")

    async def list(self) -> tuple[Instance, ...]:
        return tuple(_instance(worker_id) for worker_id in sorted(self._heard()))

    async def get(self, instance_id: str) -> Instance:
        if instance_id not in self._heard():
            raise NotFound(f"{instance_id} has not reported for {SILENT_S_MAX:g} s")
        return _instance(instance_id)

    async def delete(self, instance_id: str) -> Receipt | None:
        raise NotFound(f"{instance_id} is its owner's, and not ours to end")

    async def check(self) -> Account:
        known, heard = len(self.roster()), len(self._heard())
        return Account((f"{heard} of {known} known machines report.",), workers_used=heard)

    async def aclose(self) -> None:
        return None

    def _heard(self) -> frozenset[str]:
        return frozenset(one for one, silent_s in self.roster().items() if silent_s <= SILENT_S_MAX)


def _instance(worker_id: str) -> Instance:
    return Instance(id=worker_id, tag="", gpu_class="")
