"""What runs beside a container: the readiness probe, and the worker that brings it the jobs of its queue."""

import asyncio
from typing import Any

import httpx

from salad.cloud import Cloud
from salad.groups import Group, Instance
from salad.jobs import ENDED, Job, Queue
from salad.webhooks import announce

OUTPUT_BYTES_MAX = 10 * 1024 * 1024
_POLL_S = 0.02
_PROBE_S_MAX = 2.0


async def probe(cloud: Cloud, group: Group, instance: Instance) -> None:
    """Without an HTTP probe a container counts as ready as soon as it runs."""
    asked = (group.asked.get("readiness_probe") or {}).get("http")
    if not asked:
        instance.ready = True
        return
    url = f"http://localhost:{instance.port or asked['port']}{asked['path']}"
    async with httpx.AsyncClient(timeout=_PROBE_S_MAX, trust_env=False) as http:
        while True:
            instance.ready = await _answers(http, url)
            await asyncio.sleep(cloud.knobs.probe_s)


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return 200 <= (await http.get(url)).status_code < 400
    except httpx.HTTPError:
        return False


async def serve_queue(cloud: Cloud, group: Group, instance: Instance) -> None:
    """One job at a time, while the container is ready, for as long as the container takes."""
    connection = group.asked.get("queue_connection")
    if not connection:
        return
    url = f"http://localhost:{instance.port}{connection['path']}"
    async with httpx.AsyncClient(timeout=None, trust_env=False) as http:
        while True:
            queue = cloud.queues.get(connection["queue_name"])
            job = queue.take() if queue and instance.ready and not instance.leaving else None
            if queue and job:
                await _deliver(cloud, queue, job, http, url)
            await asyncio.sleep(_POLL_S)


async def _deliver(cloud: Cloud, queue: Queue, job: Job, http: httpx.AsyncClient, url: str) -> None:
    completed = False
    try:
        reply = await http.post(url, json=job.asked["input"], headers={"Salad-Job-Id": job.id})
        completed = _completes(reply)
        if completed:
            job.output = reply.json()
            job.move("succeeded", "succeeded")
    except httpx.HTTPError:
        pass
    finally:  # An interruption ends this task, and uses up an attempt like any other.
        if not completed:
            queue.give_back(job, cloud.knobs.job_retries)
        if job.status in ENDED:
            announce(cloud, queue, job)
    if not completed:
        await asyncio.sleep(cloud.knobs.job_retry_s)


def _completes(reply: httpx.Response) -> bool:
    """A 4xx is a success, with whatever it says as the output."""
    if reply.status_code in (408, 429) or reply.status_code >= 500:
        return False
    return len(reply.content) <= OUTPUT_BYTES_MAX and _is_json(reply)


def _is_json(reply: httpx.Response) -> Any:
    try:
        reply.json()
    except ValueError:
        return False
    return True
