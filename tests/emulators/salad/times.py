"""Times as the cloud keeps them: whole ticks of 100 ns since 1970, written with seven digits after the point."""

import time
from datetime import UTC, datetime

TICKS_PER_S = 10_000_000


def now() -> int:
    return time.time_ns() // 100


def stamp(at: int, zone: str = "Z") -> str:
    """RFC 3339. The cloud writes `Z` in some places and `+00:00` in others."""
    whole, fraction = divmod(at, TICKS_PER_S)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:07d}{zone}"


def seconds(at: int) -> float:
    return at / TICKS_PER_S
