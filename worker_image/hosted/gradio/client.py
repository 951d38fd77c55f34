"""Gradio apps on the wire, by httpx alone: what an app asks for, files up and down, and one call with its events.

The key goes with every request to the app's own address, and to no other: redirects are not followed, and files are
asked for by their path, since behind a proxy the URLs that an app tells of lead astray. All sizes are bounded.
"""

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from worker_image.engines.base import Report
from worker_image.faults import HostFault
from worker_image.hosted.gradio.app import App, app_of
from worker_image.hosted.gradio.replies import body, check_size, decoded, events, plain, reason, shown

CONNECT_S_MAX = 10.0
CALL_S_MAX = 60.0
SILENCE_S_MAX = 45.0
"""Three heartbeats, one every 15 s, may be missed."""
_EVENT_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")

Headers = Mapping[str, str]


class Gradio:
    """One app below `base_url`. Whatever goes wrong on the way is a `HostFault`."""

    def __init__(self, base_url: str, headers: Headers, *, silence_s_max: float = SILENCE_S_MAX) -> None:
        self._silence_s_max = silence_s_max
        self._app: App | None = None
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers={"User-Agent": "gpulease", **headers},
            timeout=httpx.Timeout(CALL_S_MAX, connect=CONNECT_S_MAX),
            trust_env=False,
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def app(self) -> App:
        """Asked for anew each time; the calls use the latest."""
        async with self._sent("GET", "/config") as reply:
            said = decoded(await body(reply))
        self._app = app_of(said)
        return self._app

    async def upload(self, path: Path, source_url: str) -> dict[str, Any]:
        """Puts a file on the machine, and returns what stands for it in a call.

        The name that it gets there has the suffix of its source, by which apps tell films from sound.
        """
        name = f"input{_suffix(source_url)}"
        with path.open("rb") as file:
            files = {"files": (name, file, "application/octet-stream")}
            async with self._sent("POST", f"{await self._prefix()}/upload", files=files) as reply:
                said = decoded(await body(reply))
        if not (isinstance(said, list) and said and isinstance(said[0], str)):
            raise HostFault("app_failed", f"the upload was answered {shown(said)}")
        return {"path": said[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    async def call(self, endpoint: str, data: list[Any], on_life: Callable[[], None]) -> list[Any]:
        """Runs an endpoint to its end and returns its outputs. `on_life` is called at every sign of life.

        Raises:
            HostFault: `app_error`: the app itself says that it failed; others: it could not be asked, or fell silent.
        """
        route = f"{await self._prefix()}/call/{endpoint}"
        async with self._sent("POST", route, json={"data": data}) as reply:
            said = decoded(await body(reply))
        event_id = said.get("event_id") if isinstance(said, dict) else None
        if not (isinstance(event_id, str) and _EVENT_ID.fullmatch(event_id)):
            raise HostFault("app_failed", f"the call was answered {shown(said)}")
        patience = httpx.Timeout(self._silence_s_max, connect=CONNECT_S_MAX)
        async with self._sent("GET", f"{route}/{event_id}", timeout=patience) as reply:
            return await _outputs(reply, on_life)

    async def fetch(self, file: Any, target: Path, bytes_max: int) -> None:
        """Saves a file that a call made; it must not be empty."""
        path = file.get("path") if isinstance(file, dict) else None
        if not isinstance(path, str) or not path:
            raise HostFault("output_missing", f"the app names no file, but {shown(file)}")
        size_bytes = 0
        async with self._sent("GET", f"{await self._prefix()}/file={quote(path)}") as reply:
            with target.open("wb") as sink:
                async for chunk in reply.aiter_bytes():
                    size_bytes += len(chunk)
                    check_size(size_bytes, bytes_max)
                    sink.write(chunk)
        if not size_bytes:
            raise HostFault("output_missing", f"the app's file {Path(path).name} is empty")

    async def _prefix(self) -> str:
        return (self._app or await self.app()).prefix

    @asynccontextmanager
    async def _sent(self, method: str, route: str, **more: Any) -> AsyncIterator[httpx.Response]:
        what = f"{method} {self._client.base_url.path.rstrip('/')}{route}"
        try:
            async with self._client.stream(method, route, **more) as reply:
                if reply.status_code != 200:
                    page = (await body(reply)).decode(errors="replace")
                    raise HostFault("app_failed", f"{what} answered {reply.status_code}: {plain(page)}")
                yield reply
        except (httpx.TimeoutException, TimeoutError) as error:
            raise HostFault("machine_silent", f"{what}: no sign of life ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise HostFault("machine_unreachable", f"{what}: {why}") from error


def counting_life(report: Report, what: str) -> Callable[[], None]:
    """An app tells nothing between the start of a call and its end; that it is alive is all the progress there is."""
    started = time.monotonic()
    report(0.0, what)
    return lambda: report(0.0, f"{what}, {time.monotonic() - started:.1f} s")


async def _outputs(reply: httpx.Response, on_life: Callable[[], None]) -> list[Any]:
    async for event, data in events(reply):
        on_life()
        match event:
            case "complete":
                outputs = decoded(data)
                if not isinstance(outputs, list):
                    raise HostFault("app_failed", f"the app's outputs are {shown(outputs)}")
                return outputs
            case "error":
                raise HostFault("app_error", f"the app failed: {reason(data)}")
            case _:
                continue
    raise HostFault("machine_lost", "the connection to the app ended before its answer")


def _suffix(url: str) -> str:
    suffix = Path(urlsplit(url).path).suffix
    return suffix.lower() if _SUFFIX.fullmatch(suffix) else ""
