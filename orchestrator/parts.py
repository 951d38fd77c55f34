"""The parts of a running orchestrator, wired once by `app` and handed to the API."""

from dataclasses import dataclass

from orchestrator.apply import Applier
from orchestrator.clock import Clock
from orchestrator.fleet.agents import Agents
from orchestrator.fleet.inventory import Inventory
from orchestrator.fleet.market import Market
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.jobs.submit import Submitter
from orchestrator.loops import Loops
from orchestrator.policy import PolicyBook
from orchestrator.reconcile import Reconciler
from orchestrator.settings import Settings
from orchestrator.storage.protocol import Storage
from orchestrator.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Parts:
    settings: Settings
    clock: Clock
    store: Store
    storage: Storage
    dispatcher: Dispatcher
    submitter: Submitter
    agents: Agents
    market: Market
    applier: Applier
    inventory: Inventory
    reconciler: Reconciler
    policy: PolicyBook
    loops: Loops
