"""The `/hpc` routes of a render machine: how it is, start a task, stop a task.

It runs one task at a time, and goes on to tell of the last one; that one may be anybody's, so that only an answer
with the right `TaskId` says anything. Source: the render farm's HPCServer.
"""

from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from worker_image.faults import HostFault

CALL_S_MAX = 10.0
SHOWN_LETTERS_MAX = 200


class _Reply(BaseModel):
    """The first letters of its names may be small, by how the server is set up."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _small(cls, said: Any) -> Any:
        return {str(name).lower(): value for name, value in said.items()} if isinstance(said, dict) else said


class _Task(_Reply):
    taskid: int
    issuccess: bool
    isrunning: bool
    totalseconds: float = 0


class _Status(_Reply):
    engineids: tuple[str, ...] = ()
    task: _Task | None = None


@dataclass(frozen=True, slots=True)
class HpcTask:
    id: int
    succeeded: bool
    running: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class HpcStatus:
    engine_ids: tuple[str, ...]
    task: HpcTask | None


class Unanswered(HostFault):
    """No usable answer; what was asked may have been done."""

    def __init__(self, message: str) -> None:
        super().__init__("machine_unreachable", message)


class Hpc:
    def __init__(self, url: str, key: str | None) -> None:
        headers = {"User-Agent": "gpulease"} | ({"X-Internal-API-Key": key} if key else {})
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=CALL_S_MAX, trust_env=False)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def status(self) -> HpcStatus:
        """Raises: Unanswered."""
        reply = await self._asked("GET", "/hpc/status")
        try:
            said = _Status.model_validate_json(reply.content)
        except ValidationError as error:
            raise Unanswered(
                f"/hpc/status is not that of a render machine: {error.errors()[0]['msg']}"
            ) from error
        task = said.task
        told = HpcTask(task.taskid, task.issuccess, task.isrunning, task.totalseconds) if task else None
        return HpcStatus(said.engineids, told)

    async def start(self, engine_id: str, task_id: int, arguments: str) -> None:
        """Raises: Unanswered: it may have been started. HostFault: it refuses."""
        body = {"EngineId": engine_id, "TaskId": task_id, "Arguments": arguments}
        await self._asked("POST", "/hpc/start", body)

    async def stop(self, task_id: int) -> None:
        """Raises: HostFault."""
        await self._asked("POST", "/hpc/stop", {"TaskId": task_id})

    async def _asked(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Its status code is what counts: after a refusal the server may write a second, friendlier answer."""
        try:
            reply = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise Unanswered(f"{path}: {str(error) or type(error).__name__}") from error
        if reply.status_code == httpx.codes.BAD_REQUEST:
            said = " ".join(reply.text.split())[:SHOWN_LETTERS_MAX]
            raise HostFault("machine_refused", f"{path} was refused: {said}")
        if reply.status_code != httpx.codes.OK:
            raise Unanswered(f"{path} answered {reply.status_code}")
        return reply
