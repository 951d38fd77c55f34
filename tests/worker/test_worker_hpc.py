"""`/hpc` of this worker: the farm's JSON to the letter, one render at a time, and nothing that its line could hide."""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from conftest import Start, until

from worker_image.engines.base import EngineConfig
from worker_image.engines.blender.plan import OPTIONS, SAFETY, SCRIPT
from worker_image.execute import Executor
from worker_image.host.pool import HostPool
from worker_image.local import LocalJobs
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched
from worker_image.settings import Settings
from worker_image.slots import Slots
from worker_image.web.app import make_app
from worker_image.web.hpc.arguments import Refused, vector
from worker_image.web.hpc.engines import Engine, Farm, read_farm
from worker_image.web.hpc.routes import open_hpc

ENGINES = [
    {"EngineId": "python", "ExecutablePath": sys.executable},
    {"EngineId": "absent", "ExecutablePath": "/no/such/program"},
]
BLENDER = Engine("blender", sys.executable, is_blender=True)
SPAWNS = (
    "import subprocess, sys, time, pathlib;"
    "kin = [subprocess.Popen(['sleep', '60'], start_new_session=away) for away in (0, 1)];"
    "pathlib.Path(sys.argv[1]).write_text(' '.join(str(one.pid) for one in kin)); time.sleep(60)"
)

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def slots() -> Slots:
    return Slots(1)


@pytest.fixture
def serve(tmp_path: Path, slots: Slots) -> Serve:
    @asynccontextmanager
    async def serve_it(
        host: str = "127.0.0.1", allow: tuple[str, ...] = (), **more
    ) -> AsyncIterator[httpx.AsyncClient]:
        path = tmp_path / "HPCServer.json"
        path.write_text(json.dumps({"Port": "5001", "RenderingEngines": ENGINES, **more}))
        settings = Settings(hpc_engines=path, hpc_allow=allow, worker_key="wk")
        hpc = open_hpc(settings, slots, tmp_path / "hpc")
        executor = Executor(HostPool(EngineConfig(), tmp_path), (), Prefetched(tmp_path / "p"), "cpu")
        jobs = LocalJobs(executor, slots, Fetcher(), tmp_path)
        transport = httpx.ASGITransport(make_app(jobs, (), "wk", None, hpc), client=(host, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
            yield client
        await hpc.renders.aclose()
        await jobs.stop()

    return serve_it


@pytest.fixture
async def api(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    async with serve() as client:
        yield client


async def begin(api: httpx.AsyncClient, task: int, arguments: str, engine: str = "python") -> httpx.Response:
    return await api.post("/hpc/start", json={"EngineId": engine, "TaskId": task, "Arguments": arguments})


async def task_of(api: httpx.AsyncClient) -> dict:
    return (await api.get("/hpc/status")).json()["Task"]


async def ended(api: httpx.AsyncClient) -> dict:
    async with asyncio.timeout(20):
        while (task := await task_of(api))["IsRunning"]:
            await asyncio.sleep(0.02)
    return task


async def test_a_render_from_start_to_end(api: httpx.AsyncClient, slots: Slots, tmp_path: Path):
    assert (await api.get("/hpc/status")).json() == {"EngineIds": ["python"], "Task": None}
    code = "import pathlib, sys, time; time.sleep(1.1); pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    reply = await begin(api, 123, f"python -c '{code}' '{tmp_path}/a file' \"$HOME; rm -rf /\"")
    assert (reply.status_code, reply.json()) == (
        200,
        {"IsSuccess": True, "Message": "Rendering using engine with identifier: python"},
    )
    running = await task_of(api)
    assert {**running, "TotalSeconds": 0} == {
        "TaskId": 123,
        "IsSuccess": False,
        "IsRunning": True,
        "TotalSeconds": 0,
    }
    assert slots.free == 0
    task = await ended(api)
    assert (task["IsSuccess"], 1 <= task["TotalSeconds"] < 10, slots.free) == (True, True, 1)
    assert (tmp_path / "a file").read_text() == "$HOME; rm -rf /"
    await asyncio.sleep(1)
    assert await task_of(api) == task


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"EngineId": "houdini", "TaskId": 2, "Arguments": ""}, "not configured: houdini"),
        ({"EngineId": "absent", "TaskId": 2, "Arguments": ""}, "not installed"),
        ({"EngineId": "python", "TaskId": 2, "Arguments": "'unclosed"}, "Invalid render arguments"),
        ({"EngineId": "python", "TaskId": 2, "Arguments": "a\0b"}, "Invalid render arguments"),
        ({"EngineId": "python", "TaskId": -2, "Arguments": ""}, "Invalid render arguments"),
        ({"EngineId": "python", "Arguments": ""}, "Invalid render arguments"),
        ([1], "Invalid render arguments"),
        ({"EngineId": "python", "TaskId": 2, "Arguments": "x" * 200_000}, "Invalid render arguments"),
    ],
)
async def test_what_cannot_start_is_a_400_and_leaves_no_trace(
    api: httpx.AsyncClient, slots: Slots, body, said: str
):
    reply = await api.post("/hpc/start", json=body)
    assert (reply.status_code, reply.json()["IsSuccess"]) == (400, False)
    assert said in reply.json()["Message"]
    assert (await task_of(api), slots.free) == (None, 1)


