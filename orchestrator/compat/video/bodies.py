"""What `POST /jobs` takes. Fields that it does not know are ignored, as there."""

import re
from typing import Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from gpulease.contract.engines import VideoInput
from gpulease.contract.jobs import JobRequest, Name
from orchestrator.jobs.submit import parse

LINES = "576p"
SECONDS = 6.0
SHORT, LONG = "short-low", "long-high"
LONG_S = 10.0
LONG_LINES = 1080
MAX_TIME_S = {SHORT: 1200}
"""Of other queues: all that a job may have."""
MAX_TIME_S_MOST = 7200
COMPLETE_IN_S = 86_400
_LINES = re.compile(r"(\d{2,4})p")
_SIZE = re.compile(r"(\d{2,4})x(\d{2,4})")


class Film(BaseModel):
    """A prompt and how to film it. Fields may also stand in `options`, as texts, and have the names that either of
    the two gRPC services gives them. A field of null counts as left out.

    `resolution` is lines at 16:9 (`576p`) or a size (`848x480`); `width` and `height` say it instead of it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, protected_namespaces=())

    prompt: str = Field(min_length=1, max_length=4_000)
    negative_prompt: str | None = None
    duration: float = Field(
        default=SECONDS, validation_alias=AliasChoices("duration", "seconds", "duration_seconds")
    )
    quality: Literal["low", "medium", "high"] = "medium"
    resolution: str | None = None
    width: int | None = Field(default=None, validation_alias=AliasChoices("width", "resolution_width"))
    height: int | None = Field(default=None, validation_alias=AliasChoices("height", "resolution_height"))
    fps: int | None = None
    steps: int | None = None
    seed: int | None = None
    model: str | None = None
    queue: Name | None = Field(default=None, description="`short-low`, `long-high`, or one of your own.")
    notify_url: str | None = Field(default=None, max_length=2048)
    max_time: int | None = Field(default=None, ge=60, le=7200)
    complete_in: int = Field(default=COMPLETE_IN_S, ge=60, le=86_400)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        options = body.get("options")
        inner = options if isinstance(options, dict) else {}
        return {name: value for name, value in {**inner, **body}.items() if value is not None}

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("give both width and height, or resolution")
        if self.width is not None and self.resolution is not None:
            raise ValueError("give resolution, or width and height, and not both")
        size_of(self.resolution or LINES)
        return self

    def size(self) -> tuple[int, int]:
        if self.width is not None and self.height is not None:
            return self.width, self.height
        return size_of(self.resolution or LINES)

    def queue_name(self) -> str:
        """The one that it names, or by how much work it is."""
        heavy = self.quality == "high" or self.duration > LONG_S or self.size()[1] >= LONG_LINES
        return self.queue or (LONG if heavy else SHORT)

    def request(self) -> JobRequest:
        """The same as a job of ours."""
        named = self.model_dump(include=set(VideoInput.model_fields), exclude_none=True)
        width, height = self.size()
        queue = self.queue_name()
        return parse(
            JobRequest,
            {
                "engine": "video",
                "input": {**named, "width": width, "height": height},
                "queue": queue,
                "notify_url": self.notify_url,
                "max_time": self.max_time or MAX_TIME_S.get(queue, MAX_TIME_S_MOST),
                "complete_in": self.complete_in,
            },
        )


def size_of(resolution: str) -> tuple[int, int]:
    """Width and height. Of lines at 16:9, the width is the nearest multiple of 16, which encoders like.

    Raises:
        ValueError: it is neither lines nor a size.
    """
    if found := _LINES.fullmatch(resolution):
        lines = int(found[1])
        return round(lines * 16 / 9 / 16) * 16, lines
    if found := _SIZE.fullmatch(resolution):
        return int(found[1]), int(found[2])
    raise ValueError(f"resolution {resolution!r:.40}: say lines, such as 576p, or a size, such as 848x480")
