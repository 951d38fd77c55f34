"""The worker's settings: the only reader of its environment.

The first name of each is ours; the names after it are those of the first generation of workers, accepted as they are.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gpulease.contract.agent import QUEUES_MAX
from gpulease.contract.jobs import Name

PORT_DEFAULT = 8000
PORT_OFF = -1
_INSTANCE_MARK = "GPULEASE_INSTANCE"
"""The leasing provider finds whatever a worker started by this variable, so engines must carry it too."""
_SHARED_WITH_ENGINES = (
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "DISPLAY",
    "XDG_RUNTIME_DIR",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    _INSTANCE_MARK,
)
_BUCKETS = (
    {"B2_KEY_ID": "b2_key_id", "B2_APP_KEY": "b2_app_key", "B2_BUCKET_NAME": "b2_bucket_name"},
    {
        "MINIO_ENDPOINT": "minio_endpoint",
        "MINIO_BUCKET": "minio_bucket",
        "MINIO_ACCESS_KEY": "minio_access_key",
        "MINIO_SECRET_KEY": "minio_secret_key",
    },
)
_SHARED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "OMP_", "PYTHON")


def _split(value: Any) -> Any:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class SettingsError(Exception):
    """The configuration is wrong; the message lists every fault."""


class EngineSettings(BaseSettings):
    """What engines need; `EngineConfig` has the same names."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", validation_alias="GPULEASE_DEVICE", description="Where models run."
    )
    commands: Path | None = Field(
        default=None, validation_alias="GPULEASE_COMMANDS", description="Programs of `command`, a JSON file."
    )
    blender: str = Field(
        default="blender", validation_alias="GPULEASE_BLENDER", description="The program of `blender`."
    )
    whisper_models: Path | None = Field(
        default=None,
        validation_alias="GPULEASE_WHISPER_MODELS",
        description="A folder with one folder a model, in CTranslate2 format, named like the model.",
    )
    csm_models: Path | None = Field(
        default=None,
        validation_alias="GPULEASE_CSM_MODELS",
        description="A folder with one folder a CSM, as its hub has it (sesame/csm-1b).",
    )
    csm_voices: Path | None = Field(
        default=None,
        validation_alias="GPULEASE_CSM_VOICES",
        description="What the named voices sound like: NAME.wav and its words, NAME.txt.",
    )
    comfyui_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("GPULEASE_COMFYUI_URL", "COMFYUI_URL"),
        description="A ComfyUI server for `portrait` and `comfyui`.",
    )
    ollama_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("GPULEASE_OLLAMA_URL", "OLLAMA_HOST"),
        description="An Ollama server for `analyze`.",
    )
    vision_url: str | None = Field(
        default=None,
        validation_alias="GPULEASE_VISION_URL",
        description="An OpenAI-compatible API for `analyze`, up to its version (…/v1).",
    )
    vision_key: SecretStr | None = Field(default=None, validation_alias="GPULEASE_VISION_KEY")
    vision_models: Names = Field(
        default=(),
        validation_alias="GPULEASE_VISION_MODELS",
        description="Models of these two that see images, the best first.",
    )
    musetalk_workdir: Path = Field(
        default=Path("/app"), validation_alias="MUSETALK_WORKDIR", description="A checkout of MuseTalk."
    )
    musetalk_python: Path | None = Field(
        default=None,
        validation_alias="GPULEASE_MUSETALK_PYTHON",
        description="The Python that has MuseTalk's packages. Unset: the worker's own.",
    )
    musetalk_mode: Literal["resident", "one-shot"] = Field(
        default="resident", validation_alias="GPULEASE_MUSETALK_MODE"
    )
    musetalk_unet_model: str = Field(
        default="models/musetalkV15/unet.pth", validation_alias="MUSETALK_UNET_MODEL_PATH"
    )
    musetalk_unet_config: str = Field(
        default="models/musetalkV15/musetalk.json", validation_alias="MUSETALK_UNET_CONFIG"
    )
    video_models: Path | None = Field(
        default=None,
        validation_alias="GPULEASE_VIDEO_MODELS",
        description="A folder with one folder a diffusers pipeline, named like the model.",
    )
    video_grpc: str | None = Field(
        default=None,
        validation_alias="GPULEASE_VIDEO_GRPC",
        description="host:port of a `Generator` service for `video`.",
    )
    video_grpc_models: Names = Field(
        default=("mochi-1-preview",),
        validation_alias="GPULEASE_VIDEO_GRPC_MODELS",
        description="What that worker runs, the first where a job names none: it cannot be asked.",
    )
    video_grpc_scratch: Path | None = Field(
        default=None,
        validation_alias="GPULEASE_VIDEO_GRPC_SCRATCH",
        description="A folder that it sees under the same path, for its videos. Unset: the job's own folder.",
    )
    video_grpc_ca: Path | None = Field(default=None, validation_alias="GPULEASE_VIDEO_GRPC_CA")
    video_grpc_cert: Path | None = Field(default=None, validation_alias="GPULEASE_VIDEO_GRPC_CERT")
    video_grpc_key: Path | None = Field(default=None, validation_alias="GPULEASE_VIDEO_GRPC_KEY")


