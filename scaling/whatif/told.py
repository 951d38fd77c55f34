"""What the policy has learned, in sentences: why it orders sooner or later, and keeps machines longer or shorter."""

from collections.abc import Iterator
from statistics import quantiles

from scaling.snapshot import Memory
from scaling.whatif.forecast import SLOT_S, Score
from scaling.whatif.learned import PAUSES_MIN, Kind, Rank, recall


def told(memory: Memory, now_s: float) -> Iterator[str]:
    """Of what a plan remembers. Nothing, where no plan of this policy does."""
    if "log_price" not in memory:
        return
    learned = recall(memory)
    yield (
        f"a late job is worth {learned.price_s:.0f} s of a machine: more with each that is late, less with the others"
    )
    for kind, ranks in sorted(learned.ranks.items()):
        yield from _kind(kind, ranks, now_s)
        if kind in learned.days:
            yield from _score(kind, learned.days[kind].score)


def _kind(kind: Kind, ranks: tuple[Rank, ...], now_s: float) -> Iterator[str]:
    provider, gpu_class, usd_per_hour = kind
    needed = sum(one.since_s is None for one in ranks)
    words = f"{provider}/{gpu_class} at ${usd_per_hour:g}/h: {needed} needed now, {len(ranks)} at most so far"
    if needed < len(ranks):
        words += f"; the next not for {ranks[needed].age_s(now_s):.0f} s, {_pauses(ranks[needed])}"
    yield words


def _score(kind: Kind, score: Score) -> Iterator[str]:
    """Nothing on the first day."""
    provider, gpu_class, usd_per_hour = kind
    if score.slots:
        yield (
            f"{provider}/{gpu_class} at ${usd_per_hour:g}/h: what is needed by the time of day is off by "
            f"{score.misses:.2f} machines, as many as {SLOT_S / 60:.0f} minutes ago by {score.same:.2f}, "
            f"the mean of a day by {score.flat:.2f}; it {'helps' if score.helps else 'does not help'}"
        )


def _pauses(rank: Rank) -> str:
    count = len(rank.pauses_s)
    if count < PAUSES_MIN:
        return "and too few pauses of it are known"
    tenths = quantiles(rank.pauses_s, n=10, method="inclusive")
    return f"its last {count} pauses took {tenths[4]:.0f} s in the median, 9 of 10 within {tenths[8]:.0f} s"
