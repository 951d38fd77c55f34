"""The engine catalogue: what can be asked for. `GET /v1/engines` serves it with JSON Schemas.

An engine's input is a pydantic model; the rest of its row says what scheduling must know of such an input:
the model it names, the features it needs, and the fields that hold URLs.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator

from gpulease.contract.base import Wire
from gpulease.contract.urls import check_scheme

Url = Annotated[str, Field(max_length=2048), AfterValidator(check_scheme)]
WhisperModel = Literal[
    "tiny", "base", "small", "medium", "large", "large-v2", "large-v3", "tiny.en", "base.en"
]
_ARGUMENT_LETTERS_MAX = 4_000
_ARGUMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
Frames = Annotated[str, Field(pattern=r"^\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*$", max_length=500)]


class Spoken(BaseModel):
    """What is to be said and in whose voice, as the job's input and the render API both take it."""

    text: str | None = Field(default=None, min_length=1, max_length=20_000)
    monologue: list[Annotated[str, Field(min_length=1, max_length=5_000)]] | None = Field(
        default=None, min_length=1, max_length=500, description="Sentences; instead of `text`."
    )
    voice: Literal["random", "conversational_a", "conversational_b", "clone"] = "random"
    reference_audio_url: Url | None = None
    reference_text: str | None = Field(default=None, max_length=5_000)

    @model_validator(mode="after")
    def _one_text_and_a_whole_reference(self) -> Self:
        if (self.text is None) == (self.monologue is None):
            raise ValueError("give either text or monologue, and not both")
        if self.voice == "clone" and not (self.reference_audio_url and self.reference_text):
            raise ValueError('voice "clone" needs reference_audio_url and reference_text')
        return self


class CsmInput(Spoken, Wire):
    """Speech from text, or from sentences with pauses between them. Lengths are in milliseconds."""

    model: str | None = None
    temperature: float = Field(default=0.9, ge=0, le=2)
    topk: int = Field(default=50, ge=1, le=1000)
    max_audio_length: int = Field(default=10_000, ge=1, le=3_600_000)
    pause_duration: int = Field(default=150, ge=0, le=60_000)

    def sentences(self) -> list[str]:
        return [self.text] if self.text is not None else list(self.monologue or ())


class WhisperInput(Wire):
    """Text from speech. An unset model means: the best one that the worker has; the result names it."""

    audio_url: Url
    model: WhisperModel | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    language: str = Field(default="", pattern=r"^[a-z]{0,3}$")


class PortraitInput(Wire):
    """A face and a voice to a talking portrait. An unset seed is drawn; the result names it."""

    image_url: Url
    audio_url: Url
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    steps: int = Field(default=25, ge=1, le=100)
    fps: float = Field(default=24, ge=5, le=120)


class AnalyzeInput(Wire):
    image_url: Url
    prompt: str = Field(default="Describe this image in detail.", min_length=1, max_length=8_000)
    model: str | None = None


class MusetalkParams(Wire):
    """What can be set of MuseTalk v1.5. Widths and margins are in pixels, paddings in frames of 20 ms on each side.

    `fps` unset: the source's own, rounded, or 25 where MuseTalk cannot keep it. `bbox_shift` is for v1 only.
    """

    extra_margin: int = Field(default=10, ge=0, le=200, description="How far the chin may move down.")
    parsing_mode: Literal["jaw", "neck", "raw"] = "jaw"
    left_cheek_width: int = Field(default=90, ge=0, le=256)
    right_cheek_width: int = Field(default=90, ge=0, le=256)
    fps: int | None = Field(default=None, ge=5, le=49)
    batch_size: int = Field(default=8, ge=1, le=64)
    use_float16: bool | None = Field(default=None, description="Unset: on a GPU.")
    audio_padding_length_left: int = Field(default=2, ge=0, le=10)
    audio_padding_length_right: int = Field(default=2, ge=0, le=10)
    bbox_shift: int | None = Field(default=None, ge=-100, le=100)

    @model_validator(mode="after")
    def _sound_reaches_every_frame(self) -> Self:
        if self.audio_padding_length_left > self.audio_padding_length_right and (self.fps or 0) > 25:
            raise ValueError(
                "above 25 fps audio_padding_length_left must not exceed audio_padding_length_right"
            )
        return self


