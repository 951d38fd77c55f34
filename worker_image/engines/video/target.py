"""A worker that speaks gRPC: where it is, how it is reached, and which of the two services it has."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio

from gpulease.contract import video_generator_pb2 as wire
from gpulease.contract.video_generator_pb2_grpc import GeneratorStub, VideoGeneratorStub

KEY_NAME = "x-internal-api-key"
PROBE_S_MAX = 2.0
_PROBE_ID = "gpulease-probe"
_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    # Servers take more than one ping in five minutes for an attack, by default.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]
_NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_NOT_FOR_US = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(frozen=True, slots=True)
class Target:
    """`address` is host:port, or the same behind `grpc://` or, with TLS, `grpcs://`; the rest are files in PEM.

    With an authority or a certificate it is TLS, whatever the address says.
    """

    address: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.address.partition("://")[2].rstrip("/") or self.address

    @property
    def secure(self) -> bool:
        return self.address.startswith("grpcs://") or bool(self.ca or self.cert)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return ((KEY_NAME, self.api_key),) if self.api_key else ()

    def channel(self) -> grpc.aio.Channel:
        """For the running loop. Raises: OSError: a file of it cannot be read."""
        if not self.secure:
            return grpc.aio.insecure_channel(self.name, _OPTIONS)
        return grpc.aio.secure_channel(self.name, self._credentials(), _OPTIONS)

    def plain_channel(self) -> grpc.Channel:
        """For a thread without a loop. Raises: OSError."""
        if not self.secure:
            return grpc.insecure_channel(self.name, _OPTIONS)
        return grpc.secure_channel(self.name, self._credentials(), _OPTIONS)

    def _credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(*map(_read, (self.ca, self.key, self.cert)))


def _read(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


@dataclass(frozen=True, slots=True)
class Answers:
    """What two harmless questions were answered with: a status each, None for a reply."""

    generator: grpc.StatusCode | None = None
    submissions: grpc.StatusCode | None = None

    def why_not(self, name: str) -> str | None:
        """Why nothing can be asked of it; None: it has one of the services."""
        if self.generator in _NO_ANSWER:
            return f"nothing that speaks gRPC answers at {name}"
        if self.generator in _NOT_FOR_US:
            return f"{name} refuses us: it wants a key or a certificate"
        if self.generator == self.submissions == grpc.StatusCode.UNIMPLEMENTED:
            return f"{name} has neither of the services video.Generator and video.VideoGenerator"
        return None


def asked(target: Target) -> Answers:
    """Asks it, for `PROBE_S_MAX` a question. Raises: OSError."""
    with target.plain_channel() as channel:
        return Answers(
            _status(GeneratorStub(channel).GetJob, wire.GetJobRequest(job_id=_PROBE_ID), target),
            _status(VideoGeneratorStub(channel).GetStatus, wire.StatusRequest(job_id=_PROBE_ID), target),
        )


def _status(rpc: Any, request: Any, target: Target) -> grpc.StatusCode | None:
    try:
        rpc(request, timeout=PROBE_S_MAX, metadata=target.metadata)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return None


class Line:
    """An open channel to it, in a running loop, with its stubs."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._channel = target.channel()
        self.generator = GeneratorStub(self._channel)
        self.submissions = VideoGeneratorStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._channel.close()

    async def why_not(self) -> str | None:
        """As `Answers.why_not`, asked here."""
        first = await self._answer(self.generator.GetJob, wire.GetJobRequest(job_id=_PROBE_ID))
        second = await self._answer(self.submissions.GetStatus, wire.StatusRequest(job_id=_PROBE_ID))
        return Answers(first, second).why_not(self.target.name)

    async def _answer(self, rpc: Any, request: Any) -> grpc.StatusCode | None:
        try:
            await rpc(request, timeout=PROBE_S_MAX, metadata=self.target.metadata)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return None
