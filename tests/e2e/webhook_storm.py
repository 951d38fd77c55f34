"""A receiver that fails at random, from a seed, and a server full of jobs that end at once."""

import asyncio
import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from up import Up

from loopback_server import LoopbackServer

AT_ONCE = 8


@dataclass
class Sceptic:
    """Answers 500 to `failing` of the tries. It believes nothing that the secret does not verify."""

    seed: int
    failing: float = 0.5
    secret: str = ""
    url: str = ""
    tries: int = 0
    ids: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Webhook ids by job, of all tries."""
    arrived: Counter[str] = field(default_factory=Counter)
    """How often a job's webhook was taken."""
    unverified: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._dice = random.Random(self.seed)
        app = Starlette(routes=[Route("/hook", self._take, methods=["POST"])])
        self._server = await LoopbackServer.start(app)
        self.url = f"http://{self._server.address}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.aclose()

    @property
    def duplicates(self) -> int:
        return self.arrived.total() - len(self.arrived)

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        self.tries += 1
        try:
            told = Webhook(self.secret).verify(body, dict(request.headers))
        except WebhookVerificationError as error:
            self.unverified.append(repr(error))
            return Response(status_code=401)
        self.ids[told["id"]].add(request.headers["webhook-id"])
        if self._dice.random() < self.failing:
            return Response(status_code=500)
        self.arrived[told["id"]] += 1
        return Response(status_code=204)


@dataclass
class Storm:
    """Jobs that nothing can run and that are cancelled, so that each has something to tell."""

    up: Up
    receiver: Sceptic
    jobs: list[str] = field(default_factory=list)

    async def begin(self) -> None:
        await asyncio.to_thread(self.up.start)
        self.receiver.secret = (await self.ask("GET", "/v1/webhooks/secret"))["secret"]

    async def ask(self, method: str, path: str, **given: Any) -> Any:
        reply = await asyncio.to_thread(self.up.http.request, method, path, **given)
        assert reply.is_success, reply.text
        return reply.json()

    async def submit(self, count: int) -> None:
        job = {"engine": "csm", "input": {"text": "x"}, "notify_url": self.receiver.url}
        made = await self.ask("POST", "/v1/jobs/batch", json={"jobs": [job] * count})
        self.jobs = [one["job"]["id"] for one in made["items"]]

    async def cancel_all(self) -> None:
        """Goes on where a server that is killed meanwhile had not answered."""
        left = list(self.jobs)
        async with httpx.AsyncClient(base_url=str(self.up.http.base_url), timeout=30) as http:
            await asyncio.gather(*(self._cancel(http, left) for _ in range(AT_ONCE)))

    async def _cancel(self, http: httpx.AsyncClient, left: list[str]) -> None:
        while left:
            job_id = left.pop()
            try:
                reply = await http.post(f"/v1/jobs/{job_id}/cancel")
            except httpx.TransportError:
                left.append(job_id)
                await asyncio.sleep(0.2)
            else:
                assert reply.is_success, reply.text

    async def kill_and_restart(self) -> None:
        await asyncio.to_thread(self.up.kill)
        await asyncio.to_thread(self.up.start)

    async def deliveries(self, state: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.ask(
                "GET", "/v1/webhooks/deliveries", params={"state": state, "limit": 500, **cursor}
            )
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    async def until(self, came_true: Any, patience_s: float = 240.0) -> None:
        async with asyncio.timeout(patience_s):
            while not await came_true():
                await asyncio.sleep(0.2)

    async def until_none_pends(self) -> None:
        async def none_pends() -> bool:
            page = await self.ask("GET", "/v1/webhooks/deliveries", params={"state": "pending", "limit": 1})
            return not page["items"]

        await self.until(none_pends)

    def figures(self, **more: float) -> str:
        said = {
            "jobs": len(self.jobs),
            "arrived": len(self.receiver.arrived),
            "tries": self.receiver.tries,
            "duplicates": self.receiver.duplicates,
            **more,
        }
        return json.dumps(said)
