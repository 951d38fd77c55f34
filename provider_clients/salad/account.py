"""Whose account it is: the key, the two names that make every path, and the HTTP that carries them."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from provider_clients.http import ProviderHttp

BASE_URL = "https://api.salad.com/api/public"
PER_MINUTE_MAX = 240.0
"""Requests that the API takes from one key."""
NAME = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]")
"""Organisations, projects, container groups and queues are all called so."""
MERGE_PATCH = "application/merge-patch+json"
"""The only kind of body that a PATCH is taken with."""


@dataclass(frozen=True, slots=True)
class SaladAccount:
    """Raises ValueError for what the API could never take, all faults at once."""

    api_key: str = field(repr=False)
    organization: str
    project: str
    base_url: str = BASE_URL
    per_minute: float = PER_MINUTE_MAX
    """Our share of the key's requests."""

    def __post_init__(self) -> None:
        if faults := self.faults():
            raise ValueError("; ".join(faults))

    def faults(self) -> list[str]:
        found = [
            f"the {what} {name!r} is no name in Salad's sense: 2 to 63 of a-z, 0-9 and '-', a letter first, no '-' last"
            for what, name in (("organisation", self.organization), ("project", self.project))
            if not NAME.fullmatch(name)
        ]
        if not self.api_key.strip():
            found.append("the API key is empty")
        address = urlsplit(self.base_url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            found.append(f"the base URL {self.base_url!r} is no http or https URL")
        if self.per_minute <= 0:
            found.append("without any requests a minute nothing can be asked")
        return found

    def http(self) -> ProviderHttp:
        return ProviderHttp(self.base_url, {"Salad-Api-Key": self.api_key}, per_minute=self.per_minute)

    @property
    def organization_path(self) -> str:
        return f"/organizations/{self.organization}"

    @property
    def groups_path(self) -> str:
        return f"{self.organization_path}/projects/{self.project}/containers"

    @property
    def queues_path(self) -> str:
        return f"{self.organization_path}/projects/{self.project}/queues"

    def group_path(self, name: str) -> str:
        return f"{self.groups_path}/{name}"

    def queue_path(self, name: str) -> str:
        return f"{self.queues_path}/{name}"
