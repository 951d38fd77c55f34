"""Loops run on their period and on nudges, one turn at a time, in any order of start and stop."""

import asyncio
import time

from orchestrator.loops import NUDGE_WINDOW_S, Loops


class Counter:
    def __init__(self, takes_s=0.0, fails=0):
        self.turns, self.running, self.most = 0, 0, 0
        self.takes_s, self.fails = takes_s, fails
        self.began, self.ran = asyncio.Event(), asyncio.Event()

    async def __call__(self):
        self.running += 1
        self.most = max(self.most, self.running)
        self.began.set()
        await asyncio.sleep(self.takes_s)
        self.running -= 1
        self.turns += 1
        self.ran.set()
        if self.turns <= self.fails:
            raise RuntimeError("this turn fails")


async def started(body, period_s):
    loops = Loops()
    loops.add("it", body, period_s)
    loops.start()
    return loops


async def test_a_nudge_is_answered_soon():
    body, took = Counter(), []
    loops = await started(body, 3600)
    for _ in range(3):
        body.ran.clear()
        before = time.monotonic()
        loops.nudge("it")
        await asyncio.wait_for(body.ran.wait(), 30)
        took.append(time.monotonic() - before)
    assert min(took) < 0.5
    await loops.stop()


async def test_many_nudges_are_few_turns():
    body = Counter()
    loops = await started(body, 3600)
    before = time.monotonic()
    for _ in range(200):
        loops.nudge("it")
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.2)
    assert 1 <= body.turns <= 1 + (time.monotonic() - before) / NUDGE_WINDOW_S
    await loops.stop()


async def test_a_nudge_during_a_turn_causes_one_more_and_turns_never_overlap():
    body = Counter(takes_s=0.1)
    loops = await started(body, 3600)
    loops.nudge("it")
    await asyncio.wait_for(body.began.wait(), 30)
    for _ in range(5):
        loops.nudge("it")
    async with asyncio.timeout(30):
        while body.turns < 2:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert (body.turns, body.most) == (2, 1)
    await loops.stop()


async def test_a_failing_turn_is_retried_by_the_next():
    body = Counter(fails=1)
    loops = await started(body, 0.05)
    async with asyncio.timeout(30):
        while body.turns < 2:
            await asyncio.sleep(0.01)
    await loops.stop()
    assert loops.report()["it"]["error"] is None


async def test_start_and_stop_survive_any_order():
    loops = Loops()
    await loops.stop()
    loops.add("it", Counter(), 1)
    loops.nudge("it")
    loops.start()
    loops.start()
    await loops.stop()
    await loops.stop()
    loops.nudge("it")
    loops.start()
    await loops.stop()


async def test_stop_waits_for_a_turn_of_the_period_and_for_one_of_a_nudge():
    for period_s in (0.05, 3600):
        body = Counter(takes_s=0.3)
        loops = await started(body, period_s)
        loops.nudge("it")
        await asyncio.wait_for(body.began.wait(), 30)
        await loops.stop()
        assert (body.running, body.turns) == (0, 1)
        await asyncio.sleep(0.1)
        assert body.turns == 1


async def test_it_can_be_started_again():
    body = Counter()
    loops = await started(body, 0.05)
    await loops.stop()
    turns = body.turns
    loops.start()
    async with asyncio.timeout(30):
        while body.turns < turns + 2:
            await asyncio.sleep(0.01)
    await loops.stop()


async def test_a_turn_may_be_asked_for_later_and_the_last_word_counts():
    body = Counter()
    loops = await started(body, 3600)
    loops.nudge_in("it", 3600)
    loops.nudge_in("it", 0.2)
    before = time.monotonic()
    await asyncio.wait_for(body.ran.wait(), 30)
    assert time.monotonic() - before >= 0.19
    loops.nudge_in("it", 0.1)
    loops.nudge_in("it", None)
    await asyncio.sleep(0.3)
    assert body.turns == 1
    loops.nudge_in("it", 3600)
    await asyncio.wait_for(loops.stop(), 30)
    loops.nudge_in("it", 0.01)
    loops.nudge_in("other", 0.01)


async def test_a_turn_may_ask_for_the_next():
    loops = Loops()
    turns = []

    async def body():
        turns.append(time.monotonic())
        loops.nudge_in("it", 0.1)

    loops.add("it", body, 3600)
    loops.start()
    loops.nudge("it")
    async with asyncio.timeout(30):
        while len(turns) < 4:
            await asyncio.sleep(0.01)
    assert turns[3] - turns[0] >= 0.29
    await loops.stop()
