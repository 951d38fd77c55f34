"""Heartbeats on a thread of their own, so that neither an engine nor a blocked event loop delays one.

The agent publishes what to say as one frozen value; the thread says the latest, every period or when nudged, and
hands each outcome to the agent's event loop.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from gpulease.contract import agent as wire
from worker_image.link import Link, LinkError, Unreachable

CLOSE_S_MAX = 1.0

Done = TypeVar("Done")


class BeatThread:
    """A thread with an event loop of its own. The agents of one process may share one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="heartbeats", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, Done]) -> "asyncio.Future[Done]":
        """Runs it over there; to be waited for here."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def soon(self, call: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """What is ending there has time to end."""
        asyncio.run_coroutine_threadsafe(_end_all(), self._loop).result()
        self.soon(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_all() -> None:
    """All tasks of this loop but the one that asks."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    late = (await asyncio.wait(tasks, timeout=CLOSE_S_MAX))[1] if tasks else set()
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class News:
    """What came of one heartbeat: a reply, or what went wrong. `asked_at` is monotonic: when it was sent."""

    asked_at: float
    reply: wire.HeartbeatReply | None = None
    error: LinkError | None = None


class Beats:
    """The heartbeats of one agent. `link` is theirs alone, and is closed with them.

    A heartbeat vouches for the agent: while the agent's loop has taken no news for `stuck_s_max`, none is sent, so
    that the orchestrator sees the worker as lost.
    """

    def __init__(self, thread: BeatThread, link: Link, hear: Callable[[News], None]) -> None:
        self._thread = thread
        self._link = link
        self._hear = hear
        self._home = asyncio.get_running_loop()
        self._said = wire.HeartbeatRequest()
        self._nudged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._taken_at = time.monotonic()
        self.period_s = 5.0
        self.stuck_s_max = 120.0

    @property
    def heard_at(self) -> float:
        return self._link.heard_at

    def say(self, said: wire.HeartbeatRequest, *, now: bool = False) -> None:
        """From here on heartbeats say this; the first of them at once, if `now`."""
        self._said = said
        if now:
            self._thread.soon(self._nudged.set)

    def start(self) -> None:
        self._thread.soon(self._begin)

    async def last(self, said: wire.HeartbeatRequest) -> None:
        """One more heartbeat, waited for; the regular ones are over."""
        await self._thread.do(self._say_last(said))

    async def aclose(self) -> None:
        """Whoever is cancelled meanwhile does not wait for the end; but it comes."""
        await asyncio.shield(self._thread.do(self._close()))

    # From here on, everything but `_take` runs on the thread.

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._beat_forever())

    async def _beat_forever(self) -> None:
        while True:
            self._nudged.clear()
            next_at = time.monotonic() + self.period_s
            if time.monotonic() - self._taken_at < self.stuck_s_max:
                self._hand_over(await self._once())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_at - time.monotonic())):
                    await self._nudged.wait()

    async def _once(self) -> News:
        asked_at = time.monotonic()
        try:
            return News(asked_at, reply=await self._link.heartbeat(self._said))
        except LinkError as error:
            return News(asked_at, error=error)
        except Exception as error:  # noqa: BLE001  The top of the loop: whatever it is, the next beat must come.
            return News(asked_at, error=Unreachable(repr(error)))

    def _hand_over(self, news: News) -> None:
        with contextlib.suppress(RuntimeError):  # The agent's loop has ended; so will we.
            self._home.call_soon_threadsafe(self._take, news)

    def _take(self, news: News) -> None:
        self._taken_at = time.monotonic()
        self._hear(news)

    async def _say_last(self, said: wire.HeartbeatRequest) -> None:
        await self._end_task()
        await self._link.heartbeat(said)

    async def _close(self) -> None:
        await self._end_task()
        await self._link.aclose()

    async def _end_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
