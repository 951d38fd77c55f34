"""The lifecycles of jobs, attempts and workers, each as one transition table."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    EXPIRED = "expired"


class AttemptState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class WorkerState(StrEnum):
    """`intended` may be withdrawn for free; from `creating` on, somebody may be billing us until `gone`."""

    INTENDED = "intended"
    CREATING = "creating"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    GONE = "gone"

    __hash__ = str.__hash__
    """An enum's own is a Python function, and plans ask thousands of times whether a state is in a set."""


class IllegalMove(Exception):
    """A move that its table does not have: a bug of ours, never a client's."""


State = TypeVar("State", JobState, AttemptState, WorkerState)

J, A, W = JobState, AttemptState, WorkerState

JOB_MOVES: Mapping[JobState, frozenset[JobState]] = {
    J.QUEUED: frozenset({J.RUNNING, J.CANCELLED, J.EXPIRED, J.FAILED}),
    J.RUNNING: frozenset({J.QUEUED, J.SUCCEEDED, J.FAILED, J.CANCELLED, J.TIMED_OUT}),
    J.SUCCEEDED: frozenset(),
    J.FAILED: frozenset(),
    J.CANCELLED: frozenset(),
    J.TIMED_OUT: frozenset(),
    J.EXPIRED: frozenset(),
}
ATTEMPT_MOVES: Mapping[AttemptState, frozenset[AttemptState]] = {
    A.RUNNING: frozenset({A.SUCCEEDED, A.FAILED, A.LOST, A.CANCELLED, A.TIMED_OUT}),
    A.SUCCEEDED: frozenset(),
    A.FAILED: frozenset(),
    A.LOST: frozenset(),
    A.CANCELLED: frozenset(),
    A.TIMED_OUT: frozenset(),
}
WORKER_MOVES: Mapping[WorkerState, frozenset[WorkerState]] = {
    W.INTENDED: frozenset({W.CREATING, W.GONE}),
    W.CREATING: frozenset({W.STARTING, W.READY, W.STOPPING, W.GONE}),
    W.STARTING: frozenset({W.READY, W.STOPPING}),
    W.READY: frozenset({W.DRAINING, W.STOPPING}),
    W.DRAINING: frozenset({W.STOPPING}),
    W.STOPPING: frozenset({W.GONE}),
    W.GONE: frozenset(),
}
TERMINAL_JOBS = frozenset(state for state, after in JOB_MOVES.items() if not after)


def advance(moves: Mapping[State, frozenset[State]], before: State, after: State) -> State:
    """Returns `after`.

    Raises:
        IllegalMove: the table has no such move.
    """
    if after not in moves[before]:
        raise IllegalMove(f"{type(before).__name__}: {before} -> {after}")
    return after


def sources(moves: Mapping[State, frozenset[State]], after: State) -> tuple[State, ...]:
    """The states that `after` can be reached from, in the table's order: the guard of a SQL `WHERE`."""
    return tuple(before for before, afters in moves.items() if after in afters)
