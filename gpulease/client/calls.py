"""Every call of the API as a value: how it is asked, how its reply is read, whether it may be repeated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
from pydantic import TypeAdapter, ValidationError

from gpulease.client.errors import Garbled
from gpulease.contract.jobs import (
    BatchReply,
    EventView,
    JobPage,
    JobRequest,
    JobView,
    Result,
    Status,
    UploadPlan,
    UploadRequest,
    UploadView,
)

Reply = TypeVar("Reply")
JsonObject = dict[str, Any]
JobId = UUID | str

SUBMIT_TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 600.0
TRY_TIMEOUT_S = 120.0
PAGE = 200


@dataclass(frozen=True, slots=True)
class Call(Generic[Reply]):
    """One request. It may be repeated when it reads only, or when its key makes repeating harmless."""

    method: str
    path: str
    parse: Callable[[httpx.Response], Reply]
    params: Mapping[str, str | int] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 15.0
    harmless: bool = False
    """Once more does no harm, though neither the method nor a key says so."""

    @property
    def repeatable(self) -> bool:
        return self.harmless or self.method in {"GET", "PUT"} or "Idempotency-Key" in self.headers


def _reader(kind: type[Reply]) -> Callable[[httpx.Response], Reply]:
    adapter = TypeAdapter(kind)

    def parse(reply: httpx.Response) -> Reply:
        try:
            return adapter.validate_json(reply.content)
        except ValidationError as error:
            url = reply.request.url.copy_with(query=None)
            raise Garbled(f"{url} did not answer as a gpulease server does") from error

    return parse


_job_view = _reader(JobView)
_job_page = _reader(JobPage)
_batch = _reader(BatchReply)
_result = _reader(Result)
_upload = _reader(UploadView)
_plan = _reader(UploadPlan)
_object: Callable[[httpx.Response], JsonObject] = _reader(dict[str, Any])


def _items(reply: httpx.Response) -> list[JsonObject]:
    return items_of(_object(reply))


def items_of(page: JsonObject) -> list[JsonObject]:
    try:
        return list(page["items"])
    except KeyError as error:
        raise Garbled("the list came without items") from error


_event_views = TypeAdapter(list[EventView])


def _events(reply: httpx.Response) -> list[EventView]:
    return _event_views.validate_python(_items(reply))


def _text(reply: httpx.Response) -> str:
    return reply.text


def _part(name: JobId) -> str:
    return quote(str(name), safe="")


def submit(request: JobRequest, key: str | None = None) -> Call[JobView]:
    body = request.model_dump(mode="json", exclude_defaults=True)
    return Call("POST", "/v1/jobs", _job_view, body=body, headers=_key(key), timeout_s=SUBMIT_TIMEOUT_S)


def submit_batch(requests: Sequence[JobRequest], key: str | None = None) -> Call[BatchReply]:
    body = {"jobs": [request.model_dump(mode="json", exclude_defaults=True) for request in requests]}
    return Call("POST", "/v1/jobs/batch", _batch, body=body, headers=_key(key), timeout_s=SUBMIT_TIMEOUT_S)


def _key(given: str | None) -> dict[str, str]:
    return {"Idempotency-Key": given or str(uuid4())}


def jobs(
    status: Status | None = None, engine: str | None = None, limit: int = 100, cursor: str | None = None
) -> Call[JobPage]:
    given = {"status": status, "engine": engine, "limit": limit, "cursor": cursor}
    params = {name: value for name, value in given.items() if value is not None}
    return Call("GET", "/v1/jobs", _job_page, params=params)


def job(job_id: JobId) -> Call[JobView]:
    return Call("GET", f"/v1/jobs/{_part(job_id)}", _job_view)


def events(job_id: JobId) -> Call[list[EventView]]:
    return Call("GET", f"/v1/jobs/{_part(job_id)}/events", _events)


def result(job_id: JobId) -> Call[Result]:
    return Call("GET", f"/v1/jobs/{_part(job_id)}/result", _result)


def logs(job_id: JobId, offset: int) -> Call[str]:
    return Call("GET", f"/v1/jobs/{_part(job_id)}/logs", _text, params={"offset": offset})


def cancel(job_id: JobId) -> Call[JobView]:
    return Call("POST", f"/v1/jobs/{_part(job_id)}/cancel", _job_view)


def retry(job_id: JobId, key: str | None = None) -> Call[JobView]:
    return Call("POST", f"/v1/jobs/{_part(job_id)}/retry", _job_view, headers=_key(key))


def upload() -> Call[UploadView]:
    """Its body, a multipart field `file`, is given apart: it is streamed."""
    return Call("POST", "/v1/uploads", _upload, timeout_s=UPLOAD_TIMEOUT_S)


def begin_upload(request: UploadRequest) -> Call[UploadPlan]:
    """One that is begun and never sent holds no bytes, and ends by itself."""
    body = request.model_dump(mode="json")
    return Call("POST", "/v1/uploads/parts", _plan, body=body, timeout_s=UPLOAD_TIMEOUT_S, harmless=True)


def upload_plan(upload_id: str) -> Call[UploadPlan]:
    """The server may have to look through all that has come."""
    return Call("GET", f"/v1/uploads/{_part(upload_id)}/parts", _plan, timeout_s=UPLOAD_TIMEOUT_S)


def complete_upload(upload_id: str) -> Call[UploadView]:
    path = f"/v1/uploads/{_part(upload_id)}/complete"
    return Call("POST", path, _upload, timeout_s=UPLOAD_TIMEOUT_S, harmless=True)


def engines() -> Call[list[JsonObject]]:
    return Call("GET", "/v1/engines", _items)


def workers() -> Call[list[JsonObject]]:
    return Call("GET", "/v1/workers", _items)


def order_worker(worker_id: str, verb: str) -> Call[JsonObject]:
    """`verb` is drain, stop, pause or resume."""
    return Call("POST", f"/v1/workers/{_part(worker_id)}/{verb}", _object)


def plan() -> Call[JsonObject]:
    return Call("GET", "/v1/plan", _object)


def plans(which: Mapping[str, str | int]) -> Call[JsonObject]:
    """`which` holds any of before, until and limit."""
    return Call("GET", "/v1/plans", _object, params=which)


def past_plan(plan_id: int) -> Call[JsonObject]:
    return Call("GET", f"/v1/plans/{plan_id}", _object)


def costs() -> Call[JsonObject]:
    return Call("GET", "/v1/costs", _object)


def leases(hours: float) -> Call[JsonObject]:
    return Call("GET", "/v1/leases", _object, params={"hours": str(hours)})


def providers() -> Call[list[JsonObject]]:
    return Call("GET", "/v1/providers", _items)


def switch_provider(name: str, verb: str) -> Call[JsonObject]:
    """`verb` is enable or disable."""
    return Call("POST", f"/v1/providers/{_part(name)}/{verb}", _object)


def policy() -> Call[JsonObject]:
    return Call("GET", "/v1/policy", _object)


def set_policy(policy_to_be: JsonObject) -> Call[JsonObject]:
    return Call("PUT", "/v1/policy", _object, body=policy_to_be)


def try_policy(policy_to_be: JsonObject, hours: float, seeds: int) -> Call[JsonObject]:
    body = {"policy": policy_to_be, "hours": hours, "seeds": seeds}
    return Call("POST", "/v1/policy/try", _object, body=body, timeout_s=TRY_TIMEOUT_S)


def projects(cursor: str | None = None) -> Call[JsonObject]:
    return Call("GET", "/v1/projects", _object, params=_page(cursor))


def create_project(name: str) -> Call[JsonObject]:
    return Call("POST", "/v1/projects", _object, body={"name": name})


def members(project_id: str, cursor: str | None = None) -> Call[JsonObject]:
    return Call("GET", f"/v1/projects/{_part(project_id)}/members", _object, params=_page(cursor))


def put_member(project_id: str, user_id: str, right: str) -> Call[JsonObject]:
    """`right` is read or write."""
    path = f"/v1/projects/{_part(project_id)}/members/{_part(user_id)}"
    return Call("PUT", path, _object, body={"right": right})


def remove_member(project_id: str, user_id: str) -> Call[None]:
    path = f"/v1/projects/{_part(project_id)}/members/{_part(user_id)}"
    return Call("DELETE", path, lambda _: None)


def audit(which: Mapping[str, str], cursor: str | None = None) -> Call[JsonObject]:
    """`which` holds any of who, what, target, since and until."""
    return Call("GET", "/v1/audit", _object, params={**which, **_page(cursor)})


def deliveries(which: Mapping[str, str], cursor: str | None = None) -> Call[JsonObject]:
    """`which` holds any of state, job_id and owner."""
    return Call("GET", "/v1/webhooks/deliveries", _object, params={**which, **_page(cursor)})


def delivery(number: int) -> Call[JsonObject]:
    return Call("GET", f"/v1/webhooks/deliveries/{number}", _object)


def replay(number: int) -> Call[JsonObject]:
    return Call("POST", f"/v1/webhooks/deliveries/{number}/replay", _object)


def replay_failed(which: Mapping[str, str]) -> Call[JsonObject]:
    """`which` holds any of since, job_id and owner."""
    body = {"state": "failed", **which}
    return Call("POST", "/v1/webhooks/deliveries/replay", _object, body=body, timeout_s=SUBMIT_TIMEOUT_S)


def webhook_secret() -> Call[JsonObject]:
    return Call("GET", "/v1/webhooks/secret", _object)


def rotate_webhook_secret() -> Call[JsonObject]:
    return Call("POST", "/v1/webhooks/secret/rotate", _object)


def _page(cursor: str | None) -> dict[str, str | int]:
    return {"limit": PAGE} if cursor is None else {"limit": PAGE, "cursor": cursor}


def live() -> Call[None]:
    return Call("GET", "/livez", lambda _: None, timeout_s=5.0)
