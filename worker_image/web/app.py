"""The worker's HTTP app: `GET /hc` for probes, and the surfaces that this worker serves."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from gpulease.contract.agent import EngineOffer
from worker_image.local import LocalJobs
from worker_image.web.access import Guard, Refusal, on_invalid, on_refusal
from worker_image.web.generate import generate_router


def make_app(jobs: LocalJobs, offers: tuple[EngineOffer, ...], key: str | None) -> FastAPI:
    app = FastAPI(title="gpulease worker", docs_url=None, redoc_url=None)
    app.add_exception_handler(Refusal, on_refusal)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.include_router(generate_router(jobs, offers, Guard(key)))

    @app.get("/hc")
    async def healthy() -> dict[str, str]:
        return {"status": "ok"}

    return app
