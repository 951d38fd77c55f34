"""Things of one person or another, made when a row of the authorisation table names them."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from api_world import TTS, Agent
from authorisation_rules import NO_KEY, WORKER_KEY, WRONG_KEY, Row
from people_world import People, Someone

from gpulease.contract.jobs import JobRequest
from orchestrator.jobs.submit import Asked
from orchestrator.parts import Parts
from orchestrator.settings import Settings
from orchestrator.store.people import Asset, AssetVersion, Member, Project, Upload
from orchestrator.store.rows import JobFilter
from scaling.states import JobState

HOOK = "http://127.0.0.1:9/hook"
FILM = {"engine": "video", "input": {"prompt": "a cat"}}
FILMS = {"engine": "video", "backend": "test", "models": ["mochi-1-preview"]}
CONTENT_TYPES = {"a.mp4": "video/mp4", "a.jpg": "image/jpeg"}
_NAMED = re.compile(r"{(\w+)}")


def lenient_settings(folder: Path) -> Settings:
    """No rate limits: the table asks a thousand things in a moment."""
    return Settings(
        data=folder,
        providers=("comput3",),
        reconcile_period_s=3600,
        health_period_s=3600,
        requests_per_s=None,
        allow_private_hosts=("127.0.0.1",),
        _env_file=None,
    )


@dataclass
class Cell:
    """One call: the things that it names are `owner`'s, and made anew for it, but for those that no call changes."""

    people: People
    owner: Someone
    lasting: dict[tuple[str, str], Any]
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> Parts:
        return self.people.world.orchestrator.parts

    @property
    def now(self) -> float:
        return self.people.world.clock.now()

    async def thing(self, name: str) -> Any:
        made, known_as = (self.lasting, (self.owner.id, name)) if name in LASTING else (self.made, name)
        if known_as not in made:
            made[known_as] = await THINGS[name](self)
        return made[known_as]

    async def fill(self, template: Any) -> Any:
        """The same with every text in braces replaced by what it names; a text that is one name keeps its type."""
        if isinstance(template, dict):
            return {name: await self.fill(value) for name, value in template.items()}
        if isinstance(template, list | tuple):
            return type(template)([await self.fill(value) for value in template])
        if not isinstance(template, str):
            return template
        if whole := _NAMED.fullmatch(template):
            return await self.thing(whole[1])
        for name in _NAMED.findall(template):
            template = template.replace(f"{{{name}}}", str(await self.thing(name)))
        return template