class BucketSettings(BaseSettings):
    """Where the owner's own keys let the worker store results itself, under the names of the earlier systems."""

    b2_key_id: str | None = Field(default=None, validation_alias="B2_KEY_ID")
    b2_app_key: SecretStr | None = Field(default=None, validation_alias="B2_APP_KEY")
    b2_bucket_name: str | None = Field(default=None, validation_alias="B2_BUCKET_NAME")
    b2_prefix: str = Field(default="avatar/outputs", validation_alias="B2_PREFIX")
    b2_realm: str = Field(
        default="production",
        validation_alias="GPULEASE_B2_REALM",
        description="B2's realm, or the URL of a server that speaks its native API.",
    )
    minio_endpoint: str | None = Field(default=None, validation_alias="MINIO_ENDPOINT")
    minio_bucket: str | None = Field(default=None, validation_alias="MINIO_BUCKET")
    minio_access_key: str | None = Field(default=None, validation_alias="MINIO_ACCESS_KEY")
    minio_secret_key: SecretStr | None = Field(default=None, validation_alias="MINIO_SECRET_KEY")
    minio_secure: bool = Field(default=False, validation_alias="MINIO_SECURE")
    minio_public_url: str | None = Field(default=None, validation_alias="MINIO_PUBLIC_URL")
    minio_region: str = Field(default="us-east-1", validation_alias="MINIO_REGION")
    output_dir: Path | None = Field(
        default=None,
        validation_alias="OUTPUT_DIR",
        description="Results of /generate are kept here too, under the names of the earlier systems.",
    )


class SurfaceSettings(BaseSettings):
    """What the worker serves beside /hc and /generate. All of it is off unless it is asked for."""

    hpc_engines: Path | None = Field(
        default=None,
        validation_alias="GPULEASE_HPC_ENGINES",
        description="A JSON file like HPCServer.json: serve /hpc/* for these programs.",
    )
    hpc_allow: Names = Field(
        default=(),
        validation_alias="GPULEASE_HPC_ALLOW",
        description="Addresses or networks that may call /hpc/* without a key.",
    )
    grpc_port: int = Field(
        default=PORT_OFF,
        ge=PORT_OFF,
        le=65535,
        validation_alias="GPULEASE_GRPC_PORT",
        description="Serve the `video` services of video_generator.proto here. 0 takes any free port, -1 serves none.",
    )
    grpc_scratch_root: Path | None = Field(
        default=None,
        validation_alias="GPULEASE_GRPC_SCRATCH_ROOT",
        description="Folders below it may be named as scratch_dir; without it none may.",
    )
    grpc_tls_cert: Path | None = Field(default=None, validation_alias="GPULEASE_GRPC_TLS_CERT")
    grpc_tls_key: Path | None = Field(default=None, validation_alias="GPULEASE_GRPC_TLS_KEY")
    grpc_tls_ca: Path | None = Field(
        default=None,
        validation_alias="GPULEASE_GRPC_TLS_CA",
        description="Callers must show a certificate of this authority (mTLS).",
    )


