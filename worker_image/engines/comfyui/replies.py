"""What ComfyUI's replies say, as values. Whatever in them has another shape than it should counts as not said."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SOME = "some outputs of the graph would not run"


@dataclass(frozen=True, slots=True)
class NodeError:
    """One input of one node that the server does not take. `input_name` is None where it is the node as a whole."""

    node: str
    class_type: str
    kind: str
    said: str
    input_name: str | None = None
    received: Any = None

    def __str__(self) -> str:
        where = f"node {self.node} ({self.class_type})"
        return (
            f"{where}, input {self.input_name}: {self.said}" if self.input_name else f"{where}: {self.said}"
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """What `/prompt` says against a graph. Beside an answer 200 it means that only the rest of it would run."""

    kind: str
    said: str
    nodes: tuple[NodeError, ...] = ()


@dataclass(frozen=True, slots=True)
class Ticket:
    """A prompt of ours: by its id, and by the client that it was given for, should the server choose its own ids."""

    prompt_id: str
    client_id: str


@dataclass(frozen=True, slots=True)
class Queue:
    """Both in the order in which they run."""

    running: tuple[Ticket, ...]
    pending: tuple[Ticket, ...]

    def active(self, ticket: Ticket) -> list[str]:
        """The ids under which it runs: one, or none."""
        return [one.prompt_id for one in self.running if _same(ticket, one)]

    def waiting(self, ticket: Ticket) -> list[str]:
        """The ids under which it waits."""
        return [one.prompt_id for one in self.pending if _same(ticket, one)]

    def has(self, ticket: Ticket) -> bool:
        return bool(self.active(ticket) or self.waiting(ticket))

    def ahead(self, ticket: Ticket) -> int | None:
        """How many come before it; None where it does not wait."""
        place = next((at for at, one in enumerate(self.pending) if _same(ticket, one)), None)
        return None if place is None else place + len(self.running)


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that a node left on the server, under names that are the server's word."""

    node: str
    filename: str
    subfolder: str
    kind: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What a node raised."""

    node: str
    class_type: str
    exception: str
    said: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How a prompt ended. Without success and without a failure, somebody interrupted it."""

    success: bool
    files: tuple[Stored, ...]
    failure: Failure | None = None
    cached: int = 0


def refusal_of(said: dict[str, Any]) -> Refusal | None:
    """What is wrong by the answer of `/prompt`, whatever its status."""
    nodes = tuple(_node_errors(said.get("node_errors")))
    error = said.get("error")
    if error is None and not nodes:
        return None
    why: dict[str, Any] = error if isinstance(error, dict) else {"message": error or _SOME}
    words = (_text(why.get("message")).rstrip("."), _text(why.get("details")))
    return Refusal(_text(why.get("type")), ": ".join(word for word in words if word), nodes)


def queue_of(said: dict[str, Any]) -> Queue:
    """Pending ones are a heap on the wire; their first member is what they are ordered by."""
    waiting = sorted(_listed(said.get("queue_pending")), key=lambda one: one[0])
    return Queue(
        tuple(_ticket(one) for one in _listed(said.get("queue_running"))),
        tuple(_ticket(one) for one in waiting),
    )


def ending_of(entry: dict[str, Any]) -> Ending:
    """Reads an entry of the history, which exists for prompts that have ended only."""
    status = entry.get("status") or {}
    messages = status.get("messages") or ()
    told = {one[0]: one[1] for one in messages if isinstance(one, list) and len(one) == 2}
    return Ending(
        success=status.get("status_str", "success") == "success",
        files=tuple(_files(entry.get("outputs") or {})),
        failure=_failure(told.get("execution_error")),
        cached=len((told.get("execution_cached") or {}).get("nodes") or ()),
    )


def _failure(error: dict[str, Any] | None) -> Failure | None:
    if error is None:
        return None
    words = (error.get(name) for name in ("node_id", "node_type", "exception_type", "exception_message"))
    return Failure(*map(_text, words))


def combo(info: dict[str, Any], class_type: str, name: str) -> tuple[str, ...]:
    """The choices of an input, as `/object_info` lists them in either of its two spellings."""
    groups = ((info.get(class_type) or {}).get("input") or {}).values()
    spec = next((group[name] for group in groups if isinstance(group, dict) and name in group), None)
    match spec:
        case [list(choices), *_]:
            pass
        case ["COMBO", {"options": list(choices)}, *_]:
            pass
        case _:
            return ()
    return tuple(one for one in choices if isinstance(one, str))


def _node_errors(said: Any) -> Iterator[NodeError]:
    for node, one in said.items() if isinstance(said, dict) else ():
        errors = one.get("errors") if isinstance(one, dict) else None
        for error in errors or ():
            extra = error.get("extra_info") or {}
            words = (_text(error.get("message")), _text(error.get("details")))
            yield NodeError(
                node=_text(node),
                class_type=_text(one.get("class_type")),
                kind=_text(error.get("type")),
                said=": ".join(word for word in words if word),
                input_name=extra.get("input_name"),
                received=extra.get("received_value"),
            )


def _files(outputs: dict[str, Any]) -> Iterator[Stored]:
    """Films are listed under `gifs` too, and nodes may have keys of their own."""
    for node, made in outputs.items():
        for listed in made.values() if isinstance(made, dict) else ():
            for one in listed if isinstance(listed, list) else ():
                if isinstance(one, dict) and isinstance(one.get("filename"), str):
                    kind = _text(one.get("type")) or "output"
                    yield Stored(_text(node), one["filename"], _text(one.get("subfolder")), kind)


def _listed(said: Any) -> list[list[Any]]:
    found = [one for one in said if isinstance(one, list) and len(one) >= 4] if isinstance(said, list) else []
    return [one for one in found if isinstance(one[0], int | float)]


def _ticket(listed: list[Any]) -> Ticket:
    extra = listed[3] if isinstance(listed[3], dict) else {}
    return Ticket(_text(listed[1]), _text(extra.get("client_id")))


def _same(ours: Ticket, other: Ticket) -> bool:
    return ours.prompt_id == other.prompt_id or ours.client_id == other.client_id


def _text(said: Any) -> str:
    return "" if said is None else str(said)[:2000]