class MusetalkInput(Wire):
    """A film (or a picture) of a face, and speech, to a film of that face speaking."""

    video_url: Url
    audio_url: Url
    aspect_ratio: Literal["9:16", "16:9", "1:1", "4:5"] | None = None
    resolution: Literal["360p", "480p", "540p", "720p", "1080p"] | None = None
    params: MusetalkParams = Field(default_factory=MusetalkParams)


class VideoInput(Wire):
    """A clip of `duration` seconds from words. `quality` chooses the steps, where `steps` does not."""

    prompt: str = Field(min_length=1, max_length=4_000)
    negative_prompt: str | None = Field(default=None, max_length=4_000)
    width: int = Field(default=848, ge=64, le=4096, multiple_of=8)
    height: int = Field(default=480, ge=64, le=4096, multiple_of=8)
    duration: float = Field(default=5.0, gt=0, le=120)
    fps: int = Field(default=24, ge=1, le=120)
    quality: Literal["low", "medium", "high"] = "medium"
    steps: int | None = Field(default=None, ge=1, le=500)
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    model: str | None = None


class MaterialSwap(Wire):
    """Every use of the material `original` becomes one of `replacement`, from the file or from its library."""

    original: str = Field(min_length=1, max_length=63)
    replacement: str = Field(min_length=1, max_length=63)


class BlenderInput(Wire):
    """A `.blend` to frames or a video. Unset fields keep what the file says.

    `resolution` is a width of 1920, 2560 or 3840 at 16:9. `library_url` is a `.blend` with further materials.
    Several pictures come as one zip, or with `pack` "each" as a file each, up to 100 of them.
    """

    file_url: Url
    library_url: Url | None = None
    frames: Frames = "1"
    output: Literal["PNG", "JPEG", "EXR", "MP4"] = "PNG"
    engine: Literal["CYCLES", "EEVEE"] | None = None
    samples: int | None = Field(default=None, ge=1, le=65_536)
    width: int | None = Field(default=None, ge=4, le=16_384)
    height: int | None = Field(default=None, ge=4, le=16_384)
    resolution: Literal["1k", "2k", "4k"] | None = None
    camera: str | None = Field(default=None, min_length=1, max_length=63)
    cameras: Literal["one", "all"] = "one"
    materials: list[MaterialSwap] = Field(default_factory=list, max_length=200)
    fps: int = Field(default=24, ge=1, le=240)
    pack: Literal["zip", "each"] = "zip"

    @model_validator(mode="after")
    def _one_size_and_one_choice_of_cameras(self) -> Self:
        if self.resolution and (self.width or self.height):
            raise ValueError("give resolution, or width and height, and not both")
        if self.camera and self.cameras == "all":
            raise ValueError('give a camera, or cameras "all", and not both')
        return self


class CommandInput(Wire):
    """A command-line program by its configured name, with typed arguments and, where it wants one, a file."""

    program: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    file_url: Url | None = None
    arguments: dict[str, str | int | float] = Field(default_factory=dict, max_length=200)

    @field_validator("arguments")
    @classmethod
    def _arguments_are_short(cls, arguments: dict[str, str | int | float]) -> dict[str, str | int | float]:
        if odd := [name for name in arguments if not _ARGUMENT_NAME.fullmatch(name)]:
            raise ValueError(f"{odd[0]!r:.80} cannot be the name of an argument")
        texts = {name: value for name, value in arguments.items() if isinstance(value, str)}
        if long := [name for name, text in texts.items() if len(text) > _ARGUMENT_LETTERS_MAX]:
            raise ValueError(f"{long[0]} has more than {_ARGUMENT_LETTERS_MAX} letters")
        return arguments


