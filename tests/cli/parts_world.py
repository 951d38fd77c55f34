"""An orchestrator on a socket whose storage cuts files into small parts, and a line to it that fails on demand."""

import asyncio
import threading
from collections import Counter, defaultdict
from contextlib import contextmanager

import structlog

from gpulease.client import AsyncClient, Client, Parting
from loopback_server import LoopbackServer
from orchestrator.access.issue import NewKey, create_key
from orchestrator.app import Address, build, create_app
from orchestrator.clock import ManualClock
from orchestrator.settings import Settings
from orchestrator.storage.sizes import PartSizes
from orchestrator.store.memory import MemoryStore
from orchestrator.store.people import User

DAY_S = 86_400.0
PART_BYTES = 100_000
SIZES = PartSizes(part_bytes=PART_BYTES, parted_above_bytes=PART_BYTES)


class Line:
    """Stands before the app. `faults` are for PUTs of a part, by its number, each for one of them:

    a status    is answered, and nothing is stored
    "cut"       the connection is reset in the middle
    "expire"    a day passes, and every URL is too old
    "power"     the whole server is gone
    "hold"      no answer comes until `released` is set, and then the connection is reset
    """

    def __init__(self, app, world):
        self._app, self._world = app, world
        self.faults = defaultdict(list)
        self.puts = Counter()
        self.headers = []
        self.now = self.most = 0
        self.held, self.released = threading.Event(), threading.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "PUT":
            await self._app(scope, receive, send)
            return
        number = int(last) if (last := scope["path"].rsplit("/", 1)[-1]).isdecimal() else 1
        self.puts[number] += 1
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self._put(number, scope, receive, send)
        finally:
            self.now -= 1

    async def _put(self, number, scope, receive, send):
        fault = self.faults[number].pop(0) if self.faults[number] else None
        match fault:
            case int():
                while (await receive()).get("more_body"):
                    pass
                headers = [(b"retry-after", b"0"), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": fault, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
            case "cut":
                await receive()
                self._world.reset(scope)
                return
            case "power":
                await receive()
                await self._world.server.cut()
                return
            case "expire":
                self._world.clock.advance(DAY_S + 1)
            case "hold":
                self.held.set()
                await asyncio.to_thread(self.released.wait, 20)
                self._world.reset(scope)
                return
        await self._app(scope, receive, send)


def _drop(*_):
    raise structlog.DropEvent


class Served:
    """On a loop and a thread of its own. `settings` say where files lie, if not in a folder."""

    def __init__(self, folder, **settings):
        folder.mkdir()
        self._settings = Settings(data=folder, providers=(), _env_file=None, **settings)
        self.store, self.clock = MemoryStore(), ManualClock(1_800_000_000.0)

    def __enter__(self):
        self._logs = structlog.get_config()
        # Lines that break are what is tried here; the server's word on each would drown the rest.
        structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="served", daemon=True)
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(self, *_):
        self.line.released.set()
        self._do(self._stop())
        self._do(self.storage.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        structlog.configure(**self._logs)

    async def _start(self):
        address = Address(self._settings, 80)
        orchestrator = await build(self._settings, address, self.store, self.clock, {})
        self.storage = orchestrator.parts.storage
        user = User("u-1", "a submitter", "submitter", 0.0)
        await self.store.add_user(user)
        self.key = (await create_key(self.store, user, NewKey("a key"), by=None, now=0.0)).secret
        self.line = Line(create_app(orchestrator), self)
        self.server = await LoopbackServer.start(self.line)
        address.port = self.server.port
        self.url = f"http://{self.server.address}"

    async def _stop(self):
        while self.line.now:  # Those that hung up may not have been noticed yet.
            await asyncio.sleep(0.01)
        await self.server.aclose()

    def restart(self):
        """After the power was gone; on the same port."""

        async def again():
            await self.server.aclose()
            self.server = await LoopbackServer.start(self.line, self.server.port)

        self._do(again())

    def reset(self, scope):
        """Of the client that sent this, unless it is gone."""
        for one in list(self.server._server.server_state.connections):
            if getattr(one, "scope", None) is scope:
                one.transport.abort()

    def stored(self, upload_id):
        """The bytes of an upload, as the storage has them."""

        async def read():
            row = await self.store.get_upload(upload_id)
            return b"".join([chunk async for chunk in self.storage.read_stream(row.key)])

        return self._do(read())

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


class Uploads:
    """`upload` of the sync or of the async client."""

    def __init__(self, world, kind, parting):
        self.world, self.kind, self.parting = world, kind, parting

    def __call__(self, path, **said):
        if self.kind == "async":
            return asyncio.run(self._awaited(path, said))
        with Client(self.world.url, self.world.key, parting=self.parting) as client:
            return client.upload(path, **said)

    async def _awaited(self, path, said):
        async with AsyncClient(self.world.url, self.world.key, parting=self.parting) as client:
            return await client.upload(path, **said)


@contextmanager
def local(folder, sizes=SIZES):
    """Files lie in a folder, and go in parts of those sizes."""
    with Served(folder) as world:
        world.storage._parts._sizes = sizes
        yield world


IMPATIENT = Parting(above_bytes=PART_BYTES, tries_max=4, pause_s_max=0.05)
