"""What goes wrong in the emulated B2, and how often."""

from dataclasses import dataclass


@dataclass
class B2Knobs:
    """Counts are of the coming calls that they hit, times are seconds. All may be turned while it runs.

    An upload that fails, for whatever reason, spends its upload URL: the next one needs a new one, as with B2.
    """

    busy_uploads: int = 0
    """Uploads answered 503 after their body was read."""
    cut_uploads: int = 0
    """Uploads whose connection is reset in the middle of their body."""
    limited: int = 0
    """Calls answered 429."""
    retry_after_s: int = 1
    """What a 429 says."""
    storage_full: bool = False
    """Uploads are answered 403 `storage_cap_exceeded`."""
    transactions_full: bool = False
    """Every call is answered 403 `transaction_cap_exceeded`."""
    slow_s: float = 0.0
    """Every call takes so much longer."""
    tokens_live_s: float = 24 * 3600.0
    """How long an account's token holds."""
    part_bytes: int = 5_000_000
    """The least size of a part but the last. A file larger than the recommended size comes in parts."""
    recommended_part_bytes: int = 100_000_000


def spend(knobs: B2Knobs, name: str) -> bool:
    """Whether this call is hit by that count."""
    left: int = getattr(knobs, name)
    if left > 0:
        setattr(knobs, name, left - 1)
    return left > 0
