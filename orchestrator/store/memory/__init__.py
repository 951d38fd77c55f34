"""The store's model: plain Python, the same verbs. What the others must agree with; nothing here is kept."""

from orchestrator.store.memory.attempts import AttemptVerbs
from orchestrator.store.memory.fleet import FleetVerbs
from orchestrator.store.memory.jobs import JobVerbs
from orchestrator.store.memory.ledger import LedgerVerbs
from orchestrator.store.memory.library import LibraryVerbs
from orchestrator.store.memory.past import PastVerbs
from orchestrator.store.memory.people import PeopleVerbs
from orchestrator.store.memory.workers import WorkerVerbs

__all__ = ["MemoryStore"]


class MemoryStore(
    JobVerbs, AttemptVerbs, WorkerVerbs, FleetVerbs, LedgerVerbs, PastVerbs, PeopleVerbs, LibraryVerbs
):
    """See `orchestrator.store.protocol.Store`. No verb awaits, and so each is one transaction."""
