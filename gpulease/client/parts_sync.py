"""Sends the parts of one file from a few threads."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing

import httpx
from tenacity import Retrying

from gpulease.client.errors import BadCredentials
from gpulease.client.files import Slice
from gpulease.client.parts import Parted, Parting, check, put_request, storage_timeouts, unreachable
from gpulease.contract.jobs import UploadPart, UploadPlan


def send(upload: Parted, base_url: httpx.URL, renew: Callable[[], UploadPlan], parting: Parting) -> None:
    """Sends all that is left. The first error, or an interrupt, ends the other threads too, within a piece.

    Raises:
        ClientError: a part was tried enough, or trying it again is no use.
    """
    # A client of its own: the signed URLs are enough, and our key is no business of a storage's.
    with (
        httpx.Client(timeout=storage_timeouts()) as plain,
        ThreadPoolExecutor(parting.at_once, thread_name_prefix="upload") as threads,
    ):
        sender = _Sender(upload, base_url, renew, plain)
        try:
            work = [threads.submit(sender.put, number, parting) for number in upload.left()]
            for done in as_completed(work):
                done.result()
        finally:
            sender.stop.set()
            threads.shutdown(wait=False, cancel_futures=True)


class _Stopped(Exception):
    """Another part has failed."""


class _Sender:
    def __init__(
        self, upload: Parted, base_url: httpx.URL, renew: Callable[[], UploadPlan], plain: httpx.Client
    ) -> None:
        self.stop = threading.Event()
        self._upload, self._base_url, self._renew, self._plain = upload, base_url, renew, plain
        self._renewing = threading.Lock()

    def put(self, number: int, parting: Parting) -> None:
        """The first that fails stops the others, which then end without an error."""
        try:
            Retrying(**parting.retrying(), sleep=self._rest)(self._once, number)
        except _Stopped:
            return
        except BaseException:
            self.stop.set()
            raise

    def _once(self, number: int) -> None:
        if self.stop.is_set():
            raise _Stopped
        part = self._upload.part(number)
        if part is None:
            return
        url = self._base_url.join(part.url)
        try:
            with closing(self._pieces(part)) as pieces:
                check(self._plain.send(put_request(self._plain, url, part, pieces)))
        except httpx.TransportError as error:
            raise unreachable(url, error) from error
        except BadCredentials:
            self._freshen(part)
            raise
        self._upload.arrived(part)

    def _pieces(self, part: UploadPart) -> Generator[bytes, None, None]:
        sent_bytes = 0
        self._upload.passed(part, sent_bytes)
        with Slice(self._upload.source, part) as slice_:
            while piece := slice_.read():
                if self.stop.is_set():
                    raise _Stopped
                yield piece
                sent_bytes += len(piece)
                self._upload.passed(part, sent_bytes)

    def _rest(self, pause_s: float) -> None:
        self.stop.wait(pause_s)

    def _freshen(self, part: UploadPart) -> None:
        """New URLs for all parts, once, however many of the old are refused."""
        with self._renewing:
            if self._upload.part(part.number) is part:
                self._upload.take(self._renew())