async def test_one_render_at_a_time_and_none_beside_a_job(api: httpx.AsyncClient, slots: Slots):
    slots.take()
    assert "busy" in (await begin(api, 1, "-c pass")).json()["Message"]
    slots.give()
    both = await asyncio.gather(*[begin(api, task, "-c 'import time; time.sleep(60)'") for task in (1, 2)])
    assert sorted(reply.status_code for reply in both) == [200, 400]


async def test_a_stop_matches_its_task_and_ends_all_kin(api: httpx.AsyncClient, slots: Slots, tmp_path: Path):
    none = await api.post("/hpc/stop", json={"TaskId": 7})
    assert (none.status_code, none.json()) == (200, {"IsSuccess": True, "Message": "No active render!"})
    await begin(api, 2**63, f'-c "{SPAWNS}" {tmp_path}/pids')
    await until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text())
    other = await api.post("/hpc/stop", json={"TaskId": 7})
    assert (other.status_code, other.json()["IsSuccess"]) == (200, False)
    assert "No active render" in other.json()["Message"]
    assert (await task_of(api))["IsRunning"]
    reply = await api.post("/hpc/stop", json={"TaskId": 2**63})
    assert reply.json() == {"IsSuccess": True, "Message": "Active render terminated!"}
    task = await task_of(api)
    assert (task["IsRunning"], task["IsSuccess"], slots.free) == (False, False, 1)
    assert not any(psutil.pid_exists(int(pid)) for pid in (tmp_path / "pids").read_text().split())


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(3)",
        "import os; os.kill(os.getpid(), 9)",
        "import os; os.kill(os.getppid(), 9); import time; time.sleep(60)",
        "import sys; sys.stdout.write('x' * 30_000_000 + '\\n' * 10_000); sys.exit(1)",
    ],
    ids=["fails", "killed", "kills its keeper", "floods"],
)
async def test_whatever_a_program_does_the_next_one_starts(api: httpx.AsyncClient, code: str):
    await begin(api, 1, f'-c "{code}"')
    assert not (await ended(api))["IsSuccess"]
    assert (await begin(api, 2, "-c pass")).status_code == 200
    assert (await ended(api))["IsSuccess"]


async def test_a_render_has_an_end(serve: Serve):
    async with serve(SecondsMax=1) as api:
        await begin(api, 1, "-c 'import time; time.sleep(60)'")
        task = await ended(api)
        assert (task["IsSuccess"], 1 <= task["TotalSeconds"] < 10) == (False, True)


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.0.0.1", {"Origin": "https://evil.example"}, 403),
        ("192.168.7.9", {}, 200),
        ("::ffff:192.168.7.9", {}, 200),
        ("192.168.8.9", {}, 401),
        ("192.168.8.9", {"X-Internal-API-Key": "wrong"}, 401),
        ("192.168.8.9", {"X-Internal-API-Key": "wk"}, 200),
    ],
)
async def test_who_may_come_in(serve: Serve, host: str, headers: dict, status: int):
    async with serve(host, ("192.168.7.0/24",)) as api:
        assert (await api.get("/hpc/status", headers=headers)).status_code == status
        stop = await api.post("/hpc/stop", json={"TaskId": 1}, headers=headers)
        assert stop.status_code == status


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "a scene.blend").write_bytes(b"BLENDER")
    (shared / "link.blend").symlink_to(tmp_path / "outside.blend")
    (tmp_path / "outside.blend").write_bytes(b"BLENDER")
    shutil.copy(SCRIPT, shared / "render.py")
    (shared / "evil.py").write_text("import os")
    return Farm((BLENDER,), (shared,), 60)


