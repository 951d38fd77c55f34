"""The worker's HTTP app: `GET /hc` for probes, and the surfaces that this worker serves."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from gpulease.contract.agent import EngineOffer
from worker_image.local import LocalJobs
from worker_image.serving.machine import Machine
from worker_image.web.access import Guard, Refusal, on_invalid, on_refusal
from worker_image.web.generate import generate_router
from worker_image.web.hpc.routes import Hpc, hpc_router
from worker_image.web.metrics import metrics_router


def make_app(
    jobs: LocalJobs,
    offers: tuple[EngineOffer, ...],
    key: str | None,
    machine: Machine | None = None,
    hpc: Hpc | None = None,
) -> FastAPI:
    """`machine` is what `GET /metrics` tells of, and `hpc` what serves farms; without one there is none."""
    app = FastAPI(title="gpulease worker", docs_url=None, redoc_url=None)
    app.add_exception_handler(Refusal, on_refusal)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.include_router(generate_router(jobs, offers, Guard(key)))
    if machine is not None:
        app.include_router(metrics_router(machine, Guard(key)))
    if hpc is not None:
        app.include_router(hpc_router(hpc))

    @app.get("/hc")
    async def healthy() -> dict[str, str]:
        return {"status": "ok"}

    return app
