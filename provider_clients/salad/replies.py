"""What Salad answers, as far as we read it: everything else is ignored, and an unreadable reply is a doubt.

Shapes from the API's OpenAPI document 0.9.0-alpha.17. States are plain words here, since new ones may come.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, ValidationError

from provider_clients.errors import OutcomeUnknown


def epoch_s(value: object) -> float | None:
    """RFC 3339 with any number of decimals (Salad writes seven) as epoch seconds; None for anything else.

    A moment that never came is told as the first day of the year 1.
    """
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


Moment = Annotated[float | None, BeforeValidator(epoch_s)]


class Resources(BaseModel):
    gpu_classes: tuple[str, ...] | None = None


class Container(BaseModel):
    resources: Resources = Resources()


class State(BaseModel):
    status: str
    description: str | None = None
    start_time: Moment = None
    finish_time: Moment = None


class Group(BaseModel):
    """A container group. Its name is our tag."""

    name: str = Field(min_length=1)
    current_state: State
    create_time: Moment = None
    container: Container = Container()

    @property
    def running(self) -> bool:
        return self.current_state.status not in {"failed", "succeeded", "stopped"}


class Groups(BaseModel):
    items: tuple[Group, ...]


class Replica(BaseModel):
    """One instance of a group, a container on a machine. `id` was `instance_id` in an older API."""

    id: str = Field(validation_alias=AliasChoices("id", "instance_id"))
    machine_id: str
    state: str
    ready: bool | None = None


class Replicas(BaseModel):
    instances: tuple[Replica, ...]


class Event(BaseModel):
    """A line of a group's system log."""

    event_name: str
    event_time: Moment
    instance_id: str | None = None


class Events(BaseModel):
    items: tuple[Event, ...]


class Price(BaseModel):
    """USD an hour, as text."""

    priority: str | None = None
    price: str | float


class GpuClass(BaseModel):
    id: str
    name: str
    prices: tuple[Price, ...]


class GpuClasses(BaseModel):
    items: tuple[GpuClass, ...]


class ReplicaQuotas(BaseModel):
    container_replicas_quota: int
    container_replicas_used: int


class Quotas(BaseModel):
    container_groups_quotas: ReplicaQuotas | None = None


class Secret(BaseModel):
    secret_key: str


Shape = TypeVar("Shape", bound=BaseModel)


def read_as(shape: type[Shape], reply: Any) -> Shape:
    """Raises OutcomeUnknown for a reply of another shape. Its values are not shown: some are secrets."""
    try:
        return shape.model_validate(reply)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"]) or "all of it"
        raise OutcomeUnknown(f"Salad's reply is not as its API says: {where}") from None
