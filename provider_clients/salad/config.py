"""What ops decide about Salad: the account, the image, the machines that it may run on, and at which priority."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from provider_clients.salad.account import BASE_URL, PER_MINUTE_MAX, SaladAccount
from scaling.snapshot import Capability, Estimate

Priority = Literal["high", "medium", "low", "batch"]
Mode = Literal["agent", "queue"]
LIVES_S: Mapping[Priority, float] = {
    "high": 90 * 3600.0,
    "medium": 48 * 3600.0,
    "low": 24 * 3600.0,
    "batch": 12 * 3600.0,
}
"""How long machines serve in the mean. An operator lost about 1.1 of a hundred an hour, taken here for the highest
priority, where machines leave and do not give way. For the others nobody says it, and these are guesses.
"""
VALUE_LETTERS_MAX = 1000
"""The longest value of an environment variable. The shortest is one letter."""
IMAGE_LETTERS_MAX = 2048
CPU_MAX = 16
MEMORY_MB_MIN, MEMORY_MB_MAX = 1024, 61_440
STORAGE_GB_MAX = 250


@dataclass(frozen=True, slots=True)
class SaladConfig:
    """`gpu_classes` are names or ids; none means all that have a price at one of the priorities. Each of these is an
    offer of its own: a lower one is cheaper, and its machines are taken away sooner.

    `storage_gb` is in GiB. `image_gb` is what a machine downloads before it runs, and `boot_s_min` what even a tiny
    image takes. In queue mode the hosted agents ask with the same key, and so the client keeps to half of
    `per_minute`. `list_lag_s` is how long after a creation was begun a group may still appear.

    Raises ValueError for what the API could never take, all faults at once.
    """

    api_key: str = field(repr=False)
    organization: str
    project: str
    image: str
    base_url: str = BASE_URL
    priorities: tuple[Priority, ...] = ("batch",)
    gpu_classes: tuple[str, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    image_gb: float = 8.0
    boot_s_min: float = 90.0
    cpu: int = 4
    memory_mb: int = 16_384
    storage_gb: int = 50
    countries: tuple[str, ...] = ()
    mode: Mode = "agent"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    per_minute: float = PER_MINUTE_MAX
    list_lag_s: float = 90.0

    def __post_init__(self) -> None:
        if faults := self._choices() + self._sizes() + too_long(self.environment):
            raise ValueError("; ".join(faults))
        _ = self.account  # Its own faults.

    @property
    def account(self) -> SaladAccount:
        share = 2 if self.mode == "queue" else 1
        return SaladAccount(
            self.api_key, self.organization, self.project, self.base_url, self.per_minute / share
        )

    @property
    def boot_prior(self) -> Estimate:
        """Measured by operators: 80 to 110 s for 12 MB; 3 to 20 min for 5.5 GB, by how slow a home's line is."""
        return Estimate(
            mean_s=self.boot_s_min + 26 * self.image_gb,
            p90_s=1.2 * self.boot_s_min + 99 * self.image_gb,
            p99_s=1.7 * self.boot_s_min + 168 * self.image_gb,
        )

    def _choices(self) -> list[str]:
        found = []
        if not self.priorities:
            found.append("there must be a priority")
        known = get_args(Priority)
        found += [
            f"the priority {one!r} is none of {', '.join(known)}"
            for one in self.priorities
            if one not in known
        ]
        if self.mode not in get_args(Mode):
            found.append(f"the mode {self.mode!r} is none of {', '.join(get_args(Mode))}")
        if not 1 <= len(self.image) <= IMAGE_LETTERS_MAX:
            found.append("the image has no name, or one that is too long")
        wrong = [one for one in self.countries if not re.fullmatch("[a-z]{2}", one)]
        if wrong:
            found.append(f"countries are two small letters each, unlike {', '.join(wrong)}")
        return found

    def _sizes(self) -> list[str]:
        found = []
        if not 1 <= self.cpu <= CPU_MAX:
            found.append(f"{self.cpu} CPU cores: 1 to {CPU_MAX} can be had")
        if not MEMORY_MB_MIN <= self.memory_mb <= MEMORY_MB_MAX:
            found.append(f"{self.memory_mb} MB of memory: {MEMORY_MB_MIN} to {MEMORY_MB_MAX} can be had")
        if not 1 <= self.storage_gb <= STORAGE_GB_MAX:
            found.append(f"{self.storage_gb} GB of storage: 1 to {STORAGE_GB_MAX} can be had")
        if self.image_gb < 0 or self.boot_s_min < 0:
            found.append("the size of an image and the time of a boot are not negative")
        return found


def too_long(environment: Mapping[str, str]) -> list[str]:
    """Values are secrets as often as not, and so only names are said."""
    return [
        f"the environment variable {name} is longer than {VALUE_LETTERS_MAX} letters"
        for name, value in environment.items()
        if len(value) > VALUE_LETTERS_MAX
    ]
