"""Problem documents (RFC 9457): every error reply of every surface of ours."""

from collections.abc import Iterable
from typing import Any

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


class ProblemError(Exception):
    """A refusal on its way to the client: raised anywhere, rendered at the border."""

    def __init__(self, status: int, title: str, detail: str | None = None, **extra: Any) -> None:
        super().__init__(detail or title)
        self.problem = Problem(status=status, title=title, detail=detail, **extra)


def invalid(
    errors: Iterable[FieldFault], detail: str = "Mend the named fields and send it again."
) -> ProblemError:
    """422: the request was understood, and its fields are wrong."""
    return ProblemError(
        422, "The request is not valid", detail, type="/problems/invalid", errors=tuple(errors)
    )
