"""A prompt on a server that goes away, forgets and is shared with others: it is followed, found lost, or taken back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from comfyui_bench import QUICK, WORKFLOW, Bench, workflow
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from stopwatch import Stopwatch

from loopback_server import LoopbackServer
from worker_image.engines.base import EngineConfig, Outcome
from worker_image.engines.comfyui.client import ComfyUI, new_ticket
from worker_image.engines.comfyui.run import Graph, Patience, run_graph
from worker_image.engines.comfyui.workflow import run_workflow
from worker_image.faults import Cancelled, Faulted, HostFault
from worker_image.host.log import JobLog
from worker_image.host.pool import HostPool

pytestmark = pytest.mark.slow

SLOW = {"ImageScale": 0.8}


async def run(bench: Bench, graph: dict = WORKFLOW, patience: Patience = QUICK) -> Outcome:
    async with aclosing(bench.server()) as server:
        return await run_workflow(server, bench.work(graph), bench.report, patience)


async def fault_of(running: asyncio.Task[Outcome]) -> Faulted:
    with pytest.raises(Faulted) as caught:
        await running
    return caught.value


async def until(condition, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def another(bench: Bench, node_s: float = 0.8) -> AsyncIterator[str]:
    """Another client's prompt that runs; its id. It must come to its end."""
    await run(bench)  # Puts the picture there.
    picture = bench.comfy.core.runs[-1].graph["1"]["inputs"]["image"]
    bench.comfy.core.knobs.node_s = {"ImageScale": node_s}
    graph = workflow(LoadImage={"image": picture}, ImageScale={"width": 99})
    async with httpx.AsyncClient(base_url=bench.comfy.url, trust_env=False) as http:
        said = (await http.post("/prompt", json={"prompt": graph, "client_id": "somebody"})).json()
        theirs = said["prompt_id"]
        await until(lambda: bench.comfy.core.running is not None and bench.comfy.core.running.id == theirs)
        yield theirs
        await until(lambda: theirs in bench.comfy.core.history)
    assert bench.comfy.core.history[theirs]["status"]["status_str"] == "success"


async def test_what_ended_and_is_in_no_history_is_lost(bench: Bench):
    bench.comfy.core.knobs.loses_history = True
    fault = await fault_of(asyncio.create_task(run(bench)))
    assert (fault.kind, fault.code) == ("host", "job_lost")


@pytest.mark.parametrize("deaf_s", [0.0, 60.0])
async def test_a_dropped_socket_costs_progress_only(bench: Bench, deaf_s: float):
    knobs = bench.comfy.core.knobs
    knobs.node_s, knobs.drops_after, knobs.deaf_s = {"ImageScale": 1.6 if deaf_s else 3.2}, 6, deaf_s
    assert (await run(bench)).data["file_count"] == 1
    assert knobs.drops_after is None
    assert any("s" in message and ", " in message for message in bench.said())
    assert ("SaveImage" in bench.said()) == (deaf_s == 0.0)


async def test_a_server_that_was_started_anew_has_lost_the_prompt(bench: Bench):
    bench.comfy.core.knobs.node_s = {"ImageScale": 30.0}
    running = asyncio.create_task(run(bench))
    await until(lambda: "ImageScale" in bench.said())
    await bench.comfy.restart()
    fault = await fault_of(running)
    assert (fault.kind, fault.code) == ("host", "job_lost")


async def test_a_server_that_stays_away_is_not_waited_for_for_ever(bench: Bench):
    bench.comfy.core.knobs.node_s = {"ImageScale": 30.0}
    running = asyncio.create_task(run(bench))
    await until(lambda: "ImageScale" in bench.said())
    await bench.comfy.down()
    began = time.monotonic()
    fault = await fault_of(running)
    assert (fault.kind, fault.code) == ("host", "machine_unreachable")
    assert QUICK.silence_s_max <= time.monotonic() - began < 20


async def test_pages_of_a_proxy_are_borne_for_a_while(bench: Bench):
    bench.comfy.core.knobs.node_s = SLOW
    running = asyncio.create_task(run(bench, patience=replace(QUICK, silence_s_max=20.0)))
    await until(lambda: "ImageScale" in bench.said())
    bench.comfy.core.knobs.bad_gateway = True
    await asyncio.sleep(0.4)
    bench.comfy.core.knobs.bad_gateway = False
    assert (await running).data["file_count"] == 1


@pytest.mark.parametrize(
    ("knob", "code"), [("forbidden", "server_refused"), ("bad_gateway", "server_failed")]
)
async def test_a_server_that_does_not_let_us_in(bench: Bench, knob: str, code: str):
    setattr(bench.comfy.core.knobs, knob, True)
    fault = await fault_of(asyncio.create_task(run(bench)))
    assert (fault.kind, fault.code) == ("host", code)


