"""GPU classes: one short name each, and a price at each of our priorities.

Salad's own names carry a maker, a size of memory, stray spaces, and near duplicates; only ids are sure.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

from provider_clients.http import ProviderHttp
from provider_clients.salad import replies
from provider_clients.salad.config import Priority

FRESH_S = 600.0
"""Prices change about once in months."""
VRAM = re.compile(r"\(\s*(\d+(?:\.\d+)?)\s*GB\s*\)", re.IGNORECASE)
MAKER = re.compile(r"\b(NVIDIA|GeForce)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GpuClass:
    """`prices` are what an hour costs, by priority, where it is sold at one of ours."""

    id: str
    name: str
    vram_gb: float
    prices: Mapping[Priority, float] = field(default_factory=dict)

    @property
    def usd_per_hour(self) -> float | None:
        """The least; None where the class is not sold at our priorities."""
        return min(self.prices.values(), default=None)

    def tiers(self) -> tuple[tuple[Priority, float], ...]:
        """What is worth an offer, cheapest first: of priorities that cost the same, the highest."""
        best: dict[float, Priority] = {}
        for priority in get_args(Priority):
            if priority in self.prices:
                best.setdefault(self.prices[priority], priority)
        return tuple((best[usd], usd) for usd in sorted(best))

    def tier(self, usd_per_hour: float) -> Priority | None:
        """The one whose price is nearest, as prices may have changed since; None where none is sold."""
        found = min(self.tiers(), key=lambda one: abs(one[1] - usd_per_hour), default=None)
        return found and found[0]


@dataclass(slots=True)
class Classes:
    """The organisation's GPU classes, read again every ten minutes. `wanted` are names or ids; none means all."""

    http: ProviderHttp
    path: str
    priorities: tuple[Priority, ...]
    wanted: tuple[str, ...] = ()
    clock: Callable[[], float] = time.monotonic
    _known: tuple[GpuClass, ...] = ()
    _read_at: float = field(default=-math.inf)

    async def known(self) -> tuple[GpuClass, ...]:
        if self.clock() - self._read_at > FRESH_S:
            reply = replies.read_as(replies.GpuClasses, await self.http.read("GET", self.path))
            self._known = named_apart(_class(one, self.priorities) for one in reply.items)
            self._read_at = self.clock()
        return self._known

    async def sold(self) -> tuple[GpuClass, ...]:
        """Those that are wanted and have a price, cheapest first."""
        found = [one for one in await self.known() if one.usd_per_hour is not None and self._wants(one)]
        return tuple(sorted(found, key=_cheapest_first))

    async def unknown(self) -> tuple[str, ...]:
        """What is wanted, and is no class that is sold at our priorities."""
        sold = [one for one in await self.known() if one.usd_per_hour is not None]
        return tuple(word for word in self.wanted if not any(_is_called(one, word) for one in sold))

    def name_of(self, class_ids: Iterable[str]) -> str:
        """By what is known already; a class that is not goes by its id. Without a GPU it is "cpu"."""
        class_id = next(iter(class_ids), "cpu")
        return next((one.name for one in self._known if one.id == class_id), class_id)

    def _wants(self, one: GpuClass) -> bool:
        return not self.wanted or any(_is_called(one, word) for word in self.wanted)


def cleaned(name: str) -> str:
    """Of "NVIDIA GeForce RTX 4090 (24 GB)" the "RTX 4090"."""
    return " ".join(MAKER.sub(" ", VRAM.sub(" ", name)).split()) or name.strip()


def named_apart(classes: Iterable[GpuClass]) -> tuple[GpuClass, ...]:
    """Classes alike in name are told apart by their memory; of those that are alike in that too, all but the
    cheapest get a piece of their id.
    """
    found = sorted(classes, key=_cheapest_first)
    sizes = {(one.name, one.vram_gb) for one in found}
    shared = Counter(name for name, _ in sizes)
    sized = [replace(one, name=_with_vram(one)) if shared[one.name] > 1 else one for one in found]
    taken: set[str] = set()
    apart = []
    for one in sized:
        apart.append(replace(one, name=f"{one.name} #{one.id[:8]}") if one.name in taken else one)
        taken.add(one.name)
    return tuple(apart)


def _class(reply: replies.GpuClass, priorities: tuple[Priority, ...]) -> GpuClass:
    vram = VRAM.search(reply.name)
    told = {one.priority: usd for one in reply.prices if (usd := _usd(one.price)) is not None}
    return GpuClass(
        id=reply.id,
        name=cleaned(reply.name),
        vram_gb=float(vram[1]) if vram else 0.0,
        prices={one: told[one] for one in priorities if one in told},
    )


def _usd(price: str | float) -> float | None:
    try:
        usd = float(price)
    except ValueError:
        return None
    return usd if math.isfinite(usd) and usd >= 0 else None


def _with_vram(one: GpuClass) -> str:
    return f"{one.name} {one.vram_gb:g}GB" if one.vram_gb else one.name


def _is_called(one: GpuClass, word: str) -> bool:
    names = {one.id, one.name.casefold(), re.sub(r" (\d+GB|#\w+)$", "", one.name).casefold()}
    return word.strip().lower() in names or cleaned(word).casefold() in names


def _cheapest_first(one: GpuClass) -> tuple[float, str, str]:
    return (math.inf if one.usd_per_hour is None else one.usd_per_hour, one.name, one.id)
