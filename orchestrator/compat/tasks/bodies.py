"""What clients of the render task system send."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from gpulease.contract.plain import PlainObject
from orchestrator.compat.bodies import Body

ProjectId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
CallbackUrl = Annotated[str, Field(max_length=2048, pattern=r"^https?://")]
Quality = Literal["1k", "2k", "4k"]
SAMPLES_DEFAULT = 32


class Login(Body):
    """`username` may stand for `email`."""

    email: str | None = Field(default=None, max_length=254)
    username: str | None = Field(default=None, max_length=254)
    password: SecretStr = Field(max_length=1000)

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if not (self.email or self.username):
            raise ValueError("send the email")
        return self

    @property
    def name(self) -> str:
        return self.email or self.username or ""


class Register(Body):
    """`authcode` is what REGISTER_AUTH_CODE says."""

    email: str = Field(max_length=254)
    password: SecretStr = Field(max_length=1000)
    nickname: str = Field(default="", max_length=100)
    authcode: SecretStr = Field(default=SecretStr(""), max_length=1000)


class RenderParams(Body):
    """`1k` is 1920x1080, `2k` 2560x1440, `4k` 3840x2160. `samples` is ours."""

    quality: Quality = "1k"
    samples: int = Field(default=SAMPLES_DEFAULT, ge=1, le=4096)

    @model_validator(mode="before")
    @classmethod
    def _in_any_case(cls, body: Any) -> Any:
        quality = body.get("quality") if isinstance(body, dict) else None
        return {**body, "quality": quality.lower()} if isinstance(quality, str) else body


class MaterialChange(Body):
    originalMaterialName: str = Field(min_length=1, max_length=63)  # noqa: N815  The wire's.
    newMaterialName: str = Field(min_length=1, max_length=63)  # noqa: N815


class Payload(Body):
    """`modelName` is an asset's, as `name` or `name@3`; without one it is the project's `model`."""

    modelName: str | None = Field(default=None, max_length=120)  # noqa: N815
    renderParams: RenderParams = RenderParams()  # noqa: N815
    materialList: list[MaterialChange] = Field(default_factory=list, max_length=200)  # noqa: N815


class NewTask(Body):
    """`callbackUrl` is ours: it is told when the task ends, instead of the project's."""

    projectId: str = Field(max_length=64)  # noqa: N815
    payload: Payload = Payload()
    clientId: str | None = Field(default=None, max_length=200)  # noqa: N815
    callbackUrl: CallbackUrl | None = None  # noqa: N815


class NewProject(Body):
    """Without a `projectId` it gets one. `callbackUrl` is for its tasks that name none."""

    projectId: ProjectId | None = None  # noqa: N815
    name: str | None = Field(default=None, max_length=100)
    model: str | None = Field(default=None, max_length=120)
    assignee: str | None = Field(default=None, max_length=200)
    callbackUrl: CallbackUrl | None = None  # noqa: N815


class TaskNamed(Body):
    taskId: str = Field(max_length=100)  # noqa: N815


class TaskError(TaskNamed):
    """`error` becomes the task's."""

    error: str = Field(default="The render reported an error.", max_length=4_000)
    callbackParams: PlainObject = Field(default_factory=dict)  # noqa: N815
