"""What handlers are asked, and what they answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from salad.cloud import Cloud
from salad.groups import Group
from salad.jobs import Queue

PATCH_KIND = "application/merge-patch+json"
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
}
PAGE = (
    "<!DOCTYPE html>\n<html><head><title>{status} | salad.com</title></head>"
    "<body><h1>Error {status}</h1><p>cloudflare</p></body></html>\n"
)


@dataclass(frozen=True, slots=True)
class Asked:
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True, slots=True)
class Reply:
    """`body` is JSON; None is an empty one. `page` is HTML instead."""

    status: int
    body: Any = None
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    page: bool = False


class Problem(Exception):
    """A refusal, answered as a problem document."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status

    def reply(self, headers: Mapping[str, str] | None = None) -> Reply:
        title = TITLES[self.status]
        body = {"type": "about:blank", "title": title, "status": self.status, "detail": str(self)[:2000]}
        return Reply(self.status, body, headers=headers or {})


Handler = Callable[[Cloud, Asked], Reply]


def page(status: int) -> Reply:
    """What the proxy in front of the cloud says for it."""
    return Reply(status, PAGE.format(status=status), kind="text/html; charset=UTF-8", page=True)


def group_of(cloud: Cloud, asked: Asked) -> Group:
    group = cloud.groups.get(asked.path["container_group_name"])
    if group is None:
        raise Problem(404, "The container group could not be found.")
    return group


def queue_of(cloud: Cloud, asked: Asked) -> Queue:
    queue = cloud.queues.get(asked.path["queue_name"])
    if queue is None:
        raise Problem(404, "The queue could not be found.")
    return queue


def patched(whole: Any, change: Any) -> Any:
    """RFC 7396: null removes."""
    if not isinstance(change, dict):
        return change
    result = dict(whole) if isinstance(whole, dict) else {}
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result
