"""The metadata service of a Salad node: which of a group's instances is to be taken away last, or is to move.

A container that exits there is started again, and nothing inside can end the billing: the orchestrator does.
"""

import asyncio
import contextlib

import httpx
import structlog

URL_DEFAULT = "http://169.254.169.254:80"
CALL_S_MAX = 2.0
BUSY_COST = 1000
IDLE_COST = 0
REASON_LETTERS_MAX = 1000

_log = structlog.get_logger()


class Imds:
    """Best effort: a call that fails is not repeated, and the next change is told again."""

    def __init__(self, url: str) -> None:
        # The service refuses callers that come through a proxy.
        self._client = httpx.AsyncClient(
            base_url=url, headers={"Metadata": "true"}, timeout=CALL_S_MAX, trust_env=False
        )
        self._wanted = IDLE_COST
        self._told: int | None = None
        self._telling: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None

    def set_busy(self, busy: bool) -> None:  # noqa: FBT001  A callback with one argument.
        self._wanted = BUSY_COST if busy else IDLE_COST
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    def reallocate(self, reason: str) -> None:
        """Asks for another node, since this one cannot do the work."""
        self._asking = asyncio.create_task(self._ask(reason[:REASON_LETTERS_MAX]))

    async def aclose(self) -> None:
        tasks = [task for task in (self._telling, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _tell(self) -> None:
        while self._told != self._wanted:
            self._told = self._wanted
            with contextlib.suppress(httpx.HTTPError):
                reply = await self._client.put("/v1/deletion-cost", json={"deletion_cost": self._told})
                _log.debug("deletion_cost", cost=self._told, status=reply.status_code)

    async def _ask(self, reason: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            reply = await self._client.post("/v1/reallocate", json={"reason": reason})
            _log.warning("reallocation_asked", reason=reason, status=reply.status_code)
