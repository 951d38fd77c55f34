"""/v1/providers: who is leased from, whether they can be asked, and a switch for each."""

from collections import Counter, defaultdict
from typing import Any

from fastapi import APIRouter

from gpulease.contract.problems import ProblemError
from orchestrator.access.callers import Caller
from orchestrator.api.auth import Operator, Shared
from orchestrator.fleet.clouds.switches import Switches
from orchestrator.parts import Parts
from orchestrator.store.rows import Worker
from scaling.snapshot import Offer
from scaling.states import WorkerState

router = APIRouter(prefix="/v1/providers", tags=["providers"])


@router.get("")
async def providers(parts: Shared, _: Operator) -> dict[str, Any]:
    """Every provider that is configured, or lacks something to be."""
    return {"items": await _items(parts)}


@router.post("/{name}/disable")
async def disable(parts: Shared, name: str, caller: Operator) -> dict[str, Any]:
    """Nothing more is leased from it; what is leased goes on until it idles out or is stopped."""
    return await _switch(parts, name, caller, on=False)


@router.post("/{name}/enable")
async def enable(parts: Shared, name: str, caller: Operator) -> dict[str, Any]:
    return await _switch(parts, name, caller, on=True)


async def _switch(parts: Parts, name: str, caller: Caller, *, on: bool) -> dict[str, Any]:
    items = await _items(parts)
    if not any(item["name"] == name for item in items):
        known = ", ".join(item["name"] for item in items)
        raise ProblemError(404, "There is no such provider", f"{name!r} is none of: {known}.")
    await Switches(parts.store, parts.market, parts.clock).turn(name, on=on, by=caller.by)
    parts.loops.nudge("reconcile")
    return next(item for item in await _items(parts) if item["name"] == name)


async def _items(parts: Parts) -> list[dict[str, Any]]:
    workers: dict[str, list[Worker]] = defaultdict(list)
    for worker in await parts.store.list_workers(include_gone=False, limit=10_000):
        workers[worker.provider].append(worker)
    offers: dict[str, list[Offer]] = defaultdict(list)
    for offer in parts.market.offers():
        offers[offer.provider].append(offer)
    names = [*parts.applier.leases.providers, *parts.missing]
    return [_item(parts, name, workers[name], offers[name]) for name in names]


def _item(parts: Parts, name: str, workers: list[Worker], offers: list[Offer]) -> dict[str, Any]:
    client = parts.applier.leases.providers.get(name)
    states = Counter(one.state.value for one in workers)
    paid = [one for one in workers if one.state is not WorkerState.INTENDED and not one.owned]
    return {
        "name": name,
        "configured": client is not None,
        "missing": list(parts.missing.get(name, ())),
        "enabled": name not in parts.market.disabled,
        "hosted": client is not None and client.hosted,
        "offers": [_offer(one) for one in offers],
        "workers": len(workers),
        "states": dict(states),
        "usd_per_hour": sum(one.usd_per_hour for one in paid),
        "fault": parts.inventory.faults.get(name) or parts.market.faults.get(name),
        "strangers": list(parts.inventory.strangers.get(name, ())),
    }


def _offer(offer: Offer) -> dict[str, Any]:
    return {
        "gpu_class": offer.gpu_class,
        "vram_gb": offer.vram_gb,
        "usd_per_hour": offer.usd_per_hour,
        "count_max": offer.count_max,
        "cooled_s": offer.cooled_s,
        "boot_billed": offer.boot_billed,
        "lease_s_max": offer.lease_s_max,
        "life_mean_s": offer.life_mean_s,
        "engines": sorted({one.engine for one in offer.capabilities}),
    }
