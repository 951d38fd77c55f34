"""The transition tables: closed, absorbing at their ends, and every state can end."""

import pytest

from scaling.states import ATTEMPT_MOVES, JOB_MOVES, WORKER_MOVES, IllegalMove, WorkerState, advance, sources

TABLES = [JOB_MOVES, ATTEMPT_MOVES, WORKER_MOVES]


@pytest.mark.parametrize("moves", TABLES)
def test_every_state_reaches_an_end(moves):
    ends = {state for state, after in moves.items() if not after}
    reached = set(ends)
    for _ in moves:
        reached |= {state for state, after in moves.items() if after & reached}
    assert reached == set(moves) == set(type(next(iter(moves))))


@pytest.mark.parametrize("moves", TABLES)
def test_a_move_outside_the_table_is_a_bug(moves):
    for before in moves:
        for after in moves:
            if after in moves[before]:
                assert advance(moves, before, after) is after
                assert before in sources(moves, after)
            else:
                with pytest.raises(IllegalMove):
                    advance(moves, before, after)


def test_a_paid_worker_is_gone_only_by_way_of_stopping_or_a_refused_creation():
    assert set(sources(WORKER_MOVES, WorkerState.GONE)) == {
        WorkerState.INTENDED,
        WorkerState.CREATING,
        WorkerState.STOPPING,
    }
