"""An event loop whose clock jumps to the next timer when nothing is ready: hours pass in seconds, and always alike.

Nothing here sleeps, and nothing runs on another thread while the loop looks away: what the loop sends to an
executor runs at once where it stands, and `Aside` does the same for a store with threads of its own.
"""

import asyncio
import contextlib
import contextvars
import itertools
import os
import random
import selectors
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVar

EPOCH = 1_800_000_000.0
LULL_TICKS = 20
T = TypeVar("T")
OWNER: contextvars.ContextVar[object] = contextvars.ContextVar("OWNER", default=None)
"""Whose a task is: it is inherited by the tasks and timers that it starts."""


class Stuck(AssertionError):
    """Everybody waits, and for nothing that will come."""


class _Jumping(selectors.SelectSelector):
    """There is no I/O in a virtual world: whoever would wait for it lets the time pass instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nothing is ready, and no timer is set")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time` begins at 0 and moves only when all that is ready has run."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  Whoever waits gets it.
            future.set_exception(error)
        return future


class VirtualClock:
    """The time of the running loop, as seconds since the epoch; `skew_s` is how wrong somebody's clock is."""

    def __init__(self, loop: VirtualLoop, skew_s: float = 0.0) -> None:
        self._loop = loop
        self._skew_s = skew_s

    def now(self) -> float:
        return EPOCH + self._skew_s + self._loop.time()


class Ticker:
    """Keeps the loops' periods as APScheduler does, which reads the wall clock and therefore cannot stay here.

    Loops named in `without` never tick, and in a lull only one tick in twenty comes: there is nothing to see then.
    """

    def __init__(self, without: frozenset[str], is_lull: Callable[[], bool]) -> None:
        self._without = without
        self._is_lull = is_lull
        self._tasks: list[asyncio.Task[None]] = []

    def add_job(
        self,
        tick: Callable[..., Awaitable[None]],
        _trigger: str,
        *,
        args: list[Any],
        seconds: float,
        **_: Any,
    ) -> None:
        if args[0] not in self._without:
            self._tasks.append(asyncio.get_running_loop().create_task(self._keep(tick, args, seconds)))

    async def _keep(self, tick: Callable[..., Awaitable[None]], args: list[Any], seconds: float) -> None:
        skipped = 0
        while True:
            await asyncio.sleep(seconds)
            skipped = (skipped + 1) % LULL_TICKS if self._is_lull() else 0
            if not skipped:
                await tick(*args)

    def shutdown(self, *, wait: bool) -> None:
        for task in self._tasks:
            task.cancel()


class Aside:
    """An object whose coroutines run in a real loop on a thread; the virtual one stands still meanwhile."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._inner = self._do(make())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, getattr(self._inner, name))

    async def _call(self, verb: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        return self._do(verb(*args, **kwargs))

    def close(self) -> None:
        self._do(self._inner.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def dice_of_the_system(seed: str) -> Iterator[None]:
    """The system's random bytes come from the seed, since ids are made of them and ties are broken by ids."""
    true = os.urandom
    os.urandom = random.Random(seed).randbytes
    try:
        yield
    finally:
        os.urandom = true


def run(main: Callable[[], Coroutine[Any, Any, T]], seed: object = 0) -> T:
    """Runs `main()` in virtual time, with the dice of the seed, and cancels in order whatever it leaves behind."""
    with dice_of_the_system(f"{seed}/system"):
        loop = VirtualLoop()
        order = itertools.count()
        loop.set_task_factory(partial(_known, order))
        try:
            return loop.run_until_complete(main())
        finally:
            _sweep(loop)
            loop.close()


class _Known(asyncio.Task):
    """Sets of tasks have no order of their own, and a task does not say who began it."""

    number = 0
    owner: object = None


def _known(order: Iterator[int], loop: asyncio.AbstractEventLoop, coro: Any, **how: Any) -> _Known:
    task = _Known(coro, loop=loop, **how)
    task.number = next(order)
    context = how.get("context")
    task.owner = OWNER.get() if context is None else context.get(OWNER)
    return task


def tasks_of(owner: object, loop: asyncio.AbstractEventLoop | None = None) -> list[_Known]:
    """The unfinished tasks that were begun in the context of this owner, in the order in which they were made."""
    mine = [one for one in asyncio.all_tasks(loop) if isinstance(one, _Known) and one.owner is owner]
    return sorted(mine, key=lambda one: one.number)


def context_of(owner: object) -> contextvars.Context:
    """A context in which tasks are this owner's."""
    context = contextvars.copy_context()
    context.run(OWNER.set, owner)
    return context


def _sweep(loop: VirtualLoop) -> None:
    for _ in range(10):
        left = sorted(asyncio.all_tasks(loop), key=lambda one: getattr(one, "number", 0))
        if not left:
            return
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
