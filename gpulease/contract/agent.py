"""The agent protocol: what a worker's agent and the orchestrator say to each other.

All calls go from the agent to `/internal/workers/{worker_id}/…`. Reports carry the worker's `incarnation`
(a new random string each time its process starts); a stale one is answered 409 and changes nothing.
"""

from typing import Any, Literal

from pydantic import Field, field_validator

from gpulease.contract.base import Lenient
from gpulease.contract.jobs import Fault, Name, OutputFile, Phase, Result
from gpulease.contract.plain import check_plain

LOG_CHUNK_BYTES_MAX = 64 * 1024
QUEUES_MAX = 64


class EngineOffer(Lenient):
    """What a worker can honestly run: an engine, by which backend, which models, and what it can beside.

    Features are words such as `clone`, `translate`, `multilingual`; a job may need some of them. `vram_gb` is what
    its largest model takes of the GPU's memory.
    """

    engine: str
    backend: str
    models: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    vram_gb: float = 0.0


class RegisterRequest(Lenient):
    incarnation: str = Field(min_length=8, max_length=64)
    engines: tuple[EngineOffer, ...]
    gpu_class: str = "cpu"
    vram_gb: float = 0.0
    capacity: int = Field(default=1, ge=1, le=64)
    queues: tuple[Name, ...] = Field(
        default=(), max_length=QUEUES_MAX, description="The queues that it serves; none named, all."
    )
    usd_per_hour: float = Field(
        default=0.0, ge=0, description="What the owner of the machine asks for the time in which it works."
    )
    version: str = "0"


class RegisterReply(Lenient):
    """How the agent should behave. URLs of `origin`, ours, and of `origins`, where our signed URLs lead, are exempt
    from the private-address guard.
    """

    heartbeat_s: float
    claim_wait_s: float
    orphan_after_s: float
    origin: str
    origins: tuple[str, ...] = ()


class HeartbeatRequest(Lenient):
    """Only `status`, `gpu_class`, `capacity` and `error` come from a buffer worker of the first generation."""

    status: Literal["idle", "busy", "paused", "leaving"] = "idle"
    gpu_class: str | None = None
    capacity: int | None = Field(default=None, ge=1, le=64)
    error: str | None = None
    incarnation: str | None = None
    resident: tuple[str, ...] = Field(default=(), description="Models in memory, as engine/model.")
    free_vram_gb: float | None = None
    attempts: tuple[int, ...] | None = Field(default=None, description="The attempts that it holds.")


class Prefetch(Lenient):
    """A hint, which anyone may overtake: this job may come next, and these are its input URLs by field."""

    job_id: str
    inputs: dict[str, str]


class HeartbeatReply(Lenient):
    status: Literal["ok"] = "ok"
    cancel: tuple[int, ...] = Field(
        default=(), description="Attempts to stop; their reports are stale already."
    )
    drain: bool = False
    pause: bool = False
    stop: bool = False
    prefetch: Prefetch | None = None


class ClaimRequest(Lenient):
    """A claim repeated with the same nonce returns the same attempt."""

    incarnation: str
    nonce: str = Field(min_length=8, max_length=64)
    wait_s: float = Field(default=20.0, ge=0, le=60)
    resident: tuple[str, ...] = ()


class Assignment(Lenient):
    """An attempt to run. `inputs` maps the URL fields of the input to what may be fetched."""

    attempt: int
    number: int
    job_id: str
    engine: str
    model: str | None = None
    input: dict[str, Any]
    inputs: dict[str, str] = Field(default_factory=dict)
    time_left_s: float
    stalled_after_s: float


class ClaimReply(Lenient):
    assignment: Assignment | None = None
    drain: bool = False
    stop: bool = False


class ProgressReport(Lenient):
    incarnation: str
    phase: Phase
    progress: float = Field(ge=0, le=1)
    message: str | None = Field(default=None, max_length=500)
    step: int | None = None
    total_steps: int | None = None
    gpu_util: float | None = None


class LogChunk(Lenient):
    """Output of the engine, by byte offset; a chunk that arrives twice is kept once."""

    incarnation: str
    offset: int = Field(ge=0)
    text: str = Field(max_length=LOG_CHUNK_BYTES_MAX)


class UploadRequest(Lenient):
    incarnation: str
    name: str = Field(min_length=1, max_length=200)
    size_bytes: int = Field(ge=0)
    content_type: str = "application/octet-stream"


class PartGrant(Lenient):
    """Where to put one part: a PUT of exactly so many bytes. Its reply's ETag goes into the `UploadComplete`."""

    url: str
    size_bytes: int


class UploadGrant(Lenient):
    """Where to put one output: a PUT with these headers. `key` goes into the finish report.

    A large file has `parts`, in order, each for the next `part_bytes` of it (the last for the rest); an agent that
    knows them puts them instead, in any order, and says so with an `UploadComplete`. In a bucket the file is called
    `object_name`.
    """

    key: str
    url: str
    method: Literal["PUT"] = "PUT"
    headers: dict[str, str] = Field(default_factory=dict)
    bucket: str | None = None
    object_name: str | None = None
    upload_id: str | None = None
    part_bytes: int = 0
    parts: tuple[PartGrant, ...] = ()


class UploadComplete(Lenient):
    """All parts are put: their ETags, in the order of the parts. The same twice is answered 200 twice."""

    incarnation: str
    key: str
    upload_id: str
    etags: tuple[str, ...] = Field(min_length=1, max_length=10_000)


class FinishReport(Lenient):
    """The end of an attempt: a result, or a fault. The same report twice is answered 200 twice."""

    incarnation: str
    result: Result | None = None
    fault: Fault | None = None

    @field_validator("result")
    @classmethod
    def _can_be_shown(cls, result: Result | None) -> Result | None:
        if result is not None:
            check_plain((result.text, result.data, [file.name for file in result.files]))
        return result

    def files(self) -> tuple[OutputFile, ...]:
        return self.result.files if self.result else ()


class Ack(Lenient):
    status: Literal["ok"] = "ok"
