"""What the API sends, checked where it comes in: a reply that cannot be read is no answer, and never "nothing"."""

import re
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from provider_clients.base import Instance
from provider_clients.errors import OutcomeUnknown

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?")
OVER = frozenset({"stopped", "stopping", "failed", "error", "expired", "terminated"})
Id = Annotated[str, Field(min_length=1, max_length=200)]
Second = Annotated[float, Field(ge=0, allow_inf_nan=False)]
T = TypeVar("T")


class Reply(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Workload(Reply):
    """A lease as `/workloads` shows it. Times are unix seconds by their clock."""

    workload: Id
    node: str | None = None
    type: str | None = None
    status: str | None = None
    running: bool | None = None
    created: Second | None = None
    expires: Second | None = None

    def instance(self, scheme: str) -> Instance:
        return Instance(
            id=self.workload,
            tag="",
            gpu_class=self.type or "",
            running=self.running is not False and (self.status or "").lower() not in OVER,
            created_at=self.created,
            lease_ends_at=self.expires,
            address=address(scheme, self.node) if self.node and HOST.fullmatch(self.node) else None,
        )


class Launched(Reply):
    workload: Id
    node: Annotated[str, Field(pattern=rf"^{HOST.pattern}$")]


class Stopped(Reply):
    stopped: Second | None = None


class Balance(Reply):
    balance: float


WORKLOADS = TypeAdapter(list[Workload])
TYPES = TypeAdapter(tuple[str, ...])
LAUNCHED = TypeAdapter(Launched)
STOPPED = TypeAdapter(Stopped)
BALANCE = TypeAdapter(Balance)


def parsed(shape: TypeAdapter[T], body: Any, call: str) -> T:
    """Raises: OutcomeUnknown: the body has another shape."""
    try:
        return shape.validate_python(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise OutcomeUnknown(f"{call} answered with something unreadable ({where}: {first['msg']})") from None


def address(scheme: str, node: str) -> str:
    return f"{scheme}://{node}"
