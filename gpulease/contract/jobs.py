"""Jobs as clients see them: what is asked for, and what is shown."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from gpulease.contract.base import Lenient, Wire
from gpulease.contract.plain import PlainObject

MAX_TIME_S_DEFAULT = 1200
COMPLETE_IN_S_DEFAULT = 3600
BATCH_MAX = 1000

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Status = Literal["queued", "running", "succeeded", "failed", "cancelled", "timed_out", "expired"]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled", "timed_out", "expired"})


class Phase(StrEnum):
    """Where an attempt stands. The slot of the worker is free again from `uploading` on."""

    PREPARING = "preparing"
    INFERRING = "inferring"
    ENCODING = "encoding"
    UPLOADING = "uploading"
    COMPLETED = "completed"


class Requirements(Wire):
    """What the machine must be; every unset field means "any"."""

    gpu_class: str | None = None
    min_vram_gb: float | None = Field(default=None, ge=0, le=4096)
    providers: tuple[Name, ...] = ()
    usd_max: float | None = Field(
        default=None, ge=0, description="Highest price of the machine, USD an hour."
    )


class JobRequest(Wire):
    """The body of `POST /v1/jobs`. Times are in seconds."""

    engine: Name
    input: PlainObject = Field(description="Checked against the engine's schema at /v1/engines.")
    priority: int = Field(default=0, ge=-100, le=100, description="Higher goes first.")
    queue: Name = "default"
    project: str | None = Field(default=None, min_length=1, max_length=64, description="One that you are in.")
    max_time: int = Field(
        default=MAX_TIME_S_DEFAULT, ge=60, le=7200, description="Longest run, from its claim."
    )
    complete_in: int = Field(
        default=COMPLETE_IN_S_DEFAULT, ge=60, le=86400, description="Deadline, from submit."
    )
    start_within: int | None = Field(default=None, ge=1, le=86400, description="Deadline of the first start.")
    retries: int = Field(default=2, ge=0, le=10, description="Extra attempts after a fault of a machine.")
    notify_url: str | None = Field(default=None, max_length=2048)
    metadata: PlainObject = Field(default_factory=dict)
    requirements: Requirements = Requirements()
    low_priority: bool = Field(default=False, description="Never starts a machine; rides on those that run.")
    strict: bool = Field(default=False, description="Refuse now when nothing configured could run it.")


class BatchRequest(Wire):
    jobs: list[dict[str, Any]] = Field(min_length=1, max_length=BATCH_MAX, description="JobRequest bodies.")


class OutputFile(Lenient):
    """A stored file. `key` is where it lies; `url` is signed, and only replies to clients carry it."""

    name: str
    key: str
    size_bytes: int = Field(ge=0)
    sha256: str | None = None
    content_type: str = "application/octet-stream"
    url: str | None = None


class Result(Lenient):
    """What the winning attempt made, and what made it."""

    backend: str
    model: str | None = None
    text: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    files: tuple[OutputFile, ...] = ()
    metrics: dict[str, float | int | str] = Field(default_factory=dict)
    ignored: tuple[str, ...] = Field(default=(), description="Parameters that mean nothing to this backend.")


class Fault(Lenient):
    """Why an attempt or a job failed. A `job` fault is the input's and is not retried; a `host` fault is."""

    kind: Literal["job", "host"]
    code: str
    message: str


class AttemptView(Lenient):
    attempt: int
    number: int
    worker_id: str
    state: str
    phase: Phase
    progress: float
    message: str | None = None
    started_at: datetime
    ended_at: datetime | None = None
    fault: Fault | None = None


class JobView(Lenient):
    """A job as `GET /v1/jobs/{id}` shows it."""

    id: UUID
    engine: str
    status: Status
    input: dict[str, Any]
    priority: int
    queue: str
    project: str | None = None
    low_priority: bool
    max_time: int
    complete_in: int
    start_within: int | None
    retries: int
    metadata: dict[str, Any]
    requirements: Requirements
    notify_url: str | None = None
    retry_of: UUID | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    phase: Phase | None = None
    progress: float | None = None
    message: str | None = None
    attempts: tuple[AttemptView, ...] = ()
    result: Result | None = None
    fault: Fault | None = None
    cost_usd: float | None = None
    blocked: str | None = Field(default=None, description="Why nothing can run it now, and what would help.")


class JobPage(Lenient):
    items: tuple[JobView, ...]
    next_cursor: str | None = None


class BatchItem(Lenient):
    """One row of the reply to a batch: the job, or the problem with it."""

    index: int
    job: JobView | None = None
    problem: dict[str, Any] | None = None


class BatchReply(Lenient):
    items: tuple[BatchItem, ...]


class EventView(Lenient):
    """A move of a job. `seq` counts from 1 within the job and is the SSE id."""

    seq: int
    at: datetime
    kind: str
    before: str | None = None
    after: str | None = None
    who: str
    reason: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class UploadView(Lenient):
    """A file that was sent, or is being sent; `url` (`upload://…`) may stand in any `*_url` field of an input.

    `sha256` is empty where the file went in parts past us.
    """

    id: str
    url: str
    name: str
    size_bytes: int
    sha256: str
    content_type: str
    created_at: datetime
    expires_at: datetime
    stored: bool = True


class UploadPage(Lenient):
    items: tuple[UploadView, ...]
    next_cursor: str | None = None


class UploadRequest(Wire):
    """A large file that its client will put in parts."""

    name: str = Field(min_length=1, max_length=200)
    size_bytes: int = Field(ge=1)
    content_type: str = Field(default="application/octet-stream", min_length=1, max_length=200)


class UploadPart(Lenient):
    """One PUT of exactly `size_bytes`, from `offset` on, with these headers. One that is `stored` needs none."""

    number: int
    offset: int
    size_bytes: int
    url: str
    headers: dict[str, str] = Field(default_factory=dict)
    stored: bool = False


class UploadPlan(Lenient):
    upload: UploadView
    parts: tuple[UploadPart, ...]
