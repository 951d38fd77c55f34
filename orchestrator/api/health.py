"""What operators and their tools ask: is it alive, is it ready, what does it count."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gpulease import __version__
from gpulease.contract.problems import ProblemError
from orchestrator.api.auth import Operator, Shared, operates
from orchestrator.fleet.costs import usd_between
from orchestrator.observe import DAY_S
from orchestrator.parts import Parts
from orchestrator.store.rows import Fleet

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>gpulease</title>
<style>body{font:16px/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>
<h1>gpulease</h1><p>This is the orchestrator. Its API is described at <a href="/docs">/docs</a>; it is
<a href="/readyz">ready</a> or says why not; <a href="/v1/plan">the last plan</a> says what it is about to do.</p>
"""


router = APIRouter(tags=["health"])


@router.get("/", response_class=HTMLResponse)
async def home() -> str:
    return PAGE


@router.get("/livez")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz")
async def ready(parts: Shared) -> dict[str, str]:
    """503 until the store answers and a first plan was made, and while shutting down."""
    await parts.store.read_setting("policy")
    if parts.reconciler.last is None or parts.dispatcher.closed:
        raise ProblemError(503, "Starting or stopping", "Ask again in a moment.", type="/problems/not-ready")
    return {"status": "ok"}


@router.get("/healthz")
@router.get("/health")
async def health(parts: Shared, request: Request) -> dict[str, Any]:
    """That it answers. Operators also see every loop with its last run and last error, every provider that failed to
    answer, and the receivers of webhooks that are silent.
    """
    said: dict[str, Any] = {"status": "ok", "version": __version__}
    return said | _details(parts) if await operates(parts, request) else said


def _details(parts: Parts) -> dict[str, Any]:
    return {
        "loops": parts.loops.report(),
        "providers": {
            name: parts.inventory.faults.get(name) or parts.market.faults.get(name) or "ok"
            for name in parts.applier.leases.providers
        },
        "strangers": parts.inventory.strangers,
        "webhooks": parts.webhooks.report(),
    }


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(parts: Shared, _: Operator) -> Response:
    """For Prometheus, with an operator's key of the scope fleet:read."""
    registry = CollectorRegistry()
    registry.register(await _read(parts))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Read(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


async def _read(parts: Parts) -> _Read:
    """Counted at each scrape, never kept."""
    fleet = await parts.store.read_fleet()
    now = parts.clock.now()
    leases = await parts.store.list_leases(since=now - DAY_S)
    spent = GaugeMetricFamily("gpulease_usd_last_24h", "Cost of all leases in the last 24 hours, USD.")
    spent.add_metric([], sum(usd_between(lease, now - DAY_S, now) for lease in leases))
    return _Read([_queued(fleet), _workers(fleet), _running(fleet), spent])


def _queued(fleet: Fleet) -> Metric:
    metric = GaugeMetricFamily("gpulease_jobs_queued", "Jobs that wait, by engine.", labels=["engine"])
    counts: dict[str, int] = {}
    for group in fleet.groups:
        counts[group.need.engine] = counts.get(group.need.engine, 0) + group.count
    for engine, count in sorted(counts.items()):
        metric.add_metric([engine], count)
    return metric


def _workers(fleet: Fleet) -> Metric:
    metric = GaugeMetricFamily("gpulease_workers", "Workers.", labels=["provider", "state"])
    counts: dict[tuple[str, str], int] = {}
    for worker in fleet.workers:
        label = (worker.provider, worker.state.value)
        counts[label] = counts.get(label, 0) + 1
    for label, count in sorted(counts.items()):
        metric.add_metric(list(label), count)
    return metric


def _running(fleet: Fleet) -> Metric:
    metric = GaugeMetricFamily("gpulease_attempts_running", "Attempts that run.")
    metric.add_metric([], len(fleet.attempts))
    return metric
