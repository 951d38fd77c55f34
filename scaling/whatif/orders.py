"""What one look orders: within the limits, and what was intended before is renewed rather than ordered again."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from scaling.demand.budget import Ledger, Refusal
from scaling.demand.catalogue import Fit
from scaling.demand.walk import Scene
from scaling.plan import Blocked, Launch
from scaling.states import WorkerState
from scaling.whatif.learned import Kind, kind_of

CONFIRM_S = 2.0
"""An order must be needed for so long before it is placed."""


@dataclass(slots=True)
class Orders:
    """Launches so far, with the account that they are held against. Intents of before are renewed first."""

    scene: Scene
    intents: dict[Kind, deque[str]] = field(init=False)
    launches: list[Launch] = field(default_factory=list)
    renewed: set[str] = field(default_factory=set)
    kinds: Counter[Kind] = field(default_factory=Counter)
    refused: dict[str, tuple[Refusal, int]] = field(default_factory=dict)
    _ledger: Ledger | None = None
    """Made when it is first asked."""

    def __post_init__(self) -> None:
        """Intents of each kind, the soonest first."""
        self.intents = {}
        intents = [one for one in self.scene.supply if one.state is WorkerState.INTENDED]
        for one in sorted(intents, key=lambda one: (one.buy_in_s, one.id)):
            self.intents.setdefault(kind_of(one), deque()).append(one.id)

    def order(self, fits: Sequence[Fit], reason: str) -> bool:
        """The first of these that may be leased now, or was to be leased already; False if there is none."""
        if self.renew(fits):
            return True
        if len(self.launches) >= self.scene.policy.launches_per_step_max:
            return False
        fit, refusal = self._account().first(fits)
        if fit:
            self._launch(fit, reason)
        elif refusal:
            self.refused[refusal.code] = (refusal, self.refused.get(refusal.code, (refusal, 0))[1] + 1)
        return fit is not None

    def renew(self, fits: Sequence[Fit]) -> bool:
        """Whether one of these was to be leased already; then it stays so."""
        return bool(self.intents) and any(self._renewed(kind_of(fit.offer)) for fit in fits)

    def to_be_had(self, fits: Sequence[Fit]) -> Sequence[Fit]:
        """The same, with those at the end that may not be leased now."""
        if len(fits) < 2 or not self._is_refused(fits[0]):
            return fits
        return sorted(fits, key=self._is_refused)

    def refusal(self, fits: Sequence[Fit]) -> Refusal | None:
        """Why none of these may be leased. None, if one may, or was to be already."""
        if any(kind_of(fit.offer) in self.intents for fit in fits):
            return None
        return self._account().first(fits)[1]

    def blocked(self) -> Iterator[Blocked]:
        return (Blocked(code, one.reason, None, count) for code, (one, count) in self.refused.items())

    def _is_refused(self, fit: Fit) -> bool:
        return self.refusal((fit,)) is not None

    def _account(self) -> Ledger:
        self._ledger = self._ledger or self.scene.ledger()
        return self._ledger

    def delays_s(self) -> Iterator[float]:
        """In how many seconds each is to be bought, of the launches and of the renewed."""
        yield from (one.delay_s for one in self.launches)
        if self.renewed:
            yield from (
                one.buy_in_s for one in self.scene.supply if one.id in self.renewed and one.buy_in_s > 0.0
            )

    def _renewed(self, kind: Kind) -> bool:
        left = self.intents.get(kind)
        if not left:
            return False
        self.renewed.add(left.popleft())
        if not left:
            del self.intents[kind]
        self.kinds[kind] += 1
        return True

    def _launch(self, fit: Fit, reason: str) -> None:
        offer = fit.offer
        self._account().add_launch(offer, fit.cost_usd)
        self.kinds[kind_of(offer)] += 1
        confirm_s = CONFIRM_S if offer.usd_per_hour else 0.0
        between_s = self.scene.policy.launch_delay_s(offer.provider, confirm_s, confirm_s)
        delay_s = self.scene.snapshot.drawn(len(self.launches), between_s)
        self.launches.append(Launch.of(offer, delay_s, reason))
