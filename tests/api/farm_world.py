"""A client of the render farm before an orchestrator in this process, and a worker that a test speaks for."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from access_world import Person, person
from api_world import World

from orchestrator.settings import Settings

BLENDER = {"engine": "blender", "backend": "test", "models": ["4.2"], "features": []}
FRAMES = {"start_frame": "1", "end_frame": "100", "output_format": ".png"}
SCENE = b"BLENDER-v304" + bytes(500)


def settings_of(folder: Path, **more: Any) -> Settings:
    """Of a server with this surface alone, that does nothing by itself."""
    quiet = {"reconcile_period_s": 3600, "health_period_s": 3600, "providers": (), "surfaces": ("farm",)}
    return Settings(data=folder, _env_file=None, **{**quiet, **more})


def asked(engine: int | str = "1", **values: Any) -> str:
    """The part `request` of a form."""
    arguments = [{"ArgTypeId": name, "Value": value} for name, value in values.items()]
    return json.dumps({"EngineId": engine, "Arguments": arguments})


@dataclass
class Client:
    """Somebody with `email` and `token`, as the farm's client sends them."""

    world: World
    person: Person
    headers: dict[str, str]
    outside: httpx.AsyncClient | None = None
    """What reaches the storage, where that is not the orchestrator itself."""

    async def get(self, path: str = "info", **headers: str) -> httpx.Response:
        return await self.world.http.get(f"/renderapi/v1/{path}", headers={**self.headers, **headers})

    async def post(self, path: str, task_id: Any) -> httpx.Response:
        body = {"TaskId": task_id}
        return await self.world.http.post(f"/renderapi/v1/{path}", json=body, headers=self.headers)

    async def enqueue(
        self, request: str | None = None, name: str = "scene.blend", content: bytes = SCENE
    ) -> httpx.Response:
        parts = [("request", (None, request or asked(**FRAMES))), ("file", (name, content))]
        return await self.send(parts)

    async def send(self, parts: list[tuple[str, Any]]) -> httpx.Response:
        return await self.world.http.post("/renderapi/v1/enqueue", files=parts, headers=self.headers)

    async def tasks(self) -> list[dict[str, Any]]:
        reply = await self.get()
        assert reply.status_code == 200, reply.text
        return reply.json()["Tasks"]

    async def queued(self) -> int:
        """A new task's number."""
        reply = await self.enqueue()
        assert reply.status_code == 200, reply.text
        return (await self.tasks())[0]["Task"]["TaskId"]

    async def done(self, *files: tuple[str, bytes]) -> int:
        """A task that a worker has ended, with those files."""
        number = await self.queued()
        agent = await self.world.agent(BLENDER)
        assigned = await agent.claim()
        made = [await self._put(agent, assigned["attempt"], name, content) for name, content in files]
        done = await agent.finish(assigned, result={"backend": "test", "model": "4.2", "files": made})
        assert done.status_code == 200, done.text
        return number

    async def _put(self, agent: Any, attempt: int, name: str, content: bytes) -> dict[str, Any]:
        wanted = {"name": name, "size_bytes": len(content)}
        grant = (await agent.post(f"attempts/{attempt}/upload", **wanted)).json()
        http = self.outside or self.world.http
        put = await http.put(grant["url"], content=content, headers=grant.get("headers"))
        assert put.is_success, put.text
        return {"name": name, "key": grant["key"], "size_bytes": len(content)}


async def client(world: World, email: str = "user@example.com", role: str = "submitter") -> Client:
    somebody = await person(world, role, email)
    return Client(world, somebody, {"email": email, "token": somebody.secret})


def stored(world: World) -> list[str]:
    """The keys of all files in the storage."""
    root = world.orchestrator.parts.settings.data / "storage"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