@pytest.mark.parametrize("old", [False, True])
async def test_a_lost_reply_is_looked_up_and_not_sent_again(bench: Bench, old: bool):
    bench.comfy.core.knobs.loses_replies, bench.comfy.core.knobs.old = 1, old
    bench.comfy.core.knobs.node_s = {"ImageScale": 0.3}
    assert (await run(bench)).data["file_count"] == 1
    assert len(bench.comfy.core.runs) == 1


async def test_ids_may_be_the_servers_own(bench: Bench):
    bench.comfy.core.knobs.old = True
    assert (await run(bench)).data["file_count"] == 1


async def test_what_somebody_interrupts_may_run_elsewhere(bench: Bench):
    bench.comfy.core.knobs.node_s = SLOW
    running = asyncio.create_task(run(bench))
    await until(lambda: "ImageScale" in bench.said())
    bench.comfy.core.interrupt(None)
    fault = await fault_of(running)
    assert (fault.kind, fault.code) == ("host", "interrupted")


@pytest.mark.parametrize("old", [False, True])
async def test_taken_back_while_it_waits_nothing_of_others_is_touched(bench: Bench, old: bool):
    async with another(bench):
        bench.comfy.core.knobs.old = old
        running = asyncio.create_task(run(bench, workflow(ImageScale={"height": 7})))
        await until(lambda: "waiting, 1 before it" in bench.said())
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert bench.comfy.core.pending == []
        assert not bench.comfy.core.interrupted
    assert len(bench.comfy.core.runs) == 2


@pytest.mark.parametrize("old", [False, True])
async def test_taken_back_while_it_runs_it_is_interrupted(bench: Bench, old: bool):
    bench.comfy.core.knobs.node_s, bench.comfy.core.knobs.old = SLOW, old
    running = asyncio.create_task(run(bench))
    await until(lambda: "ImageScale" in bench.said())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (entry,) = bench.comfy.core.history.values()
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert bench.comfy.core.running is None


@pytest.mark.parametrize("old", [False, True])
async def test_what_has_ended_meanwhile_interrupts_nobody_after_it(bench: Bench, old: bool):
    await run(bench)
    ours = new_ticket()
    async with aclosing(bench.server()) as server, another(bench, 0.4):
        bench.comfy.core.knobs.old = old
        assert await server.cancel(ours, 1.0)
        assert not bench.comfy.core.interrupted


async def test_a_report_that_says_stop_takes_it_back(bench: Bench):
    """Whatever is raised where progress is told ends the prompt on the server, too."""
    bench.comfy.core.knobs.node_s = SLOW

    def stop(step) -> None:
        if step.message == "ImageScale":
            raise Cancelled

    bench.on_step = stop
    with pytest.raises(Cancelled):
        await run(bench)
    assert bench.comfy.core.running is None


async def test_in_a_process_of_its_own_it_is_taken_back_within_two_seconds(bench: Bench, tmp_path: Path):
    """The process lives on, and takes the next job."""
    core = bench.comfy.core
    core.knobs.node_s = {"ImageScale": 0.7}
    pool = HostPool(EngineConfig(comfyui_url=bench.comfy.url), tmp_path / "hosts")
    try:
        async with pool.lease("comfyui", "comfyui", None) as host:
            log, steps = JobLog(host.log_path), []
            running = asyncio.create_task(host.run(bench.work(WORKFLOW), log, steps.append))
            await until(lambda: any(step.message == "ImageScale" for step in steps), 30)
            running.cancel()
            with Stopwatch() as took, pytest.raises(asyncio.CancelledError):
                await running
            assert took.seconds < 2.0
            assert host.alive
            assert core.running is None
            again = await host.run(bench.work(WORKFLOW), log, steps.append)
            assert again.data["file_count"] == 1
    finally:
        await pool.close()


async def test_a_redirect_is_not_followed_and_nobody_else_gets_our_headers(bench: Bench):
    heard: list[str] = []

    async def elsewhere(request: Request) -> Response:
        heard.append(request.url.path)
        return Response()

    async def away(request: Request) -> Response:
        return RedirectResponse(f"http://{other.address}{request.url.path}")

    methods = ["GET", "POST"]
    other = await LoopbackServer.start(Starlette(routes=[Route("/{path:path}", elsewhere, methods=methods)]))
    sends = await LoopbackServer.start(Starlette(routes=[Route("/{path:path}", away, methods=methods)]))
    try:
        async with aclosing(ComfyUI(f"http://{sends.address}", {"X-Key": "secret"})) as server:
            with pytest.raises(HostFault, match="307"):
                await run_graph(server, Graph(WORKFLOW), bench.report, QUICK)
    finally:
        await sends.aclose()
        await other.aclose()
    assert heard == []