@dataclass
class Callers:
    """Calls routes as anybody, each time from another address: guessing wrong keys would be slowed down."""

    people: People
    me: Someone | None
    other: Someone
    count: int = 0
    lasting: dict[tuple[str, str], Any] = field(default_factory=dict)

    async def status(self, row: Row, who: str, *, own: bool) -> int:
        cell = Cell(self.people, self.me if own and self.me else self.other, self.lasting)
        path = await cell.fill(row.path)
        given = {name: await cell.fill(getattr(row, name)) for name in ("json", "data", "files", "params")}
        headers = {**(await cell.fill(row.headers or {})), **await self._proof(who, cell, own)}
        async with self._client() as http:
            reply = await http.request(row.method, path, headers=headers, content=row.content, **given)
        return reply.status_code

    async def _proof(self, who: str, cell: Cell, own: bool) -> dict[str, str]:
        if who == NO_KEY:
            return {}
        if who == WRONG_KEY:
            return {"Authorization": "Bearer gpl_wrongkeywrongkeywrongkeywrongkey"}
        if who == WORKER_KEY:
            agent = await (cell.thing("agent") if own else self.people.world.agent())
            return {"Authorization": f"Bearer {agent.key}", "X-Internal-API-Key": agent.key}
        return {"Authorization": f"Bearer {self.me.secret}"}

    def _client(self) -> httpx.AsyncClient:
        self.count += 1
        app = self.people.nobody._transport.app
        address = f"198.51.{self.count // 250}.{self.count % 250 + 1}"
        transport = httpx.ASGITransport(app, client=(address, 1), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def job(cell: Cell, **asked: Any) -> str:
    request = JobRequest(**({"engine": "csm", "input": {"text": "Hello."}} | asked))
    submitted = await cell.parts.submitter.submit(request, Asked(cell.owner.id))
    return submitted.job.id


async def done_job(cell: Cell, file: str = "a.mp4", **asked: Any) -> str:
    """It succeeded, with a text and a file. Everything before it in the queue is cancelled."""
    await _clear_queue(cell)
    job_id = await job(cell, **asked)
    worker = await cell.people.world.agent(TTS, FILMS)
    assigned = await worker.claim()
    said = {"name": file, "size_bytes": 4, "content_type": CONTENT_TYPES[file]}
    grant = (await worker.post(f"attempts/{assigned['attempt']}/upload", **said)).json()
    await cell.people.world.http.put(grant["url"], content=b"abcd", headers=grant["headers"])
    result = {"backend": "test", "model": "m", "text": "done", "files": [{**said, "key": grant["key"]}]}
    assert (await worker.finish(assigned, result=result)).status_code == 200
    return job_id


async def film(cell: Cell) -> str:
    return await job(cell, **FILM)


async def done_film(cell: Cell) -> str:
    return await done_job(cell, **FILM)


async def picture(cell: Cell) -> str:
    return await done_job(cell, "a.jpg")


async def told_job(cell: Cell) -> str:
    return await done_job(cell, notify_url=HOOK)


async def farm_task(cell: Cell) -> int:
    return await cell.parts.store.alias("farm", "task", await job(cell), cell.owner.id)


async def done_farm_task(cell: Cell) -> int:
    return await cell.parts.store.alias("farm", "task", await done_job(cell), cell.owner.id)


async def _clear_queue(cell: Cell) -> None:
    queued = JobFilter(state=JobState.QUEUED)
    for one in await cell.parts.store.list_jobs(queued, before=None, limit=500):
        await cell.parts.store.cancel_job(one.id, who="a test", reason="room", now=cell.now)


async def delivery(cell: Cell) -> int:
    job_id = await job(cell, notify_url=HOOK)
    await cell.parts.store.cancel_job(job_id, who="a test", reason="a test", now=cell.now)
    (told,) = await cell.parts.store.list_deliveries(job_id)
    return told.id


async def upload(cell: Cell, **more: Any) -> str:
    upload_id = uuid4().hex
    key = f"uploads/{upload_id}/file"
    given = {"stored_at": cell.now} | more
    row = Upload(
        upload_id, cell.owner.id, "file", key, 4, "", "text/plain", cell.now, cell.now + 1000, **given
    )
    await cell.parts.store.add_upload(row)
    return upload_id


async def key(cell: Cell) -> str:
    return (await cell.people.another_key(cell.owner.user)).key.id


async def project(cell: Cell) -> str:
    project_id = str(uuid4())
    await cell.parts.store.add_project(Project(project_id, "Film", cell.owner.id, cell.now))
    return project_id


async def guest(cell: Cell) -> str:
    return (await cell.people.add("viewer")).id


async def member(cell: Cell) -> str:
    user_id = await guest(cell)
    row = Member(await cell.thing("project_id"), user_id, "read")
    assert await cell.parts.store.put_member(row, by=None, now=cell.now)
    return user_id


async def asset(cell: Cell) -> str:
    asset_id = str(uuid4())
    row = Asset(asset_id, f"{asset_id}.obj", "obj", cell.owner.id, None, cell.now)
    version = AssetVersion(asset_id, 0, f"assets/{asset_id}/1.obj", 4, "", cell.now, cell.owner.id)
    await cell.parts.store.add_asset_version(row, version, by=None)
    return asset_id


async def attempt(cell: Cell) -> int:
    await _clear_queue(cell)
    await job(cell)
    return (await (await cell.thing("agent")).claim())["attempt"]


async def plan(cell: Cell) -> int:
    return await cell.parts.store.record_plan({"policy": {"name": "whatif"}}, at=cell.now)


def constant(value: Any) -> Callable[[Cell], Awaitable[Any]]:
    async def given(_: Cell) -> Any:
        return value

    return given


async def agent(cell: Cell) -> Agent:
    return await cell.people.world.agent()


async def _of_agent(cell: Cell) -> str:
    return (await cell.thing("agent")).id


async def _incarnation(cell: Cell) -> str:
    return (await cell.thing("agent")).incarnation


async def _fresh(_: Cell) -> str:
    return f"a-{uuid4().hex[:12]}"


async def _owner(cell: Cell) -> str:
    return cell.owner.id


async def _begun_upload(cell: Cell) -> str:
    return await upload(cell, stored_at=None)


LASTING = {"done_job", "done_film", "done_farm_task", "picture", "told_job"}
THINGS: dict[str, Callable[[Cell], Awaitable[Any]]] = {
    "job_id": job,
    "done_job": done_job,
    "film": film,
    "done_film": done_film,
    "picture": picture,
    "told_job": told_job,
    "farm_task": farm_task,
    "done_farm_task": done_farm_task,
    "delivery_id": delivery,
    "upload_id": upload,
    "begun_upload": _begun_upload,
    "key_id": key,
    "project_id": project,
    "user_id": _owner,
    "guest": guest,
    "member": member,
    "asset_id": asset,
    "fresh": _fresh,
    "agent": agent,
    "worker_id": _of_agent,
    "incarnation": _incarnation,
    "attempt": attempt,
    "plan": plan,
    "provider": constant("comput3"),
    "queue": constant("short-low"),
    "first": constant(1),
    "unsigned": constant("jobs/x/1/y"),
}
"""What a row may name in braces. More of them: one line, and a function that makes it for `cell.owner`."""
