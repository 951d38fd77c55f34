"""Render machines that are listed in a file and run already: they are asked how they are, and never bought or ended."""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from gpulease.contract.engines import CATALOGUE
from provider_clients.base import Account, Instance, LaunchSpec, Receipt
from provider_clients.errors import NotFound, OutcomeUnknown, ProviderError, Rejected
from provider_clients.http import Limits, ProviderHttp
from scaling.snapshot import Offer

LIMITS = Limits(connect_s=3.0, read_s=5.0, total_s=5.0, tries=1)


@dataclass(frozen=True, slots=True)
class StaticMachine:
    """`engines` says which of its `EngineId`s runs which engine of ours. `shared_here` and `shared_there` are one
    folder, as this machine and as that one see it; without it no file gets there.

    A machine at `grpc://host:port` or, with TLS, `grpcs://host:port` makes videos: its `video` names the models that
    it has, the first where a job names none. The files of `tls_ca`, `tls_cert` and `tls_key` are in PEM.
    """

    name: str
    url: str
    engines: dict[str, str]
    shared_here: str | None = None
    shared_there: str | None = None
    usd_per_hour: float = 0.0
    gpu_class: str = "static"
    key: str | None = field(default=None, repr=False)
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = field(default=None, repr=False)

    @property
    def speaks_grpc(self) -> bool:
        return self.url.startswith(("grpc://", "grpcs://"))

    @property
    def instance(self) -> Instance:
        return Instance(id=self.name, tag="", gpu_class=self.gpu_class, address=self.url)


def _engine(name: str) -> str:
    if name not in CATALOGUE:
        raise ValueError(f"{name} is no engine; there are {', '.join(CATALOGUE)}")
    return name


Text = Annotated[str, Field(min_length=1)]


class MachineEntry(BaseModel):
    """One object of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,55}$")]
    url: Annotated[
        str, Field(pattern=r"^(https?://[^\s/?#@]+(/[^\s?#]*)?|grpcs?://[^\s/?#@]+:[0-9]{1,5}/?)$")
    ]
    engines: Annotated[dict[Annotated[str, AfterValidator(_engine)], Text], Field(min_length=1)]
    shared_here: Text | None = None
    shared_there: Text | None = None
    usd_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    gpu_class: Text = "static"
    key: Text | None = None
    tls_ca: Text | None = None
    tls_cert: Text | None = None
    tls_key: Text | None = None

    @model_validator(mode="after")
    def _both_sides_of_a_folder(self) -> "MachineEntry":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("give both tls_cert and tls_key, or neither")
        if (self.shared_here is None) != (self.shared_there is None):
            raise ValueError("give both shared_here and shared_there, or neither")
        return self


ENTRIES = TypeAdapter(list[MachineEntry])


def read_machines(path: Path) -> tuple[StaticMachine, ...]:
    """Raises: ValueError: every fault of the file, one a line, each with its place in it."""
    try:
        entries = ENTRIES.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ValueError("\n".join(f"{path}: {one}" for one in _faults(error))) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    names = [one.name for one in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError("\n".join(f"{path}: two machines have the name {name}" for name in twice))
    return tuple(StaticMachine(**{**one.model_dump(), "url": one.url.rstrip("/")}) for one in entries)


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in fault["loc"]) or "the whole"
        yield f"{where}: {fault['msg']}"


class Static:
    """Each machine is asked with its own key; one that does not answer is not listed."""

    def __init__(self, machines: Sequence[StaticMachine], *, limits: Limits = LIMITS) -> None:
        self.name = "static"
        self.stops_with_us = False
        self.tagged = False
        self.hosted = True
        self.list_lag_s = 0.0
        self._machines = {one.name: one for one in machines}
        self._doors = {
            one.name: ProviderHttp(one.url, {"X-Internal-API-Key": one.key} if one.key else {}, limits=limits)
            for one in machines
            if not one.speaks_grpc
        }
        self._limits = limits

    @property
    def machines(self) -> tuple[StaticMachine, ...]:
        return tuple(self._machines.values())

    async def offers(self) -> tuple[Offer, ...]:
        return ()

    async def create(self, spec: LaunchSpec, tag: str) -> Instance:
        raise Rejected(f"{tag} ({spec.gpu_class}) cannot be bought: static machines are listed in a file")

    async def list(self) -> tuple[Instance, ...]:
        machines = tuple(self._machines.values())
        answers = await asyncio.gather(*(self.probe(one.instance) for one in machines))
        return tuple(one.instance for one, answered in zip(machines, answers, strict=True) if answered)

    async def get(self, instance_id: str) -> Instance:
        """Raises: OutcomeUnknown: it is listed in the file, and does not answer."""
        await self._engine_ids(instance_id)
        return self._machines[instance_id].instance

    async def delete(self, instance_id: str) -> Receipt | None:
        raise NotFound(f"{instance_id} is its owner's, and not ours to end")

    async def check(self) -> Account:
        notes = await asyncio.gather(*(self._note(one) for one in self._machines.values()))
        return Account(tuple(notes) or ("No machine is listed.",))

    async def probe(self, instance: Instance) -> bool:
        try:
            await self._engine_ids(instance.id)
        except ProviderError:
            return False
        return True

    async def aclose(self) -> None:
        await asyncio.gather(*(door.aclose() for door in self._doors.values()))

    async def _note(self, machine: StaticMachine) -> str:
        try:
            found = await self._engine_ids(machine.name)
        except ProviderError as error:
            return f"{machine.name}: {error}"
        missing = sorted(set(machine.engines.values()) - set(found))
        if missing:
            return (
                f"{machine.name} answers, and does not run {', '.join(missing)}; it runs {', '.join(found)}."
            )
        return f"{machine.name} answers, and runs {', '.join(found)}."

    async def _engine_ids(self, name: str) -> tuple[str, ...]:
        """Which engines the machine says that it has; one that speaks gRPC cannot be asked, but reached."""
        machine = self._machines.get(name)
        if machine is None:
            raise NotFound(f"no machine {name} is listed in the file")
        if machine.speaks_grpc:
            await _reach(machine.url, self._limits.connect_s)
            return tuple(machine.engines.values())
        try:
            return _ids_in(await self._doors[name].read("GET", "/hpc/status"))
        except NotFound as error:
            raise OutcomeUnknown(str(error)) from error  # The machine is there, and is no render machine.


async def _reach(url: str, within_s: float) -> None:
    """Raises: OutcomeUnknown: nobody listens there."""
    where = urlsplit(url)
    try:
        async with asyncio.timeout(within_s):
            _, writer = await asyncio.open_connection(where.hostname, where.port)
    except (OSError, ValueError) as error:
        raise OutcomeUnknown(f"{url} cannot be reached: {str(error) or type(error).__name__}") from error
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _ids_in(status: Any) -> tuple[str, ...]:
    """`EngineIds` of a status; their server's settings may have its first letter small."""
    named = {key.lower(): value for key, value in status.items()} if isinstance(status, dict) else {}
    found = named.get("engineids")
    if not isinstance(found, list):
        raise OutcomeUnknown("GET /hpc/status answered with something that is no status of a render machine")
    return tuple(str(one) for one in found)
