"""SaladCloud: each worker is a container group of one replica, and the group's name is our tag.

That makes `create` idempotent by name. What a group costs is the time in which its container runs.
"""

import time
from collections.abc import Callable

from provider_clients.base import Account, Instance, LaunchSpec, Receipt
from provider_clients.errors import NoCapacity, NotFound, OutcomeUnknown, Rejected
from provider_clients.salad import replies
from provider_clients.salad.account import MERGE_PATCH, NAME
from provider_clients.salad.classes import Classes, GpuClass
from provider_clients.salad.config import LIVES_S, Priority, SaladConfig, too_long
from provider_clients.salad.creation import Creation
from provider_clients.salad.downloads import Downloads
from provider_clients.salad.group import environment, group_body
from provider_clients.salad.looks import groups_of, looked_at, quotas_of
from provider_clients.salad.removal import Removal
from provider_clients.salad.rotation import Secrets
from scaling.snapshot import Offer

GROUPS_MAX = 100
"""The most groups that a reply lists, and there are no further pages."""
BUSY_COST, IDLE_COST = 1000, 0
UNLIMITED = 1_000_000
STAGES = ("running", "creating", "downloading", "allocating", "stopping")
"""States of an instance. While it is moved there may be two, and the one that is furthest counts."""


class Salad:
    """Beside the verbs of every provider it probes, protects and exchanges.

    In queue mode each group has a queue of its own name, which is the instance's address.
    """

    name = "salad"
    stops_with_us = False
    tagged = True

    def __init__(self, config: SaladConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds, for caches, downloads and late logs."""
        self.hosted = config.mode == "queue"
        self.list_lag_s = config.list_lag_s
        self._config = config
        self._account = account = config.account
        self._http = http = account.http()
        classes_path = f"{account.organization_path}/gpu-classes"
        self._classes = Classes(http, classes_path, config.priorities, config.gpu_classes, clock)
        self._creation = Creation(http, account, self.hosted)
        self._removal = Removal(http, account, self.hosted, clock)
        self._downloads = Downloads(config.image_gb, clock)
        self._groups = 0
        self.webhook_secrets = Secrets(self.webhook_secret)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def offers(self) -> tuple[Offer, ...]:
        if not self._config.capabilities:
            return ()
        quotas = await quotas_of(self._http, self._account)
        left = quotas.container_replicas_quota - quotas.container_replicas_used if quotas else UNLIMITED
        count_max = max(0, min(left, GROUPS_MAX - 1 - self._groups))
        sold = await self._classes.sold()
        return tuple(self._offer(one, *tier, count_max) for one in sold for tier in one.tiers())

    async def create(self, spec: LaunchSpec, tag: str) -> Instance:
        """Asks once; a name in use is what was asked for before, and is returned."""
        if not NAME.fullmatch(tag):
            raise Rejected(f"{tag!r} cannot be a container group's name")
        if faults := too_long(environment(self._config, spec)):
            raise Rejected("; ".join(faults))
        wanted = await self._class(spec.gpu_class)
        priority = wanted.tier(spec.usd_per_hour) or self._config.priorities[0]
        body = group_body(self._config, spec, tag, wanted.id, priority)
        return self._instance(await self._creation.group(body))

    async def list(self) -> tuple[Instance, ...]:
        groups = await groups_of(self._http, self._account)
        self._groups = len(groups)
        if len(groups) == GROUPS_MAX:
            raise OutcomeUnknown(
                f"Salad lists {GROUPS_MAX} container groups, and there may be more that it does not"
            )
        return tuple(self._instance(one) for one in groups)

    async def get(self, instance_id: str) -> Instance:
        """With its machine, and what is wrong there. A queue that outlived its group is shown as not running."""
        path = self._path(instance_id)
        try:
            group = replies.read_as(replies.Group, await self._http.read("GET", path))
            replica = await self._replica(instance_id)
        except NotFound as error:
            self._downloads.forget(instance_id)
            if await self._removal.leaves_queue(instance_id):
                return Instance(instance_id, instance_id, gpu_class="", running=False, address=instance_id)
            raise await self._removal.absence(instance_id, error) from error
        return self._instance(group, replica, self._trouble(group, replica))

    async def delete(self, instance_id: str) -> Receipt | None:
        self._path(instance_id)
        return await self._removal.step(instance_id)

    async def check(self) -> Account:
        return await looked_at(self._http, self._account, self._classes)

    async def probe(self, instance: Instance) -> bool:
        """Whether its container runs, and answers the probe that Salad makes."""
        try:
            replica = await self._replica(instance.id)
        except NotFound:
            return False
        return replica is not None and replica.state == "running" and replica.ready is not False

    async def protect(self, instance_id: str, *, busy: bool) -> None:
        replica = await self._replica(instance_id)
        if replica is None:
            return  # What takes its place is not busy.
        path = f"{self._path(instance_id)}/instances/{replica.id}"
        cost = {"deletion_cost": BUSY_COST if busy else IDLE_COST}
        try:
            await self._http.write("PATCH", path, json=cost, kind=MERGE_PATCH)
        except NotFound:
            return

    async def exchange(self, instance_id: str, reason: str) -> None:  # noqa: ARG002  Salad asks for none.
        """Older versions of the API name an instance by its machine, and so both names are tried."""
        replica = await self._replica(instance_id)
        self._downloads.forget(instance_id)
        if replica is None:
            return
        instances = f"{self._path(instance_id)}/instances"
        try:
            await self._http.write("POST", f"{instances}/{replica.id}/reallocate")
        except NotFound:
            await self._reallocate_machine(f"{instances}/{replica.machine_id}/reallocate")

    async def webhook_secret(self) -> str:
        """What the organisation's webhooks are signed with, as base64."""
        reply = await self._http.read("GET", f"{self._account.organization_path}/webhook-secret-key")
        return replies.read_as(replies.Secret, reply).secret_key

    async def _reallocate_machine(self, path: str) -> None:
        try:
            await self._http.write("POST", path)
        except NotFound as error:
            raise OutcomeUnknown("Salad moved the instance already, or does not find it") from error

    async def _class(self, name: str) -> GpuClass:
        """Nothing has been asked for yet, so that even a doubt is a plain no."""
        try:
            known = await self._classes.known()
        except (OutcomeUnknown, NotFound) as error:
            raise NoCapacity(f"the GPU classes cannot be read: {error}") from error
        found = next((one for one in known if one.name == name), None)
        if found is None:
            raise NoCapacity(f"Salad has no GPU class {name} any more")
        return found

    async def _replica(self, group: str) -> replies.Replica | None:
        """The instance that counts; None while no machine is found, or after the end."""
        reply = await self._http.read("GET", f"{self._path(group)}/instances")
        found = replies.read_as(replies.Replicas, reply).instances
        return min(found, key=_stage, default=None)

    def _path(self, group: str) -> str:
        """Raises NotFound for what can be no group's name."""
        if not NAME.fullmatch(group):
            raise NotFound(f"{group!r} is no container group's name")
        return self._account.group_path(group)

    def _instance(
        self, group: replies.Group, replica: replies.Replica | None = None, trouble: str | None = None
    ) -> Instance:
        return Instance(
            id=group.name,
            tag=group.name,
            gpu_class=self._classes.name_of(group.container.resources.gpu_classes or ()),
            running=group.running,
            created_at=group.create_time,
            address=group.name if self.hosted else None,
            host_id=replica.machine_id if replica else None,
            trouble=trouble,
        )

    def _trouble(self, group: replies.Group, replica: replies.Replica | None) -> str | None:
        if group.current_state.status == "failed":
            return f"Salad calls the group failed: {group.current_state.description or 'it does not say why'}"
        return self._downloads.trouble(group.name, replica)

    def _offer(self, one: GpuClass, priority: Priority, usd_per_hour: float, count_max: int) -> Offer:
        return Offer(
            provider=self.name,
            gpu_class=one.name,
            usd_per_hour=usd_per_hour,
            life_mean_s=LIVES_S[priority],
            capabilities=self._config.capabilities,
            vram_gb=one.vram_gb,
            boot_billed=False,
            boot_prior=self._config.boot_prior,
            count_max=count_max,
        )


def _stage(replica: replies.Replica) -> int:
    return STAGES.index(replica.state) if replica.state in STAGES else len(STAGES)
