"""Into which parts a large file is cut."""

import math
from dataclasses import dataclass

PARTS_MAX = 1000


@dataclass(frozen=True, slots=True)
class PartSizes:
    """No part but the last may be smaller than 5 MB. Small ones are lost sooner, and cheaper."""

    part_bytes: int = 16 * 1024**2
    parted_above_bytes: int = 64 * 1024**2

    def part_of(self, size_bytes: int) -> int:
        """How large the parts of such a file are."""
        return max(self.part_bytes, math.ceil(size_bytes / PARTS_MAX))

    def cut(self, size_bytes: int) -> list[int]:
        """The sizes of all its parts, in order."""
        part_bytes = self.part_of(size_bytes)
        return [min(part_bytes, size_bytes - at) for at in range(0, size_bytes, part_bytes)]
