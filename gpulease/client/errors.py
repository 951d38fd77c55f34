"""What can go wrong with a call, grouped by what the caller does next.

```text
ClientError
├── Unreachable          no whole reply: is the server running, is the URL right?
├── Garbled              a reply that is not ours: is that URL a gpulease server?
├── BrokenOff            an upload in parts did not get through: go on with it, by its `.upload_id`
├── OtherFile            the file is not the one that was begun to be sent: name that one, or begin anew
└── ApiError             a problem document (RFC 9457), as `.problem`
    ├── Refused          4xx: mend the request; `.problem.errors` names the fields
    │   ├── NotFound     404, 410: it is not there, or not any more
    │   └── Conflict     409: look at the state again, then decide
    ├── BadCredentials   401, 403: use another key
    ├── Wait             429, 503: the same call again, after `.after_s`
    └── ServerFault      other 5xx: the server's fault; reads may be repeated
```
"""

import re

import httpx
from pydantic import ValidationError

from gpulease.contract.problems import MEDIA_TYPE, Problem

AFTER_S_MAX = 60.0


class ClientError(Exception):
    """Any failure of a call; its text is one line that says what to do."""


class Unreachable(ClientError):
    """The server could not be reached, or the connection broke before the whole reply was here."""


class Garbled(ClientError):
    """The reply is not what the contract says."""


class BrokenOff(ClientError):
    """An upload in parts ended early; what came of it is kept. The error behind it is its `__cause__`."""

    def __init__(self, upload_id: str, error: ClientError) -> None:
        super().__init__(f"upload {upload_id} broke off: {error}. {how_to_go_on(upload_id)}")
        self.upload_id = upload_id


class OtherFile(ClientError):
    """The file has another size than the upload, or was changed while it was sent."""


def how_to_go_on(upload_id: str) -> str:
    return f"What has come is kept: `gpulease upload FILE --resume {upload_id}`, or upload(…, resume={upload_id!r})"


class ApiError(ClientError):
    """The server answered with a problem. `after_s` is how long it asks to wait, if it does."""

    def __init__(self, problem: Problem, *, after_s: float | None = None) -> None:
        super().__init__(describe(problem))
        self.problem = problem
        self.after_s = after_s


class Refused(ApiError):
    """The request is wrong as it stands."""


class NotFound(Refused):
    """There is no such thing, or no more."""


class Conflict(Refused):
    """The thing is in another state than the call needs."""


class BadCredentials(ApiError):
    """The key is missing, unknown, or may not do this."""


class Wait(ApiError):
    """Too much at once: the same call will do later."""


class ServerFault(ApiError):
    """The server failed."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: BadCredentials,
    403: BadCredentials,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    429: Wait,
    503: Wait,
}


def describe(problem: Problem) -> str:
    """One line: what happened, then each wrong field."""
    faults = "; ".join(f"{fault.field}: {fault.message}" for fault in problem.errors)
    parts = (problem.title, problem.detail, faults)
    return ": ".join(part.strip() for part in parts if part) + f" ({problem.status})"


def error_for(reply: httpx.Response) -> ApiError:
    """The error that a reply with a status of 300 or more stands for."""
    kind = _BY_STATUS.get(reply.status_code) or (ServerFault if reply.is_server_error else Refused)
    return kind(_problem(reply), after_s=_after_s(reply))


def _problem(reply: httpx.Response) -> Problem:
    if reply.headers.get("content-type", "").startswith(MEDIA_TYPE):
        try:
            return Problem.model_validate_json(reply.content)
        except ValidationError:
            pass
    return Problem(
        title=reply.reason_phrase or "Unexpected reply", status=reply.status_code, detail=_said(reply)
    )


def _said(reply: httpx.Response) -> str | None:
    """What a storage that speaks S3 says; its replies are no problem documents."""
    found = re.search(r"<Message>([^<]{1,300})</Message>", reply.text)
    return f"the storage says: {found[1]}" if found else None


def _after_s(reply: httpx.Response) -> float | None:
    """The seconds of Retry-After; its other form, a date, is as good as none."""
    text = reply.headers.get("retry-after", "")
    return min(float(text), AFTER_S_MAX) if text.isdecimal() else None
