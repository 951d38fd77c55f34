"""What the orchestrator wants agents for, asked every second; and the news that come with the answers."""

import asyncio
import contextlib
import time

import httpx
import structlog

from gpulease.contract.hosts import Duties

NEWS_KEPT_S = 300.0
_CALL_S_MAX = 10.0

_log = structlog.get_logger()


class News:
    """Ids that a webhook told of. Whoever waits for one need not wait for its turn to look."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self._fresh: set[str] = set()
        self._changed = asyncio.Event()

    def tell(self, ids: tuple[str, ...]) -> None:
        """The same id told again is no news for a while."""
        now = time.monotonic()
        self._told = {one: at for one, at in self._told.items() if now - at < NEWS_KEPT_S}
        self._fresh &= self._told.keys()
        new = set(ids) - self._told.keys()
        self._told |= dict.fromkeys(ids, now)
        if new:
            self._fresh |= new
            self._changed.set()
            self._changed = asyncio.Event()

    async def wait(self, of: str, for_s: float) -> bool:
        """Whether there was word of it, after at most so long. Each word is heard once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                while of not in self._fresh:
                    await self._changed.wait()
        heard = of in self._fresh
        self._fresh.discard(of)
        return heard


class Asker:
    """One question after the other, with the host's key. Trouble is logged when it begins, and when it ends."""

    def __init__(self, orchestrator_url: str, host: str, key: str) -> None:
        self._path = f"/internal/hosts/{host}/duties"
        self._client = httpx.AsyncClient(
            base_url=orchestrator_url.rstrip("/"),
            headers={"User-Agent": "gpulease-host", "X-Internal-API-Key": key},
            timeout=_CALL_S_MAX,
            trust_env=False,
        )
        self._trouble: str | None = None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ask(self) -> Duties | None:
        """None where there is no usable answer: then nothing changes."""
        try:
            reply = await self._client.get(self._path)
            reply.raise_for_status()
            duties = Duties.model_validate_json(reply.content)
        except (httpx.HTTPError, ValueError) as error:
            self._note(f"{type(error).__name__}: {str(error)[:200]}")
            return None
        self._note(None)
        return duties

    def _note(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble is None:
                _log.info("duties_heard")
            else:
                _log.warning("no_duties", error=trouble)
