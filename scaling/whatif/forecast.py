"""How many machines of a kind are needed by the time of day: learned, scored, and used only where it helps."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

DAY_S = 86_400.0
SLOTS = 96
"""A day in quarters of an hour."""
SLOT_S = DAY_S / SLOTS
SEEN_SHARE = 0.9
"""A slot of which less was seen says nothing."""
DAYS_KEPT = 4
"""From then on each day is worth a quarter, and those before it are forgotten by as much."""
TRIED_DAYS = 2
SCORED_DAYS = 3
HELPS_SHARE = 0.8
"""It is used while it misses by so much less than the better of the two that know nothing of the time of day."""
NOT_KNOWN = -1.0
GAP_S_MAX = 14 * DAY_S
KNOB = "forecast"


@dataclass(frozen=True, slots=True)
class Score:
    """How far a forecast was off on the last days, a mean that forgets, in machines: by the time of day (`misses`), as
    many as in the slot before (`same`), and as many as on an average of the day (`flat`).
    """

    slots: int = 0
    misses: float = 0.0
    same: float = 0.0
    flat: float = 0.0

    def told(self, misses: float, same: float, flat: float) -> "Score":
        weight = 1.0 / min(self.slots + 1, SCORED_DAYS * SLOTS)
        return Score(
            self.slots + 1,
            self.misses + weight * (misses - self.misses),
            self.same + weight * (same - self.same),
            self.flat + weight * (flat - self.flat),
        )

    @property
    def helps(self) -> bool:
        return self.slots >= TRIED_DAYS * SLOTS and self.misses < HELPS_SHARE * min(self.same, self.flat)


@dataclass(frozen=True, slots=True)
class Slot:
    """What was seen of the slot that goes on, until `at_s`: `last` are needed since. `sum_s` sums machines over
    `seen_s`, and `before` the level of the slot before.
    """

    at_s: float
    last: int = 0
    seen_s: float = 0.0
    sum_s: float = 0.0
    before: float = NOT_KNOWN

    def until(self, now_s: float, needed: int) -> "Slot":
        """So many are needed from then on."""
        more_s = now_s - self.at_s
        return Slot(now_s, needed, self.seen_s + more_s, self.sum_s + more_s * self.last, self.before)

    @property
    def end_s(self) -> float:
        return (self.at_s // SLOT_S + 1.0) * SLOT_S

    @property
    def level(self) -> float:
        return self.sum_s / self.seen_s if self.seen_s >= SEEN_SHARE * SLOT_S else NOT_KNOWN


@dataclass(frozen=True, slots=True)
class Day:
    """`levels[i]` is how many machines are needed in the i-th slot of a day: the mean of it, on an average of days that
    forgets.
    """

    slot: Slot
    levels: tuple[float, ...] = (NOT_KNOWN,) * SLOTS
    score: Score = Score()

    def seen(self, needed: int, now_s: float) -> "Day":
        """So many are needed from now on. A gap in which it is not known what was needed begins a slot anew."""
        found, gap_s = self, now_s - self.slot.at_s
        if gap_s < 0.0 or gap_s > GAP_S_MAX or (gap_s > SLOT_S and self.slot.last):
            return replace(self, slot=Slot(now_s, needed))
        while found.slot.end_s <= now_s:
            found = found._ended()
        return Day(found.slot.until(now_s, needed), found.levels, found.score)

    def _ended(self) -> "Day":
        slot = self.slot.until(self.slot.end_s, self.slot.last)
        place = int(self.slot.at_s // SLOT_S) % SLOTS
        rest = Slot(slot.at_s, slot.last, before=slot.level)
        if slot.level == NOT_KNOWN:
            return replace(self, slot=rest)
        was, score = self.levels[place], self.score
        level = slot.level
        if was != NOT_KNOWN:
            level = was + (level - was) / min(DAYS_KEPT, 2 + score.slots // SLOTS)
            if slot.before != NOT_KNOWN:
                score = self._scored(slot, was)
        levels = (*self.levels[:place], round(level, 2), *self.levels[place + 1 :])
        return Day(rest, levels, score)

    def _scored(self, slot: Slot, forecast: float) -> Score:
        known = [one for one in self.levels if one != NOT_KNOWN]
        flat = math.fsum(known) / len(known)
        level = slot.level
        return self.score.told(abs(forecast - level), abs(slot.before - level), abs(flat - level))

    def rises(self, now_s: float, within_s: float) -> Iterator[tuple[float, int]]:
        """Slots that need more than the one before, from this one to those that begin within so many seconds: when
        each begins, in seconds from now, and how many it needs.
        """
        first = int(now_s // SLOT_S)
        for number in range(first, first + SLOTS):
            starts_in_s = number * SLOT_S - now_s
            if starts_in_s > within_s:
                return
            level = self._needed(number)
            if level > self._needed(number - 1):
                yield starts_in_s, level

    def _needed(self, number: int) -> int:
        return int(self.levels[number % SLOTS] + 0.5)


def next_slot_in_s(now_s: float) -> float:
    return SLOT_S - now_s % SLOT_S


def clock(at_s: float) -> str:
    """The time of day (UTC) of the slot that this is in."""
    minutes = int(at_s % DAY_S // SLOT_S * SLOT_S) // 60
    return f"{minutes // 60:02}:{minutes % 60:02}"
