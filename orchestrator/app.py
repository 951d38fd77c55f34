"""Wires the orchestrator once, runs it, and ends it without leaving anything behind."""

import asyncio
import contextlib
import random
import resource
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from gpulease.contract.jobs import Result
from orchestrator.access.configured import admit
from orchestrator.access.identify import open_access
from orchestrator.access.quotas import QuotaBook
from orchestrator.api.views import signed_by
from orchestrator.apply import Applier
from orchestrator.clock import Clock, SteadyClock
from orchestrator.fleet.agents import Agents
from orchestrator.fleet.clouds.accounts import host_environments, missing_of, registry_of
from orchestrator.fleet.clouds.inventory import Inventory
from orchestrator.fleet.clouds.leases import Deployment, Leases
from orchestrator.fleet.clouds.market import Market
from orchestrator.fleet.clouds.orphans import Orphans
from orchestrator.fleet.clouds.switches import Switches
from orchestrator.fleet.clouds.upkeep import Upkeep
from orchestrator.fleet.hosting import Hosting
from orchestrator.fleet.owners import Owners
from orchestrator.fleet.targets import read_priors
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.jobs.remove import Remover
from orchestrator.jobs.submit import Submitter
from orchestrator.keys import read_secret
from orchestrator.loops import Loops
from orchestrator.observe import Observer
from orchestrator.parts import Parts
from orchestrator.plans.trial import Trials
from orchestrator.policy import PolicyBook
from orchestrator.reconcile import Reconciler
from orchestrator.retention import Retention
from orchestrator.settings import Settings, SettingsError
from orchestrator.storage.choose import check_storage, storage_of
from orchestrator.storage.protocol import Storage
from orchestrator.store.protocol import Store
from orchestrator.store.sqlite import open_sqlite
from orchestrator.web import create_web
from orchestrator.webhooks import Schedule, Sender, Webhooks
from provider_clients.base import Provider
from provider_clients.static import Static
from scaling.states import WorkerState

STOP_S_MAX = 20.0
HOLD_PERIODS = 3
"""A plan that is older holds no jobs back."""
FIRST_OFFERS_S_MAX = 3.0
KEEP_ALIVE_S = 75
"""Clients drop idle connections after 5 s, and agents call that often: did we too, calls would meet a closing one."""
log = structlog.get_logger()


@dataclass(slots=True)
class Address:
    """Where we are reached. The port may be known only once the socket is bound."""

    settings: Settings
    port: int = 0

    def origin(self) -> str:
        if self.settings.public_url:
            return self.settings.public_url.rstrip("/")
        scheme = "https" if self.settings.tls_cert else "http"
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.settings.host, self.settings.host)  # noqa: S104
        return f"{scheme}://{host}:{self.port or self.settings.port}"


