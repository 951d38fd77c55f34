"""The host: one task a duty, which outlives its agents; a failing machine disturbs no other."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal

import structlog

from gpulease.contract.hosts import HOST_PERIOD_S, Duties, Duty
from worker_image.hosted.duties import Asker, News
from worker_image.hosted.life import Home, Life

AGAIN_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
LASTED_S = 120.0
"""An agent that lasted so long has mended: the next one is not kept waiting."""

_log = structlog.get_logger()


@dataclass(slots=True)
class Post:
    """One duty, and the task that serves it."""

    duty: Duty
    task: "asyncio.Task[None] | None" = None
    life: Life | None = None
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        self.leaving.set()
        if self.life is not None:
            self.life.stop()


class Host:
    def __init__(self, home: Home, asker: Asker, news: News) -> None:
        self._home = home
        self._asker = asker
        self._news = news
        self._posts: dict[str, Post] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop`; then every agent gets its grace."""
        asking = asyncio.create_task(self._ask_forever())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                asking.result()
        finally:
            for task in (asking, stopping):
                task.cancel()
            await asyncio.gather(asking, stopping, return_exceptions=True)
        await self._drain()

    async def end(self) -> None:
        """Ends every agent at once: what it holds is handed back, and nothing is waited for.

        One that is ending already is left to close what it has.
        """
        tasks = self._tasks()
        for task in tasks:
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain(self) -> None:
        for post in self._posts.values():
            post.stop()
        if tasks := self._tasks():
            await asyncio.wait(tasks)

    def _tasks(self) -> set[asyncio.Task[None]]:
        return {post.task for post in self._posts.values() if post.task is not None} | self._ending

    async def _ask_forever(self) -> None:
        while True:
            duties = await self._asker.ask()
            if duties is not None:
                self._news.tell(duties.news)
                self._settle(duties)
            await asyncio.sleep(HOST_PERIOD_S)

    def _settle(self, duties: Duties) -> None:
        """Ends what is not asked for any more, or not like this; begins what is new."""
        wanted = {duty.worker_id: duty for duty in duties.duties}
        for worker_id, post in list(self._posts.items()):
            if wanted.get(worker_id) != post.duty:
                del self._posts[worker_id]
                self._dismiss(post)
        for worker_id in wanted.keys() - self._posts.keys():
            post = Post(wanted[worker_id])
            post.task = asyncio.create_task(self._serve(post))
            self._posts[worker_id] = post
            _log.info("duty_begins", worker_id=worker_id, address=post.duty.address)

    def _dismiss(self, post: Post) -> None:
        _log.info("duty_ends", worker_id=post.duty.worker_id)
        if post.task is not None:
            post.task.cancel()
            self._ending.add(post.task)
            post.task.add_done_callback(self._ending.discard)

    async def _serve(self, post: Post) -> None:
        """One agent after the other, each with an incarnation of its own."""
        clock = asyncio.get_running_loop()
        tries = 0
        while not post.leaving.is_set():
            started = clock.time()
            ended = await self._one_life(post, new=not tries)
            if ended == "given_up":
                await post.leaving.wait()
            tries = 1 if clock.time() - started > LASTED_S else tries + 1
            await _unless(post.leaving, AGAIN_S[min(tries, len(AGAIN_S)) - 1])

    async def _one_life(self, post: Post, *, new: bool) -> Literal["ended", "given_up"]:
        post.life = life = Life(self._home, post.duty)
        log = _log.bind(worker_id=post.duty.worker_id)
        try:
            code = await _or_left(life, post, new=new)
            log.info("agent_ended", how=code, given_up=life.given_up)
        except Exception:  # The top of a task: the duty lasts, and the other machines do well.
            log.exception("agent_broke")
        finally:
            post.life = None
        return "given_up" if life.given_up else "ended"


async def _or_left(life: Life, post: Post, *, new: bool) -> str:
    """An agent that has not registered yet has nothing to finish when it is asked to leave."""
    running = asyncio.create_task(life.run(new=new))
    leaving = asyncio.create_task(post.leaving.wait())
    try:
        await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done() and not life.serving:
            return "never began"
        return (await running).name
    finally:
        for task in (running, leaving):
            task.cancel()
        await asyncio.gather(running, leaving, return_exceptions=True)


async def _unless(event: asyncio.Event, for_s: float) -> None:
    try:
        async with asyncio.timeout(for_s):
            await event.wait()
    except TimeoutError:
        return
