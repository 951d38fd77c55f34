"""ComfyUI's WebSocket: what it tells the client of a prompt, with a new connection whenever one breaks.

Events of the time without a connection are lost, so nothing may hang on them: they show progress and say when to
look, and `/history` says what is true.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

CONNECT_S_MAX = 10.0
AGAIN_S = 1.0
FRAME_BYTES_MAX = 32 * 1024 * 1024
KEPT_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Event:
    kind: str
    data: Mapping[str, Any]


class _Straight(connect):
    """A redirect is no answer: the headers are for this address only."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class Events:
    """Opened by `async with`. `connected` says whether events can be expected at the moment."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = headers
        self._kept: asyncio.Queue[Event] = asyncio.Queue(KEPT_MAX)
        self._up = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._reading is not None  # noqa: S101  It was entered.
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    async def until_connected(self, wait_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._up.wait()
        return self.connected

    async def next(self, wait_s: float) -> Event | None:
        """The next one, or None when there is none within that time."""
        try:
            async with asyncio.timeout(wait_s):
                return await self._kept.get()
        except TimeoutError:
            return None

    async def _read(self) -> None:
        while True:
            with contextlib.suppress(OSError, WebSocketException, TimeoutError, EOFError):
                async with _Straight(
                    self._url,
                    additional_headers=self._headers,
                    user_agent_header="gpulease",
                    open_timeout=CONNECT_S_MAX,
                    close_timeout=0.5,
                    max_size=FRAME_BYTES_MAX,
                    proxy=None,
                ) as socket:
                    self._up.set()
                    await self._take(socket)
            self._up.clear()
            await asyncio.sleep(AGAIN_S)

    async def _take(self, socket: ClientConnection) -> None:
        """Binary frames are previews. Of too many events the oldest go: they are about progress that is over."""
        async for frame in socket:
            event = _event(frame) if isinstance(frame, str) else None
            if event is None:
                continue
            if self._kept.full():
                self._kept.get_nowait()
            self._kept.put_nowait(event)


def _event(frame: str) -> Event | None:
    try:
        said = json.loads(frame)
    except ValueError:
        return None
    match said:
        case {"type": str(kind), "data": dict(data)}:
            return Event(kind, data)
        case _:
            return None
