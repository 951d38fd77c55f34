"""What the providers really run, held against our rows, in both directions.

Only a successful listing is evidence. Strangers are reported and never touched; an instance with our tag and no
row that wants it is deleted after a grace; a row whose instance is not listed any more is stopped.
"""

from collections.abc import Iterable

import structlog

from orchestrator.apply import Applier
from orchestrator.store.rows import Worker
from provider_clients.base import Instance, Provider
from provider_clients.errors import NotFound, ProviderError
from scaling.states import WorkerState

W = WorkerState
UNLISTED_LOOKS = 0.9
"""Missing at one look and at the next: such an instance is gone."""
UNKNOWN_LOOKS = 4
"""A machine that may or may not have been made, and one that nobody wants, get so many periods of grace."""
log = structlog.get_logger()


class Inventory:
    """Graces are counted in periods between looks, at 15 s by default."""

    def __init__(self, applier: Applier, period_s: float) -> None:
        self._applier = applier
        self._clock = applier.clock
        self._period_s = period_s
        self._missing_since: dict[str, float] = {}
        self._orphan_since: dict[str, float] = {}
        self.strangers: dict[str, tuple[str, ...]] = {}
        self.faults: dict[str, str] = {}

    async def sweep(self) -> None:
        """One look at every provider. A provider that fails to list is skipped and tells us nothing."""
        workers = await self._applier.store.list_workers(include_gone=False, limit=10_000)
        for name, provider in self._applier.providers.items():
            try:
                instances = await provider.list()
            except ProviderError as error:
                self.faults[name] = str(error)
                log.warning("list_failed", provider=name, error=str(error))
                continue
            self.faults.pop(name, None)
            await self._compare(provider, instances, [one for one in workers if one.provider == name])

    async def _compare(
        self, provider: Provider, instances: Iterable[Instance], workers: Iterable[Worker]
    ) -> None:
        tag = self._applier.deployment.tag
        ours = {one.tag: one for one in instances if one.tag.startswith(self._applier.deployment.id + "-")}
        self.strangers[provider.name] = tuple(one.id for one in instances if one.tag not in ours)
        rows = {tag(worker.id): worker for worker in workers}
        for name, worker in rows.items():
            await self._row(worker, ours.get(name))
        for name in ours.keys() - rows.keys():
            await self._orphan(provider, ours[name])
        self._orphan_since = {tag: at for tag, at in self._orphan_since.items() if tag in ours}

    async def _row(self, worker: Worker, instance: Instance | None) -> None:
        if worker.state is W.STOPPING:
            self._applier.ensure_deleted(worker.id)
            return
        if worker.state is W.INTENDED or self._applier.busy_with(worker.id):
            return
        if instance is not None and instance.running:
            self._missing_since.pop(worker.id, None)
            if worker.instance_id is None:
                await self._applier.adopt(worker, instance, "found by its tag")
            return
        since = self._missing_since.setdefault(worker.id, self._clock.now())
        unknown = worker.state is W.CREATING and worker.instance_id is None
        grace_s = self._period_s * (UNKNOWN_LOOKS if unknown else UNLISTED_LOOKS)
        if self._clock.now() - since >= grace_s or (instance is not None and not instance.running):
            self._missing_since.pop(worker.id, None)
            await self._applier.stop(
                worker.id, "the provider does not list its instance any more", "inventory"
            )

    async def _orphan(self, provider: Provider, instance: Instance) -> None:
        """An instance of ours that no live row wants: after the grace, it goes."""
        since = self._orphan_since.setdefault(instance.tag, self._clock.now())
        if self._clock.now() - since < UNKNOWN_LOOKS * self._period_s:
            return
        log.warning("orphan_deleted", provider=provider.name, instance=instance.id)
        try:
            await provider.delete(instance.id)
        except NotFound:
            return
        except ProviderError as error:
            log.warning("orphan_delete_failed", instance=instance.id, error=str(error))
