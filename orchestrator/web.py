"""The HTTP side: which routes there are, and what stands around them."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, FastAPI

from gpulease import __version__
from orchestrator.api import events, fleet, health, internal, jobs, money, plans, providers, salad
from orchestrator.api.edge.bounds import BodyBound
from orchestrator.api.edge.document import correct
from orchestrator.api.edge.headers import guard
from orchestrator.api.people import assets, audit, keys, me, projects, queues, subscriptions, users, webhooks
from orchestrator.api.problems import PROBLEMS, install
from orchestrator.api.uploads import parted, streamed
from orchestrator.compat.farm import routes as farm
from orchestrator.compat.farm.engines import load_farm
from orchestrator.compat.render import routes as render
from orchestrator.compat.tasks import router as tasks
from orchestrator.compat.video import routes as video
from orchestrator.parts import Parts
from orchestrator.settings import Surface
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.routes import files_router

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
NATIVE = (
    *(jobs, events, streamed, parted),
    *(assets, me, users, keys, projects, queues, subscriptions, webhooks, audit),
    *(fleet, plans, providers, money, internal, salad, health),
)
SURFACES: dict[Surface, APIRouter] = {
    "render": render.router,
    "video": video.router,
    "farm": farm.router,
    "tasks": tasks,
}


def create_web(parts: Parts, lifespan: Lifespan) -> FastAPI:
    app = FastAPI(
        title="gpulease",
        version=__version__,
        description="Leases GPUs, runs media jobs on them, and lets them go.",
        lifespan=lifespan,
        responses=PROBLEMS,
    )
    install(app)
    app.add_middleware(BodyBound)
    app.state.parts = parts
    for module in NATIVE:
        app.include_router(module.router)
    if "farm" in parts.settings.surfaces:
        app.state.farm = load_farm(parts.settings)
    for name in parts.settings.surfaces:
        app.include_router(SURFACES[name])
    if isinstance(parts.storage, LocalStorage):
        app.include_router(files_router(parts.storage))
    correct(app)
    guard(app, parts.settings.cors_origins)
    return app
