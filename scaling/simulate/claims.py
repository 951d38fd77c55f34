"""Who takes what: the production rules of placement, asked as the dispatcher and the store ask them."""

from collections.abc import Iterable, Sequence

from scaling.place import NO_HOLDS, Holds, Patience, best_worker, choose, kind_of, warm
from scaling.plan import Plan
from scaling.simulate.machine import Machine
from scaling.simulate.trace import Arrival
from scaling.simulate.waiting import Waiting
from scaling.snapshot import Need


class Claims:
    """The two questions, under what the last plan holds back: what does a free machine take, whom does a job wake."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._holds: Holds = NO_HOLDS
        self.patience: Patience | None = None

    def follow(self, plan: Plan) -> None:
        self._holds = {one.need: one.count for one in plan.holds if one.count > 0}
        self.patience = plan.patience

    def take(self, need: Need, now_s: float, machine: Machine) -> Arrival:
        return self._waiting.take(need, now_s, self.patience, machine.view(now_s))

    def staying(self, parked: Iterable[Machine], now_s: float) -> list[Machine]:
        """Those that may find a job that was not for another: machines that stay, where plans tell them apart."""
        stays = self.patience.stays.values() if self.patience else ()
        risky = {kind for one in stays for kind in one.kinds}
        return [one for one in parked if risky and kind_of(one.view(now_s)) not in risky]

    def took(self, need: Need, resident: Sequence[str]) -> None:
        """A machine with these models takes one. If it was one of the held, fewer are left for others like it."""
        if self._holds and need in self._holds and warm(need, resident):
            self._holds = {**self._holds, need: max(0, self._holds[need] - 1)}

    def next_need(self, machine: Machine, now_s: float) -> Need | None:
        """What a machine that asks takes. Traces name no owners, and so there is no share to be fair with."""
        view = machine.view(now_s)
        return choose(
            self._waiting.heads(now_s, self.patience, view),
            view,
            host_id=machine.id,
            resident=machine.resident,
            running_by_owner={},
            holds=self._holds,
            patience=self.patience,
        )

    def wake(
        self, need: Need, parked: Iterable[Machine], now_s: float, *, at_work: bool = False
    ) -> str | None:
        """The parked machine that is answered when such a job comes. Where its model is `at_work` on another machine,
        the next plan says whether it stays for that one, unless a parked one has it too.
        """
        free = [one.view(now_s) for one in parked]
        count = self._waiting.count(need)
        return best_worker(need, free, count=count, holds={need: count} if at_work else self._holds)
