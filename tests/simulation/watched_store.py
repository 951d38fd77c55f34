"""A real store as one life of an orchestrator sees it: slow at times, silent once that life is over, and watched."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from orchestrator.store.rows import Claimed, Held, Job, Verdict, WorkerMove
from scaling.states import AttemptState, WorkerState

SLOW_SHARE = 0.2
SLOW_S_MAX = 0.3


class Watch:
    """What may never be, looked at whenever a verb has happened. It sees every life's verbs."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.broken: list[str] = []
        self.winners: dict[str, int] = {}
        self.intents = 0

    async def saw(self, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any], reply: Any) -> None:
        match verb:
            case "intend_worker":
                self.intents += 1
            case "claim_job" if isinstance(reply, Claimed):
                await self._one_attempt_runs(reply.job)
            case "finish_attempt" if reply is Verdict.APPLIED and kwargs.get("result") is not None:
                await self._one_attempt_wins(args[0])
            case "move_worker" if reply:
                self._gone_is_the_end(args[1])

    async def _one_attempt_runs(self, job: Job) -> None:
        running = [
            one for one in await self._store.list_attempts(job.id) if one.state is AttemptState.RUNNING
        ]
        if len(running) != 1:
            self.broken.append(f"job {job.id}: {len(running)} attempts run at once")

    async def _one_attempt_wins(self, held: Held) -> None:
        claimed = await self._store.get_attempt(held.attempt_id)
        job_id = claimed.job.id
        if job_id in self.winners:
            self.broken.append(
                f"job {job_id}: attempts {self.winners[job_id]} and {held.attempt_id} both won"
            )
        self.winners[job_id] = held.attempt_id

    def _gone_is_the_end(self, move: WorkerMove) -> None:
        if WorkerState.GONE in move.expected:
            self.broken.append("a worker that is gone was moved")


class WatchedStore:
    """`alive` says whether its owner still lives; a dead owner's verbs never happen, and never return."""

    def __init__(self, store: Any, watch: Watch, dice: random.Random, alive: Callable[[], bool]) -> None:
        self._store = store
        self._watch = watch
        self._dice = dice
        self._alive = alive

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            slow = self._dice.random() < SLOW_SHARE
            before = slow and self._dice.random() < 0.5
            if before:
                await asyncio.sleep(self._dice.uniform(0.0, SLOW_S_MAX))
            if not self._alive():
                raise asyncio.CancelledError
            reply = await verb(*args, **kwargs)
            await self._watch.saw(name, args, kwargs, reply)
            if slow and not before:
                await asyncio.sleep(self._dice.uniform(0.0, SLOW_S_MAX))
            return reply

        return call
