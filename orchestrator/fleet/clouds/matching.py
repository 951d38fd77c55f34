"""Which instance is whose: what a provider lists, held against our rows. Pure.

Where instances carry tags, the tag says it. Where they do not, the instance id of the row does; and an instance that
no row knows is taken for the outcome of a creation that we never heard of only if it appeared inside that
creation's window. Everything else belongs to strangers, and is never touched.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.store.rows import Worker
from provider_clients.base import Instance
from scaling.states import WorkerState

CLOCK_SKEW_S = 30.0
"""The provider's clock may be so far from ours."""


@dataclass(frozen=True, slots=True)
class Found:
    """`rows` are the instances of live workers, by worker id; `orphans` are ours, and no live row wants them.

    While `open`, some of the strangers may turn out to be what a creation made, so a row without an instance cannot
    be said to have none.
    """

    rows: Mapping[str, Instance]
    orphans: tuple[Instance, ...] = ()
    strangers: tuple[Instance, ...] = ()
    open: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What we know beside the listing of a provider without tags.

    `known` are worker ids by instance id, of all that we ever leased. `window_s` is how long after its begin a
    creation may still bring an instance. While `creating`, a call is under way that will tell itself what it made,
    so nothing is taken for an older one's outcome. On an `exclusive` account there are no strangers.
    """

    known: Mapping[str, str]
    window_s: float
    exclusive: bool = False
    creating: bool = False


def by_tag(instances: Iterable[Instance], workers: Iterable[Worker], deployment: str) -> Found:
    prefix = f"{deployment}-"
    alive = {worker.id for worker in workers}
    ours = {one.tag.removeprefix(prefix): one for one in instances if one.tag.startswith(prefix)}
    return Found(
        rows={name: one for name, one in ours.items() if name in alive},
        orphans=tuple(one for name, one in ours.items() if name not in alive),
        strangers=tuple(one for one in instances if not one.tag.startswith(prefix)),
    )


def by_id(instances: Iterable[Instance], workers: Iterable[Worker], memory: Memory) -> Found:
    live = {worker.id: worker for worker in workers}
    known = memory.known
    rows = {known[one.id]: one for one in instances if known.get(one.id) in live}
    orphans = [one for one in instances if one.id in known and known[one.id] not in live]
    unknown = [one for one in instances if one.id not in known]
    unresolved = [] if memory.creating else sorted(filter(_is_unresolved, live.values()), key=_begun_at)
    for worker in unresolved:
        made = next((one for one in unknown if _made_by(one, worker, memory.window_s)), None)
        if made is not None:
            unknown.remove(made)
            rows[worker.id] = made
    if memory.exclusive and not memory.creating:
        return Found(rows, (*orphans, *unknown))
    return Found(rows, tuple(orphans), tuple(unknown), open=memory.creating)


def _is_unresolved(worker: Worker) -> bool:
    """Its creation was begun, and we do not know what came of it."""
    begun = worker.state in (WorkerState.CREATING, WorkerState.STOPPING)
    return begun and worker.instance_id is None and worker.creating_at is not None


def _begun_at(worker: Worker) -> float:
    return worker.creating_at or 0.0


def _made_by(instance: Instance, worker: Worker, window_s: float) -> bool:
    if instance.created_at is None or instance.gpu_class != worker.gpu_class:
        return False
    after_s = instance.created_at - _begun_at(worker)
    return -CLOCK_SKEW_S <= after_s <= window_s + CLOCK_SKEW_S
