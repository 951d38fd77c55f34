"""Replies of Gradio apps: bounded bodies, JSON, and server-sent events, line by line."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from worker_image.faults import HostFault

BODY_S_MAX = 60.0
JSON_BYTES_MAX = 16 * 1024 * 1024
EVENT_BYTES_MAX = 32 * 1024 * 1024
SHOWN_LETTERS_MAX = 500


async def body(reply: httpx.Response) -> bytes:
    content = bytearray()
    async with asyncio.timeout(BODY_S_MAX):
        async for chunk in reply.aiter_bytes():
            content += chunk
            check_size(len(content), JSON_BYTES_MAX)
    return bytes(content)


async def events(reply: httpx.Response) -> AsyncIterator[tuple[str, bytes]]:
    """Server-sent events: their kind and their data. An empty line ends each."""
    event, data = "", b""
    async for line in _lines(reply):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if event:
                yield event, data
            event, data = "", b""
        elif field == b"event":
            event = value.decode(errors="replace")
        elif field == b"data":
            data = data + b"\n" + value if data else value
            check_size(len(data), EVENT_BYTES_MAX)
    if event:
        yield event, data


async def _lines(reply: httpx.Response) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for chunk in reply.aiter_bytes():
        rest += chunk
        check_size(len(rest), EVENT_BYTES_MAX)
        if b"\n" in chunk:
            *lines, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in lines:
                yield line.rstrip(b"\r")


def check_size(size_bytes: int, bytes_max: int) -> None:
    if size_bytes > bytes_max:
        raise HostFault("output_too_big", f"the app answers with more than {bytes_max} bytes")


def decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        shown = content[:SHOWN_LETTERS_MAX].decode(errors="replace")
        raise HostFault("app_failed", f"the app answered with no JSON: {plain(shown)}") from error


def reason(data: bytes) -> str:
    """An app that does not show its errors says null."""
    try:
        said = json.loads(data or b"null")
    except ValueError:
        return plain(data.decode(errors="replace"))
    if isinstance(said, dict):
        said = said.get("error") or said.get("message") or said
    return shown(said) if said is not None else "it does not say why"


def shown(said: Any) -> str:
    return plain(said if isinstance(said, str) else json.dumps(said))


def plain(text: str) -> str:
    return " ".join(text.split())[:SHOWN_LETTERS_MAX]