@dataclass(slots=True)
class Orchestrator:
    """All parts of one process. `start` and `stop` may come in any order, and more than once."""

    parts: Parts
    retention: Retention

    async def start(self) -> None:
        parts = self.parts
        await parts.policy.load()
        await parts.quotas.refresh()
        await Switches(parts.store, parts.market, parts.clock).load()
        await self._first_offers()
        await self._enrol_static()
        await self._go_on_deleting()
        parts.hosting.start()
        loops = parts.loops
        loops.add("reconcile", parts.reconciler.step, parts.settings.reconcile_period_s)
        loops.add("market", parts.market.refresh, parts.settings.health_period_s)
        loops.add("inventory", parts.inventory.sweep, parts.settings.health_period_s)
        loops.add("upkeep", parts.upkeep.look, parts.settings.health_period_s)
        loops.add("webhooks", parts.webhooks.deliver_due, 1.0)
        loops.add("keys", parts.access.flush, 30.0)
        loops.add("retention", self.retention.sweep, 3600.0)
        loops.start()
        loops.nudge("inventory")
        loops.nudge("reconcile")

    async def _first_offers(self) -> None:
        """A provider that is slow to answer does not hold up the start; its offers come with the next look."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_OFFERS_S_MAX):
                await self.parts.market.refresh()

    async def _go_on_deleting(self) -> None:
        for worker in await self._live():
            if worker.state is WorkerState.STOPPING:
                self.parts.applier.leases.ensure_deleted(worker.id)

    async def _enrol_static(self) -> None:
        static = self.parts.applier.leases.providers.get("static")
        await self.parts.owners.enrol_static(static.machines if isinstance(static, Static) else ())

    async def stop(self) -> None:
        """Ends claims, then the loops, then the workers that make no sense without us."""
        parts = self.parts
        if parts.dispatcher.closed:
            return
        parts.dispatcher.close()
        parts.agents.feed.close()
        await parts.loops.stop()
        await parts.policy.memory.flush()
        await parts.access.flush()
        await parts.hosting.stop()
        await self._stop_own_workers()
        await parts.applier.leases.aclose()
        await parts.webhooks.aclose()
        for provider in parts.applier.leases.providers.values():
            await provider.aclose()
        await parts.storage.aclose()

    async def _stop_own_workers(self) -> None:
        own = self.parts.agents.stop_with_us
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S_MAX):
                while left := [one for one in await self._live() if one.provider in own]:
                    for worker in left:
                        await self.parts.applier.retire(worker, "the orchestrator shuts down")
                    await asyncio.sleep(0.1)

    async def _live(self) -> list[Any]:
        workers = await self.parts.store.list_workers(include_gone=False, limit=10_000)
        return [one for one in workers if one.state is not WorkerState.GONE]


async def build(  # noqa: PLR0913
    settings: Settings,
    address: Address,
    store: Store,
    clock: Clock,
    clients: Mapping[str, Provider],
    *,
    dice: random.Random | None = None,
) -> Orchestrator:
    """Makes the parts and ties them together. Nothing runs yet. `dice` are for delays and names, never for secrets."""
    dice = dice or random.Random()  # noqa: S311
    secret = read_secret(settings.data / "deployment.key")
    storage = storage_of(settings, address.origin, secret, clock)
    dispatcher = Dispatcher(store, clock, lambda claimed: agents.feed.publish(claimed.job.id))
    agents = Agents(store, clock, settings, storage, dispatcher)
    market = Market(dict(clients), clock)
    deployment = Deployment(await _deployment_id(store, clock), secret, address.origin, _exclusive(settings))
    leases = Leases(store, clock, dict(clients), market, deployment)
    applier = Applier(store, clock, leases, market, agents.hosts, dispatcher, dice)
    policy = PolicyBook(store, clock, settings)
    quotas = QuotaBook(store, clock, settings)
    priors = read_priors(settings.gpu_targets)
    observer = Observer(store, clock, market, dispatcher, dice, clock.now(), quotas, priors)
    schedule = Schedule(settings.webhook_retry_s, settings.webhook_tail_s)
    parts = Parts(
        settings=settings,
        clock=clock,
        store=store,
        storage=storage,
        dispatcher=dispatcher,
        submitter=Submitter(store, clock, settings, dispatcher, quotas),
        remover=Remover(store, storage, agents.logs, agents.feed, clock),
        agents=agents,
        market=market,
        applier=applier,
        inventory=Inventory(applier, Orphans(leases), settings.health_period_s),
        upkeep=Upkeep(applier),
        owners=Owners(store, clock, secret, _enrolment_key(settings), "buffer" in settings.providers),
        hosting=Hosting(store, deployment, host_environments(settings, clients), settings.data / "hosts"),
        missing=missing_of(settings),
        reconciler=Reconciler(observer, applier, agents, policy),
        access=open_access(store, clock, settings, secret),
        quotas=quotas,
        policy=policy,
        trials=Trials(store, clock, market, settings.reconcile_period_s),
        loops=Loops(),
        webhooks=Webhooks(store, clock, _sender(store, clock, settings, storage, secret), schedule, dice),
    )
    _tie(parts)
    return Orchestrator(parts, Retention(store, storage, parts.remover, clock, settings.retention_s))


def _tie(parts: Parts) -> None:
    """What some parts must tell others, above or beside them."""
    agents, leases, submitter = parts.agents, parts.applier.leases, parts.submitter
    submitter.origin = agents.origin = leases.deployment.origin
    submitter.storage_origins = parts.storage.origins
    submitter.blocked = parts.reconciler.blocked
    parts.dispatcher.limits = parts.quotas.limits
    parts.dispatcher.holds.lasts_s = HOLD_PERIODS * parts.settings.reconcile_period_s
    parts.reconciler.look_again = lambda seconds: parts.loops.nudge_in("reconcile", seconds)
    agents.hosted = parts.market.hosted
    agents.stop_with_us = frozenset(name for name, one in leases.providers.items() if one.stops_with_us)
    agents.drain = parts.applier.drain
    agents.on_register = lambda worker, said: parts.market.see(worker.provider, worker.gpu_class, said)

    def nudge() -> None:
        parts.loops.nudge("reconcile")

    submitter.on_submit = agents.on_change = parts.applier.on_change = leases.on_change = nudge
    parts.remover.on_end = nudge

    def held_may_begin() -> None:
        parts.dispatcher.look_again()
        nudge()

    parts.quotas.on_change = held_may_begin
    parts.webhooks.on_room = lambda: parts.loops.nudge("webhooks")


def _exclusive(settings: Settings) -> frozenset[str]:
    return frozenset({"comput3"} if settings.comput3_exclusive else ())


def _enrolment_key(settings: Settings) -> str | None:
    return settings.internal_api_key.get_secret_value() if settings.internal_api_key else None


def _sender(store: Store, clock: Clock, settings: Settings, storage: Storage, secret: bytes) -> Sender:
    def with_urls(result: Result) -> Awaitable[Result]:
        return signed_by(storage, result, settings.url_expires_s)

    return Sender(store, clock, with_urls, secret, settings.allow_private_hosts)


async def _deployment_id(store: Store, clock: Clock) -> str:
    """Short and stable: it begins the tag of every instance of ours."""
    known = await store.read_setting("deployment_id")
    if known is None:
        known = f"gpl{secrets.token_hex(4)}"
        await store.write_setting("deployment_id", known, who="start", now=clock.now())
    return str(known)


def create_app(orchestrator: Orchestrator) -> FastAPI:
    """The HTTP side; its lifespan starts and stops the rest."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await orchestrator.start()
        yield
        await orchestrator.stop()

    return create_web(orchestrator.parts, lifespan)


