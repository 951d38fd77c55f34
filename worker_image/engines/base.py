"""What an engine backend is: the seam that every way of running an engine implements.

A backend lives in a process of its own, runs one job at a time on that process's main thread, and keeps its model
between jobs. It may print what it likes: that becomes the job's log.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from gpulease.contract.agent import EngineOffer
from gpulease.contract.jobs import Phase


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the operator says about engines: settings of the same names, as JSON has them.

    It travels to the engine's process; nothing else of our environment does.
    """

    device: str = "auto"
    commands: str | None = None
    blender: str = "blender"
    whisper_models: str | None = None
    csm_models: str | None = None
    csm_voices: str | None = None
    comfyui_url: str | None = None
    ollama_url: str | None = None
    vision_url: str | None = None
    vision_key: str | None = None
    vision_models: tuple[str, ...] = ()
    musetalk_workdir: str | None = None
    musetalk_python: str | None = None
    musetalk_mode: str = "resident"
    musetalk_unet_model: str = "models/musetalkV15/unet.pth"
    musetalk_unet_config: str = "models/musetalkV15/musetalk.json"
    video_models: str | None = None
    video_grpc: str | None = None
    video_grpc_models: tuple[str, ...] = ()
    video_grpc_scratch: str | None = None
    video_grpc_ca: str | None = None
    video_grpc_cert: str | None = None
    video_grpc_key: str | None = None


@dataclass(frozen=True, slots=True)
class EngineJob:
    """One job: its checked input, its URL fields as local files, and the folder for what it makes.

    `folder` is for the backend alone and goes with the job; outputs belong in `folder/out`.
    """

    id: str
    engine: str
    model: str | None
    input: dict[str, Any]
    files: dict[str, str]
    folder: str

    @property
    def out(self) -> Path:
        path = Path(self.folder) / "out"
        path.mkdir(exist_ok=True)
        return path


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file that the backend left: `path` on this machine, `name` for the client."""

    name: str
    path: str
    content_type: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a backend made. `ignored` names parameters that were set and mean nothing to it."""

    model: str | None = None
    text: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    files: tuple[MadeFile, ...] = ()
    metrics: dict[str, float | int | str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        files = tuple(MadeFile(**one) for one in data["files"])
        return cls(**{**data, "files": files, "ignored": tuple(data["ignored"])})


class Report(Protocol):
    """Takes progress: `share` of the phase done, 0 to 1. Raises `Cancelled` when the job was taken back.

    A repeated report is no progress: it tells nobody anything, and does not hold off the stall limit.
    """

    def __call__(
        self,
        share: float,
        message: str | None = None,
        *,
        phase: Phase = Phase.INFERRING,
        step: int | None = None,
        total_steps: int | None = None,
    ) -> None: ...


class Backend(Protocol):
    """One way to run one engine. Faults are `InputFault` or `HostFault`; anything else counts as the host's."""

    name: str
    engine: str

    def __init__(self, config: EngineConfig) -> None: ...

    def probe(self) -> EngineOffer | str:
        """The offer, or why there is none. Cheap: nothing is loaded."""
        ...

    def load(self, model: str | None) -> str | None:
        """Makes the model resident (None: the best one here) and returns its name; again costs nothing."""
        ...

    def run(self, job: EngineJob, report: Report) -> Outcome: ...

    def unload(self) -> None: ...
