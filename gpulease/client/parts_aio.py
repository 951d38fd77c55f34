"""Sends the parts of one file, a few at once, in the running loop."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing

import httpx
from tenacity import AsyncRetrying

from gpulease.client.errors import BadCredentials
from gpulease.client.files import Slice
from gpulease.client.parts import Parted, Parting, check, put_request, storage_timeouts, unreachable
from gpulease.contract.jobs import UploadPart, UploadPlan


async def send(
    upload: Parted, base_url: httpx.URL, renew: Callable[[], Awaitable[UploadPlan]], parting: Parting
) -> None:
    """See the sync one."""
    async with httpx.AsyncClient(timeout=storage_timeouts()) as plain:
        sender, numbers = _Sender(upload, base_url, renew, plain), iter(upload.left())
        tasks = [asyncio.create_task(sender.put(numbers, parting)) for _ in range(parting.at_once)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Sender:
    def __init__(
        self,
        upload: Parted,
        base_url: httpx.URL,
        renew: Callable[[], Awaitable[UploadPlan]],
        plain: httpx.AsyncClient,
    ) -> None:
        self._upload, self._base_url, self._renew, self._plain = upload, base_url, renew, plain
        self._renewing = asyncio.Lock()

    async def put(self, numbers: Iterator[int], parting: Parting) -> None:
        """All senders take from the same numbers, each the next."""
        for number in numbers:
            await AsyncRetrying(**parting.retrying())(self._once, number)

    async def _once(self, number: int) -> None:
        part = self._upload.part(number)
        if part is None:
            return
        url = self._base_url.join(part.url)
        try:
            async with aclosing(self._pieces(part)) as pieces:
                check(await self._plain.send(put_request(self._plain, url, part, pieces)))
        except httpx.TransportError as error:
            raise unreachable(url, error) from error
        except BadCredentials:
            await self._freshen(part)
            raise
        self._upload.arrived(part)

    async def _pieces(self, part: UploadPart) -> AsyncGenerator[bytes, None]:
        sent_bytes = 0
        self._upload.passed(part, sent_bytes)
        with Slice(self._upload.source, part) as slice_:
            while piece := await asyncio.to_thread(slice_.read):
                yield piece
                sent_bytes += len(piece)
                self._upload.passed(part, sent_bytes)

    async def _freshen(self, part: UploadPart) -> None:
        async with self._renewing:
            if self._upload.part(part.number) is part:
                self._upload.take(await self._renew())
