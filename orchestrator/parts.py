"""The parts of a running orchestrator, wired once by `app` and handed to the API."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.access.identify import Access
from orchestrator.access.quotas import QuotaBook
from orchestrator.apply import Applier
from orchestrator.clock import Clock
from orchestrator.fleet.agents import Agents
from orchestrator.fleet.clouds.inventory import Inventory
from orchestrator.fleet.clouds.market import Market
from orchestrator.fleet.clouds.upkeep import Upkeep
from orchestrator.fleet.hosting import Hosting
from orchestrator.fleet.owners import Owners
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.jobs.remove import Remover
from orchestrator.jobs.submit import Submitter
from orchestrator.loops import Loops
from orchestrator.plans.trial import Trials
from orchestrator.policy import PolicyBook
from orchestrator.reconcile import Reconciler
from orchestrator.settings import Settings
from orchestrator.storage.protocol import Storage
from orchestrator.store.protocol import Store
from orchestrator.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Parts:
    settings: Settings
    clock: Clock
    store: Store
    storage: Storage
    dispatcher: Dispatcher
    submitter: Submitter
    remover: Remover
    agents: Agents
    market: Market
    applier: Applier
    inventory: Inventory
    upkeep: Upkeep
    owners: Owners
    hosting: Hosting
    missing: Mapping[str, tuple[str, ...]]
    """What each provider lacks that is not configured."""
    reconciler: Reconciler
    access: Access
    quotas: QuotaBook
    policy: PolicyBook
    trials: Trials
    webhooks: Webhooks
    loops: Loops
