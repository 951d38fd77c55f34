"""A stepped wall clock does not leap, and is caught up with in time."""

import pytest

from orchestrator.clock import ManualClock, SteadyClock


class Sources:
    def __init__(self) -> None:
        self.wall_at, self.elapsed_at = 1_000_000.0, 50.0

    def pass_(self, seconds):
        self.wall_at += seconds
        self.elapsed_at += seconds

    def clock(self):
        return SteadyClock(lambda: self.wall_at, lambda: self.elapsed_at)


def test_it_tells_the_wall_time():
    sources = Sources()
    clock = sources.clock()
    sources.pass_(10)
    assert clock.now() == pytest.approx(1_000_010.0)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_an_hours_step_is_not_felt_and_is_slewed_away(step_s):
    sources = Sources()
    clock = sources.clock()
    sources.wall_at += step_s
    sources.pass_(15)
    assert clock.now() == pytest.approx(1_000_015.0, abs=1.0)
    for _ in range(1000):
        sources.pass_(100)
        clock.now()
    assert clock.now() == pytest.approx(sources.wall_at)


def test_it_never_goes_back():
    sources = Sources()
    clock = sources.clock()
    seen = []
    for step_s in (0, -7200, 5, -60, 3600):
        sources.wall_at += step_s
        sources.pass_(1)
        seen.append(clock.now())
    assert seen == sorted(seen)


def test_a_manual_clock_moves_when_told():
    clock = ManualClock(5.0)
    clock.advance(2)
    assert clock.now() == 7.0