class ComfyuiInput(Wire):
    """A workflow in ComfyUI's API format, as its menu exports it, and the files that it is to work on.

    Where an input of a node is exactly the name of one of `inputs`, such as `face.png`, it becomes that file; the rest
    of the workflow stays as it is. All files come back that its nodes save; previews do not.
    """

    workflow: dict[str, Any] = Field(
        min_length=1,
        max_length=2_000,
        description='Node id to {"class_type", "inputs"}. The format that the editor saves by default does not run.',
    )
    inputs: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], Url] = Field(
        default_factory=dict,
        max_length=64,
        description="Name to URL. A name must occur in the workflow, as the whole value of a node's input.",
    )

    @model_validator(mode="after")
    def _runs_and_uses_its_inputs(self) -> Self:
        if "nodes" in self.workflow:
            raise ValueError("workflow is in the editor's format; export it in API format")
        if odd := [node for node, one in self.workflow.items() if not _is_node(one)]:
            raise ValueError(f"workflow: node {odd[0]!r:.80} must have a class_type and inputs")
        used = {
            value for one in self.workflow.values() for value in one["inputs"].values() if _is_text(value)
        }
        if unused := [name for name in self.inputs if name not in used]:
            raise ValueError(f"inputs: no node's input is {unused[0]!r}")
        return self


def _is_node(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and isinstance(one.get("class_type"), str)
        and isinstance(one.get("inputs"), dict)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _nothing(_: Any) -> tuple[str, ...]:
    return ()


def _csm_features(asked: CsmInput) -> tuple[str, ...]:
    return ("clone",) if asked.voice == "clone" else ()


def _whisper_features(asked: WhisperInput) -> tuple[str, ...]:
    foreign = asked.language not in ("", "en")
    return ("multilingual",) * foreign + ("translate",) * (asked.task == "translate")


def _command_program(asked: CommandInput) -> str | None:
    return asked.program


def _named_model(asked: Any) -> str | None:
    return getattr(asked, "model", None)


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One row of the catalogue. `stalled_after_s` without progress is a fault of the host.

    URLs stand in fields that end in `_url`, and in the values of `url_maps`, which are called `field.key`.
    """

    name: str
    title: str
    input_model: type[Wire]
    result: Literal["audio", "text", "video", "files"]
    stalled_after_s: float = 300.0
    model_of: Callable[[Any], str | None] = _named_model
    features_of: Callable[[Any], tuple[str, ...]] = _nothing
    url_maps: tuple[str, ...] = ()
    url_fields: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(name for name in self.input_model.model_fields if name.endswith("_url"))
        object.__setattr__(self, "url_fields", names)

    def urls(self, asked: Mapping[str, Any]) -> dict[str, str]:
        """The URLs of an input as JSON, by the names under which a worker gets their files."""
        plain = {name: asked[name] for name in self.url_fields if asked.get(name)}
        maps = ((name, asked.get(name) or {}) for name in self.url_maps)
        return plain | {f"{name}.{key}": url for name, found in maps for key, url in found.items()}


_ROWS = (
    EngineSpec("csm", "Text to speech", CsmInput, "audio", features_of=_csm_features),
    EngineSpec("whisper", "Speech to text", WhisperInput, "text", features_of=_whisper_features),
    EngineSpec("portrait", "Talking portrait", PortraitInput, "video", stalled_after_s=900),
    EngineSpec("analyze", "Image analysis", AnalyzeInput, "text"),
    EngineSpec("musetalk", "Lip-sync", MusetalkInput, "video", stalled_after_s=900),
    EngineSpec("video", "Text to video", VideoInput, "video", stalled_after_s=900),
    EngineSpec("blender", "Blender render", BlenderInput, "files", stalled_after_s=1800),
    EngineSpec(
        "command",
        "Command-line renderer",
        CommandInput,
        "files",
        stalled_after_s=1800,
        model_of=_command_program,
    ),
    EngineSpec(
        "comfyui", "ComfyUI workflow", ComfyuiInput, "files", stalled_after_s=900, url_maps=("inputs",)
    ),
)
CATALOGUE: dict[str, EngineSpec] = {row.name: row for row in _ROWS}
