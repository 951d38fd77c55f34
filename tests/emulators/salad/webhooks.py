"""Webhooks about jobs that ended, signed as Standard Webhooks says, with code of their own."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from uuid import uuid4

import httpx

from salad.cloud import Cloud
from salad.jobs import Job, Queue
from salad.times import now, stamp

_SPELLED = {"cancelled": "canceled"}
_REPLY_S_MAX = 15.0


def announce(cloud: Cloud, queue: Queue, job: Job) -> None:
    """Tells the job's webhook, if it has one, of its end; up to so many tries, later."""
    if job.asked.get("webhook") and not cloud.dice.hits("webhook_lost"):
        again = cloud.dice.hits("webhook_twice")
        cloud.spawn(_deliver(cloud, job.asked["webhook"], body_of(cloud, queue, job), again=again))


def body_of(cloud: Cloud, queue: Queue, job: Job) -> bytes:
    data = job.as_json(zone="Z", event_key="type")
    whose = {
        "organization_name": cloud.config.organization,
        "project_name": cloud.config.project,
        "queue_name": queue.name,
    }
    status = _SPELLED.get(job.status, job.status)
    body = {"type": f"queue.job.{status}", "timestamp": stamp(now()), "data": {**data, **whose}}
    return json.dumps(body).encode()


def signature(secret: str, webhook_id: str, at: int, body: bytes) -> str:
    """`secret` is base64, as the API gives it; `at` is in epoch seconds."""
    signed = f"{webhook_id}.{at}.".encode() + body
    digest = hmac.new(base64.b64decode(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


async def _deliver(cloud: Cloud, url: str, body: bytes, *, again: bool) -> None:
    webhook_id = f"msg_{uuid4().hex}"
    async with httpx.AsyncClient(timeout=_REPLY_S_MAX, trust_env=False) as http:
        for _ in range(cloud.knobs.webhook_tries):
            if await _taken(cloud, http, url, webhook_id, body):
                if again:
                    await _taken(cloud, http, url, webhook_id, body)
                return
            await asyncio.sleep(cloud.knobs.webhook_retry_s)


async def _taken(cloud: Cloud, http: httpx.AsyncClient, url: str, webhook_id: str, body: bytes) -> bool:
    at = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(cloud.signing_secret(), webhook_id, at, body),
    }
    try:
        return (await http.post(url, content=body, headers=headers)).is_success
    except httpx.HTTPError:
        return False
