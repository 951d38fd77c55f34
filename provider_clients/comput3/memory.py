"""What we know of workloads beyond what the API tells at the moment; lost with the process, and then learned anew."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from provider_clients.base import Receipt
from provider_clients.comput3.wire import Workload

KNOWN_MAX = 10_000


@dataclass(slots=True)
class Known:
    """`launched_at` and `doubted_at`, of a stop that may have worked, are by our clock, `created` and `expires` by
    theirs.
    """

    launched_at: float | None = None
    created: float | None = None
    expires: float | None = None
    doubted_at: float | None = None
    receipt: Receipt | None = None

    def note_stop(self, stopped: float) -> None:
        """The first stop counts; the unused rest of what was prepaid comes back."""
        start = self.launched_at if self.created is None else self.created
        if self.receipt is None and start is not None:
            self.receipt = Receipt(start, stopped, max(0.0, stopped - start))

    def note_gone(self, now: float) -> Receipt | None:
        """What is gone unasked ended by a stop whose reply was lost, or has used up all that was prepaid."""
        if self.receipt is not None:
            return None
        if self.doubted_at is not None:
            self.note_stop(self.doubted_at)
        elif self.created is not None and self.expires is not None and now >= self.expires:
            self.note_stop(self.expires)
        return self.receipt


@dataclass(slots=True)
class Memory:
    _known: dict[str, Known] = field(default_factory=dict)

    def of(self, workload_id: str) -> Known:
        """What is known of it, to be filled in; the oldest make room."""
        if workload_id not in self._known and len(self._known) >= KNOWN_MAX:
            del self._known[next(iter(self._known))]
        return self._known.setdefault(workload_id, Known())

    def note(self, listed: Iterable[Workload]) -> None:
        for one in listed:
            known = self.of(one.workload)
            known.created = one.created if one.created is not None else known.created
            known.expires = one.expires if one.expires is not None else known.expires

    def ids(self) -> frozenset[str]:
        return frozenset(self._known)