class Settings(EngineSettings, BucketSettings, SurfaceSettings):
    """One instance a process, frozen. Times are in seconds. Arguments win over the environment.

    The worker's environment is often another program's (a leasing orchestrator, a container's host), so names that
    it does not know are ignored.
    """

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    orchestrator_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "GPULEASE_ORCHESTRATOR_URL", "BUFFER_ORCHESTRATOR_BASE_URL", "ORCHESTRATOR_BASE_URL"
        ),
        description="Where to ask for work; without it only /generate serves.",
    )
    worker_id: str | None = Field(
        default=None, validation_alias=AliasChoices("GPULEASE_WORKER_ID", "BUFFER_WORKER_ID")
    )
    worker_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("GPULEASE_WORKER_KEY", "INTERNAL_API_KEY")
    )
    scratch: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()) / "gpulease-worker",
        validation_alias="GPULEASE_SCRATCH",
        description="Everything the worker writes lies under here, and goes when it does.",
    )
    capacity: int = Field(
        default=1, ge=1, le=64, validation_alias=AliasChoices("GPULEASE_WORKER_CAPACITY", "BUFFER_CAPACITY")
    )
    gpu_class: str | None = Field(
        default=None,
        validation_alias=AliasChoices("GPULEASE_GPU_CLASS", "GPU_CLASS_NAME"),
        description="What the machine has. Unset: what NVIDIA's driver says, else cpu.",
    )
    vram_gb: float | None = Field(
        default=None, ge=0, validation_alias="GPULEASE_VRAM_GB", description="As above, in GiB."
    )
    usd_per_hour: float = Field(
        default=0.0,
        ge=0,
        validation_alias="GPULEASE_WORKER_USD_PER_HOUR",
        description="What the owner of the machine asks for an hour of work.",
    )
    queues: Annotated[tuple[Name, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(),
        max_length=QUEUES_MAX,
        validation_alias="GPULEASE_WORKER_QUEUES",
        description="The queues that it serves. Unset: all.",
    )
    host: str = Field(
        default="127.0.0.1",
        validation_alias="GPULEASE_WORKER_HOST",
        description="Where the app listens. Callers from other machines must send the worker's key.",
    )
    port: int | None = Field(
        default=None,
        ge=PORT_OFF,
        le=65535,
        validation_alias="GPULEASE_WORKER_PORT",
        description="0 takes any free port, -1 serves no HTTP. Unset: 8000, or none for a leased local process.",
    )
    allow_private_hosts: Names = Field(default=(), validation_alias="GPULEASE_ALLOW_PRIVATE_HOSTS")
    grace_s: float = Field(
        default=5.0,
        ge=0,
        validation_alias="GPULEASE_WORKER_GRACE_S",
        description="How long a stop waits for the running attempts.",
    )
    download_bytes_max: int = Field(
        default=2 * 1024**3, gt=0, validation_alias="GPULEASE_WORKER_DOWNLOAD_BYTES_MAX"
    )
    rests: Literal["never", "unreached", "always"] | None = Field(
        default=None,
        validation_alias="GPULEASE_WORKER_RESTS",
        description="When it has nobody to serve it waits, unloaded, and asks now and then, instead of ending: never, "
        "while no orchestrator is in reach, or always. Unset: always on Salad, else never.",
    )
    rest_s: float = Field(
        default=60.0, gt=0, validation_alias="GPULEASE_WORKER_REST_S", description="Between those questions."
    )
    salad_machine_id: str | None = Field(default=None, validation_alias="SALAD_MACHINE_ID")
    salad_metadata_uri: str | None = Field(default=None, validation_alias="SALAD_METADATA_URI")

    def of_owner(self) -> "Settings":
        """The same for a machine that its owner lends: it waits for an orchestrator that is out of reach."""
        waits = self.rests or ("always" if self.on_salad else "unreached")
        return self.model_copy(update={"rests": waits})

    @property
    def on_salad(self) -> bool:
        """There a container that exits is started again, and only the orchestrator can end it."""
        return bool(self.salad_machine_id or self.salad_metadata_uri)


def load(**given: Any) -> Settings:
    """Settings from arguments (None means not given) and the environment, in that order.

    Raises:
        SettingsError: with every fault, one a line.
    """
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise SettingsError("\n".join(faults)) from error
    faults = list(_half_set(settings))
    if settings.orchestrator_url and not settings.worker_id:
        faults.append("worker_id: an orchestrator is set, so the worker needs its id (GPULEASE_WORKER_ID)")
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _half_set(settings: Settings) -> Iterator[str]:
    """What is missing of a bucket of which something is set."""
    for names in _BUCKETS:
        missing = [alias for alias, name in names.items() if not getattr(settings, name)]
        if missing and len(missing) < len(names):
            for alias in missing:
                yield f"{alias}: it is not set, but {next(one for one in names if one not in missing)} is"


def visible_devices() -> str | None:
    """What CUDA_VISIBLE_DEVICES lets CUDA see, or None for everything. It is CUDA's variable, and not ours to set."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def engine_environment(folder: Path) -> dict[str, str]:
    """What engines may see of the environment: no key of ours or of anybody's, no network for model hubs.

    ONNX Runtime would tell its maker of each run, and keep a number of this machine in the home folder.
    """
    shared = {
        name: value
        for name, value in os.environ.items()
        if name in _SHARED_WITH_ENGINES or name.startswith(_SHARED_PREFIXES)
    }
    quiet = {"HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    return shared | quiet | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
