"""What such a worker's statuses and error codes mean, and how long its silence is borne."""

import time

import grpc
import grpc.aio

from gpulease.contract import video_generator_pb2 as wire
from worker_image.faults import Faulted, HostFault, InputFault

SILENCE_S_MAX = 60.0
"""So long it may be out of reach while its job goes on: a restart, a new route."""

_WORDS_MAX = 1_000
_HTTP_CLIENT_FAULTS = range(400, 500)
_STATUSES = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: "generator_busy",
    grpc.StatusCode.FAILED_PRECONDITION: "model_missing",
    grpc.StatusCode.UNAUTHENTICATED: "generator_refused",
    grpc.StatusCode.PERMISSION_DENIED: "generator_refused",
    grpc.StatusCode.DEADLINE_EXCEEDED: "generator_timed_out",
    grpc.StatusCode.UNAVAILABLE: "generator_unreachable",
}
_CODES: dict[int, str] = {
    wire.CANCELLED: "generator_cancelled",
    wire.TIMED_OUT: "generator_timed_out",
    wire.OUT_OF_MEMORY: "out_of_memory",
}


def fault_of(error: grpc.aio.AioRpcError) -> Faulted:
    words = _plain(error.details() or error.code().name)
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return InputFault("input_invalid", f"the video worker refused the job: {words}")
    code = _STATUSES.get(error.code(), "generator_failed")
    return HostFault(code, f"the video worker: {error.code().name}: {words}")


def fault_of_event(error: wire.Error) -> Faulted:
    """Codes of other workers are their own; where they borrow HTTP's, a 4xx is the job's fault."""
    words = _plain(error.message or f"error {error.code}")
    if error.code == wire.INVALID_INPUT or error.code in _HTTP_CLIENT_FAULTS:
        return InputFault("input_invalid", f"the video worker refused the job: {words}")
    code = _CODES.get(error.code, "generator_failed")
    return HostFault(code, f"the video worker failed ({error.code}): {words}")


def failed(words: str) -> HostFault:
    return HostFault("generator_failed", f"the video worker failed: {_plain(words or 'it does not say why')}")


def _plain(words: str) -> str:
    return " ".join(words.split())[:_WORDS_MAX]


class Patience:
    """Bears a worker that is out of reach, for so many seconds since it was last heard."""

    def __init__(self, silence_s_max: float = SILENCE_S_MAX) -> None:
        self._silence_s_max = silence_s_max
        self._heard_at = time.monotonic()
        self.tries = 0

    def heard(self) -> None:
        self._heard_at = time.monotonic()
        self.tries = 0

    def bear(self, error: grpc.aio.AioRpcError) -> float:
        """How long to wait before the next try, in seconds. Raises: Faulted."""
        silent_s = time.monotonic() - self._heard_at
        if error.code() is not grpc.StatusCode.UNAVAILABLE or silent_s > self._silence_s_max:
            raise fault_of(error) from error
        self.tries += 1
        return min(0.25 * (1 << min(self.tries, 10)), 5.0)
