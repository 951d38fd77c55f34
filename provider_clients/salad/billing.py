"""What Salad bills: the time in which a container of the group ran, by the group's system log.

Allocating, downloading and creating are free. The log has the newest fifty events and no more.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from provider_clients.base import Receipt
from provider_clients.salad.replies import Event, Group

EVENTS_MAX = 50
ENDINGS = (
    "interrupted",
    "exited",
    "reallocated",
    "recreated",
    "restarted",
    "stopping",
    "stopped",
    "allocated",
    "downloading",
    "creating",
    "starting",
    "start failure",
)
"""Words of events after which an instance does not run. Those about its readiness say nothing of that."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which an instance ran; the end is None where the log does not have it."""

    started_at: float
    ended_at: float | None = None


def intervals(events: Iterable[Event]) -> list[Interval]:
    """When instances ran, out of their events in any order."""
    running: dict[str, float] = {}
    found: list[Interval] = []
    for event, at in _in_order(events):
        instance = event.instance_id
        if instance is None:
            continue
        what = event.event_name.casefold()
        if what == "instance running":
            running.setdefault(instance, at)
        elif instance in running and any(word in what for word in ENDINGS):
            found.append(Interval(running.pop(instance), at))
    return found + [Interval(started_at) for started_at in running.values()]


def settled(events: tuple[Event, ...]) -> bool:
    """Whether waiting for more of the log is of no use: it tells the end of all that ran, or is cut off."""
    return len(events) >= EVENTS_MAX or (
        bool(events) and all(one.ended_at is not None for one in intervals(events))
    )


def receipt(events: tuple[Event, ...], group: Group) -> Receipt | None:
    """The bill of a group whose instances are gone; None where the records do not say.

    An end that the log lacks is taken from the group's own state, and so is all of it where there is no log.
    """
    if len(events) >= EVENTS_MAX:
        return None  # The log may have lost its beginning.
    state = group.current_state
    times = [one.event_time for one in events if one.event_time is not None]
    if not times:
        return _of_state(state.start_time, state.finish_time)
    stopped_at = state.finish_time or max(times)
    ran = [(one.started_at, one.ended_at or max(one.started_at, stopped_at)) for one in intervals(events)]
    if not ran:
        return Receipt(min(times), min(times), 0.0)
    return Receipt(
        started_at=min(start for start, _ in ran),
        ended_at=max(end for _, end in ran),
        billed_s=sum(end - start for start, end in ran),
    )


def _of_state(started_at: float | None, ended_at: float | None) -> Receipt | None:
    if started_at is None or ended_at is None or ended_at < started_at:
        return None
    return Receipt(started_at, ended_at, ended_at - started_at)


def _in_order(events: Iterable[Event]) -> list[tuple[Event, float]]:
    """By time; the log has the newest first, so that events of one instant are turned round before."""
    timed = [(one, one.event_time) for one in events if one.event_time is not None]
    if timed and timed[0][1] > timed[-1][1]:
        timed.reverse()
    return sorted(timed, key=lambda pair: pair[1])
