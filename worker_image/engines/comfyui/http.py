"""ComfyUI's HTTP by httpx: bounded bodies, JSON, and every failure on the way as a fault of the host.

The headers given (a key, where a proxy wants one) go to the server's own address and to no other: redirects are not
followed.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from worker_image.faults import HostFault

CONNECT_S_MAX = 10.0
CALL_S_MAX = 60.0
JSON_BYTES_MAX = 32 * 1024 * 1024
SHOWN_LETTERS_MAX = 500


class Http:
    def __init__(self, base_url: str, headers: Mapping[str, str], call_s_max: float = CALL_S_MAX) -> None:
        self._call_s_max = call_s_max
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers={"User-Agent": "gpulease", **headers},
            timeout=httpx.Timeout(call_s_max, connect=CONNECT_S_MAX),
            trust_env=False,
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def read(self, route: str, **more: Any) -> dict[str, Any]:
        """A JSON object of an answer 200."""
        async with self.stream("GET", route, **more) as reply:
            return decoded(await self.body(reply))

    async def write(self, route: str, body: Any) -> None:
        """The answers to these are empty."""
        async with self.stream("POST", route, json=body) as reply:
            await self.body(reply)

    @asynccontextmanager
    async def stream(self, method: str, route: str, **more: Any) -> AsyncIterator[httpx.Response]:
        """An answer 200, to be read by the caller."""
        async with self.answer(method, route, **more) as reply:
            if reply.status_code != httpx.codes.OK:
                page = plain((await self.body(reply)).decode(errors="replace"))
                code = "server_refused" if reply.is_client_error else "server_failed"
                raise HostFault(code, f"{method} {route} answered {reply.status_code}: {page}")
            yield reply

    @asynccontextmanager
    async def answer(self, method: str, route: str, **more: Any) -> AsyncIterator[httpx.Response]:
        """Whatever is answered, to be read by the caller."""
        try:
            async with self._client.stream(method, route, **more) as reply:
                yield reply
        except (httpx.TimeoutException, TimeoutError) as error:
            why = f"{method} {route}: no answer ({type(error).__name__})"
            raise HostFault("machine_silent", why) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = f"{method} {route}: {str(error) or type(error).__name__}"
            raise HostFault("machine_unreachable", why) from error

    async def body(self, reply: httpx.Response) -> bytes:
        content = bytearray()
        async with asyncio.timeout(self._call_s_max):
            async for chunk in reply.aiter_bytes():
                content += chunk
                if len(content) > JSON_BYTES_MAX:
                    raise HostFault(
                        "answer_too_big", f"ComfyUI answers with more than {JSON_BYTES_MAX} bytes"
                    )
        return bytes(content)


def decoded(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except ValueError as error:
        shown = content[:SHOWN_LETTERS_MAX].decode(errors="replace")
        raise HostFault("server_failed", f"ComfyUI answered with no JSON: {plain(shown)}") from error
    if not isinstance(said, dict):
        raise HostFault("server_failed", f"ComfyUI answered {plain(json.dumps(said))}")
    return said


def plain(text: str) -> str:
    return " ".join(text.split())[:SHOWN_LETTERS_MAX]
