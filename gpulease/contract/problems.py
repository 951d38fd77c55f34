"""Problem documents (RFC 9457): every error reply of every surface of ours."""

from pydantic import BaseModel, ConfigDict

MEDIA_TYPE = "application/problem+json"


class FieldFault(BaseModel):
    """One wrong field: where it is, what is wrong, and so how to mend it."""

    field: str
    message: str


class Problem(BaseModel):
    """`type` is a stable, relative URI that programs may compare; `detail` says what to do."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    errors: tuple[FieldFault, ...] = ()