def test_blenders_words_are_those_that_choose_what_is_rendered(farm: Farm):
    (shared,) = farm.folders
    line = f"blender -b '{shared}/a scene.blend' -o //out_#### -F PNG -x 1 -s 1 -e -5 -f 1,3..8 -E CYCLES -a"
    words = vector(farm, BLENDER, line)
    assert words[: len(OPTIONS) + 1] == [sys.executable, *OPTIONS]
    opened = words.index(f"{shared}/a scene.blend")
    assert words[opened + 1 : opened + 3] == ["--python", str(SAFETY)]
    assert words[-1] == "-a"
    ours = vector(farm, BLENDER, f"-b --python {shared}/render.py -- {shared}/parameters.json")
    assert ours[-4:] == ["--python", str(SCRIPT), "--", f"{shared}/parameters.json"]


@pytest.mark.parametrize(
    "line",
    [
        "-b {shared}/scene.blend --python {shared}/evil.py",
        "-P {shared}/evil.py",
        "--python-expr 'import os'",
        "--python-text x",
        "--python-console",
        "--addons x",
        "--app-template x",
        "-y",
        "--enable-autoexec",
        "--env-system-scripts /x",
        "--debug-all",
        "--log-file {shared}/x",
        "-f --python -S {shared}/evil.py",
        "-S --python-expr",
        "-S {shared}/a.blend",
        "-o /etc/x",
        "-o {shared}/../x",
        "-o out",
        "-o //../../x",
        "'{outside}'",
        "{shared}/link.blend",
        "{shared}/none.blend",
        "{shared}/evil.py",
        "-- /etc/passwd",
        "-f",
    ],
)
def test_words_that_blender_does_not_get(farm: Farm, tmp_path: Path, line: str):
    (shared,) = farm.folders
    with pytest.raises(Refused):
        vector(farm, BLENDER, line.format(shared=shared, outside=tmp_path / "outside.blend"))


def test_other_programs_keep_to_the_allowed_folders(farm: Farm):
    (shared,) = farm.folders
    other = Engine("python", sys.executable, is_blender=False)
    words = ["-x", "3", f"{shared}/in.ma", f"--out={shared}/out"]
    assert vector(farm, other, " ".join(words)) == [sys.executable, *words]
    for word in ("/etc/passwd", "--out=/etc/x", "-o/etc/x", "../x", f"{shared}/../x"):
        with pytest.raises(Refused, match="allowed"):
            vector(farm, other, word)


def test_a_file_of_programs_tells_its_faults(tmp_path: Path):
    path = tmp_path / "HPCServer.json"
    for text, said in (
        ("{", "Invalid JSON"),
        ('{"RenderingEngines": []}', "RenderingEngines"),
        ('{"RenderingEngines": [{"EngineId": "x"}]}', "ExecutablePath"),
        (json.dumps({"RenderingEngines": ENGINES, "AllowedFolders": ["/no/such"]}), "/no/such"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_farm(path)
    with pytest.raises(ValueError, match="No such file"):
        read_farm(tmp_path / "none.json")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.slow
async def test_a_worker_that_ends_takes_its_render_along(start: Start, tmp_path: Path, number):
    path, pids = tmp_path / "HPCServer.json", tmp_path / "pids"
    path.write_text(json.dumps({"RenderingEngines": ENGINES}))
    worker = start(GPULEASE_HPC_ENGINES=str(path), GPULEASE_WORKER_PORT="0")
    await until(lambda: "listening" in worker.log)
    port = worker.log.partition("listening")[2].partition("port=")[2].split()[0]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as api:
        assert (await begin(api, 1, f'-c "{SPAWNS}" {pids}')).status_code == 200
        await until(lambda: pids.exists() and pids.read_text())
        assert (await task_of(api))["IsRunning"]
    worker.signal(number)
    await worker.exit_code()
    kin = [int(pid) for pid in pids.read_text().split()]
    await until(lambda: not any(psutil.pid_exists(pid) for pid in kin))


async def test_a_wrong_file_of_programs_stops_the_start(start: Start, tmp_path: Path):
    path = tmp_path / "HPCServer.json"
    path.write_text("{}")
    worker = start(GPULEASE_HPC_ENGINES=str(path), GPULEASE_WORKER_PORT="0")
    assert await worker.exit_code() == 1
    assert "cannot_serve_hpc" in worker.log
    assert "RenderingEngines" in worker.log
