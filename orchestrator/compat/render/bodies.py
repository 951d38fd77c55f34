"""What the render API takes: its fields, defaults and ranges."""

from typing import ClassVar, Literal

from pydantic import Field

from gpulease.contract.engines import Spoken, Url, WhisperModel
from gpulease.contract.jobs import COMPLETE_IN_S_DEFAULT, MAX_TIME_S_DEFAULT, JobRequest
from orchestrator.compat.bodies import Body
from orchestrator.jobs.submit import parse


class Submit(Body):
    """What all submits have in common. Times are in seconds."""

    engine: ClassVar[str]

    notify_url: str | None = Field(default=None, max_length=2048, description="Told when the job ends.")
    max_time: int = Field(default=MAX_TIME_S_DEFAULT, ge=60, le=7200, description="Longest run.")
    complete_in: int = Field(
        default=COMPLETE_IN_S_DEFAULT, ge=60, le=86400, description="Deadline, from the submit."
    )

    def request(self) -> JobRequest:
        """The same as a job of ours."""
        common = self.model_dump(include={"notify_url", "max_time", "complete_in"})
        given = self.model_dump(exclude=set(common), exclude_none=True)
        return parse(JobRequest, {"engine": self.engine, "input": given, **common})


class Csm(Spoken, Submit):
    """Lengths are in milliseconds."""

    engine = "csm"

    temperature: float = Field(default=0.9, ge=0, le=2)
    topk: int = Field(default=50, ge=1, le=100)
    max_audio_length: int = Field(default=10_000, ge=1_000, le=30_000)
    pause_duration: int = Field(default=150, ge=0, le=500)

    def request(self) -> JobRequest:
        """Without a reference that no voice is cloned from: nothing would read it."""
        if self.voice == "clone":
            return super().request()
        plain = self.model_copy(update={"reference_audio_url": None, "reference_text": None})
        return super(Csm, plain).request()


class Whisper(Submit):
    engine = "whisper"

    audio_url: Url
    model: WhisperModel = "medium"
    task: Literal["transcribe", "translate"] = "transcribe"
    language: str = Field(default="", pattern=r"^[a-z]{0,3}$", description="Empty: as it is heard.")


class Portrait(Submit):
    engine = "portrait"

    image_url: Url
    audio_url: Url


class Analyze(Submit):
    """`prompt` is ours; without one the image is described."""

    engine = "analyze"

    image_url: Url
    prompt: str | None = Field(default=None, max_length=8_000)


Mark = Literal["timed_out", "cancelled", "failed"]


class Marked(Body):
    """How a client ends a job."""

    status: Mark
    error: str | None = Field(default=None, max_length=2_000, description="What /status then says.")
    remove_data: bool = False