class _Server(uvicorn.Server):
    """A server that first ends what clients and workers wait for, and then itself."""

    def __init__(self, config: uvicorn.Config, orchestrator: Orchestrator) -> None:
        super().__init__(config)
        self._orchestrator = orchestrator
        self._ending: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._ending is not None:
            super().handle_exit(sig, frame)
            return
        log.info("shutting_down", signal=signal.Signals(sig).name)
        self._ending = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        try:
            await self._orchestrator.stop()
        finally:
            self.should_exit = True


async def serve(settings: Settings) -> int:
    """Runs until a signal. Returns the exit status."""
    store = await open_sqlite(settings.data / "gpulease.db")
    try:
        clock = SteadyClock()
        await admit(settings, store, clock.now())
        sock = _bind(settings)
        address = Address(settings, sock.getsockname()[1])

        def roster() -> Mapping[str, float]:
            return orchestrator.parts.agents.roster()

        registry = await registry_of(settings, roster)
        orchestrator = await build(settings, address, store, clock, registry.clients)
        await check_storage(orchestrator.parts.storage)
        config = uvicorn.Config(
            create_app(orchestrator),
            log_config=None,
            access_log=False,
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=5,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
        log.info("listening", url=address.origin(), data=str(settings.data))
        await _Server(config, orchestrator).serve(sockets=[sock])
    finally:
        await store.aclose()
    return 0


def _bind(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named as TCP, or else asyncio leaves Nagle's algorithm on, and small replies wait 40 ms for an ack.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        raise SettingsError(
            f"{settings.host}:{settings.port} cannot be bound ({error.strerror}). Choose another with --port."
        ) from error
    return sock


def run(settings: Settings) -> int:
    """The whole program: prepares the data directory and the log, and serves.

    Raises:
        SettingsError: the configuration cannot work; nothing was started.
    """
    _prepare(settings.data)
    _allow_connections()
    _log_to_stderr(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings))


def _prepare(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(f"data {data}: {error.strerror}. Choose another with --data.") from error


def _allow_connections() -> None:
    """Takes all the open files that the system allows: every parked claim and follower is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _log_to_stderr(level: str) -> None:
    colored = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if colored else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
