"""`GET /metrics`: what this worker is doing and has done, in Prometheus's text format."""

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from worker_image.machine.gpu import Gpu
from worker_image.machine.tally import BUCKETS_S, Spread
from worker_image.serving.machine import Machine
from worker_image.web.access import Guard

PREFIX = "gpulease_worker"


def metrics_router(machine: Machine, guard: Guard) -> APIRouter:
    router = APIRouter()
    registry = CollectorRegistry()
    registry.register(_Worker(machine))

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        guard.admit(request)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


class _Worker(Collector):
    """Everything is read when it is asked for."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._now()
        yield from self._done()
        if self._machine.gpu is not None:
            yield from _gpu(self._machine.gpu, self._machine.gpu_class)

    def _now(self) -> Iterator[Metric]:
        machine = self._machine
        yield _gauge("slots", "Jobs that may run at once.", machine.settings.capacity)
        yield _gauge("slots_free", "Slots that nothing holds.", machine.slots.free)
        yield _gauge("fit", "Whether this machine may take work.", 0 if machine.health.error else 1)
        models = GaugeMetricFamily(f"{PREFIX}_model_resident", "Models in memory.", labels=["model"])
        for model in machine.executor.resident():
            models.add_metric([model], 1)
        yield models

    def _done(self) -> Iterator[Metric]:
        tally = self._machine.tally
        jobs = CounterMetricFamily(f"{PREFIX}_jobs", "Jobs by how they ended.", labels=["engine", "end"])
        for (engine, end), count in sorted(tally.jobs.items()):
            jobs.add_metric([engine, end], count)
        yield jobs
        yield _phases(dict(tally.phases))
        beats = CounterMetricFamily(f"{PREFIX}_heartbeats", "Heartbeats by outcome.", labels=["outcome"])
        for outcome in ("ok", "failed"):
            beats.add_metric([outcome], tally.heartbeats[outcome])
        yield beats
        yield CounterMetricFamily(f"{PREFIX}_input_bytes", "Bytes of inputs that jobs got.", tally.bytes_in)
        yield CounterMetricFamily(f"{PREFIX}_output_bytes", "Bytes of files that jobs made.", tally.bytes_out)


def _phases(phases: dict[tuple[str, str], Spread]) -> Metric:
    family = HistogramMetricFamily(
        f"{PREFIX}_phase_seconds", "Seconds that jobs spent in a phase.", labels=["engine", "phase"]
    )
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    for labels, spread in sorted(phases.items()):
        upto = [sum(spread.counts[: number + 1]) for number in range(len(bounds))]
        family.add_metric([*labels], list(zip(bounds, upto, strict=True)), spread.sum_s)
    return family


def _gpu(gpu: Gpu, gpu_class: str) -> Iterator[Metric]:
    about = GaugeMetricFamily(
        f"{PREFIX}_gpu_info", "The GPU of this machine.", labels=["gpu_class", "driver", "cuda"]
    )
    about.add_metric([gpu_class, gpu.driver, gpu.cuda], 1)
    yield about
    now = gpu.now()
    if now is None:
        return
    yield _gauge("gpu_memory_used_bytes", "Memory of the GPU in use.", now.used_mib * 1024**2)
    yield _gauge("gpu_memory_free_bytes", "Memory of the GPU that is free.", now.free_mib * 1024**2)
    if now.util is not None:
        yield _gauge("gpu_utilization_ratio", "How busy the GPU is, 0 to 1.", now.util)
    if now.temperature_c is not None:
        yield _gauge("gpu_temperature_celsius", "How warm the GPU is.", now.temperature_c)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", about, value)
