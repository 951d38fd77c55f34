"""Replies as Salad's API gives them, for tests of replies that no emulator gives."""

import json
from contextlib import asynccontextmanager

import httpx
import respx

from provider_clients.base import LaunchSpec
from provider_clients.salad import Salad, SaladConfig
from scaling.snapshot import Capability

BASE = "https://salad.test/api/public"
ORGANIZATION = f"{BASE}/organizations/acme"
GROUPS = f"{ORGANIZATION}/projects/render/containers"
QUEUES = f"{ORGANIZATION}/projects/render/queues"
TAG = "gpl0a1b2c3d-w-1"
GROUP = f"{GROUPS}/{TAG}"
QUEUE = f"{QUEUES}/{TAG}"
RTX_4090 = "ed563892-aacd-40f5-80b7-90c9be6c759b"
CAPABLE = (Capability("csm", "test"),)
SPEC = LaunchSpec("w-1", "RTX 4090", "https://gpulease.test", "gpw_a-key")
HTML = httpx.Response(502, html="<html>Bad gateway</html>")
CLASSES = {
    "items": [
        {
            "id": RTX_4090,
            "name": "NVIDIA GeForce RTX 4090 (24 GB)",
            "prices": [{"priority": "high", "price": "0.300"}, {"priority": "batch", "price": "0.160"}],
        },
        {
            "id": "851399fb-7329-4195-a042-d6514b28cf33",
            "name": " RTX 5090 (32 GB)",
            "prices": [{"priority": "medium", "price": "0.417"}],
        },
    ]
}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def group(name=TAG, status="running", **more):
    """A group as far as anybody reads it; times with seven decimals."""
    return {
        "name": name,
        "container": {"image": "i", "resources": {"cpu": 4, "memory": 16384, "gpu_classes": [RTX_4090]}},
        "create_time": "2024-01-20T01:02:48.4787553+00:00",
        "current_state": {
            "status": status,
            "start_time": "2024-01-20T01:03:00.0000000Z",
            "finish_time": "2024-01-20T01:04:00.0000000Z",
            **more,
        },
    }


def instance(state="running", ready=True, machine_id="m-1"):
    return {"id": "db3a4591", "machine_id": machine_id, "state": state, "ready": ready, "version": 1}


def events(*told):
    """(name, second, instance id) each; the newest comes first, as in Salad's log."""
    return {
        "items": [
            {
                "event_name": name,
                "event_time": f"2024-01-20T01:{second // 60:02}:{second % 60:02}.0000000Z",
                **({"instance_id": one} if one else {}),
            }
            for name, second, one in reversed(told)
        ]
    }


@asynccontextmanager
async def salad(clock=None, **config):
    """A client whose calls all meet respx; what it has no route for fails the test."""
    chosen = {
        "api_key": "salad-key",
        "organization": "acme",
        "project": "render",
        "image": "ghcr.io/acme/worker:1",
        "base_url": BASE,
        "capabilities": CAPABLE,
        "image_gb": 1.0,
        "per_minute": 6000.0,
        **config,
    }
    with respx.mock(assert_all_called=False) as api:
        api.get(f"{ORGANIZATION}/gpu-classes").respond(json=CLASSES)
        client = Salad(SaladConfig(**chosen), **({"clock": clock} if clock else {}))
        try:
            yield client, api
        finally:
            await client.aclose()


def sent(call):
    return json.loads(call.request.content)
