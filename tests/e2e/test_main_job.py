"""A job travels the whole way on one machine, and the faults that must not stop it."""

import asyncio
import io
import json
import os
import resource
import signal
import time
import zipfile

import httpx
import pytest


def test_a_job_travels_the_whole_way(up):
    up.start()
    job_id = up.sleep_job(1)
    done = up.until_status(job_id, "succeeded")
    (file,) = done["result"]["files"]
    archive = zipfile.ZipFile(io.BytesIO(httpx.get(file["url"]).content))
    assert archive.read("out.txt") == b"slept"
    assert (done["result"]["backend"], done["result"]["model"]) == ("command", "sleepy")
    assert done["cost_usd"] > 0
    assert "openjd_progress" in up.http.get(f"/v1/jobs/{job_id}/logs").text
    up.until(lambda: not up.workers(), 30)
    costs = up.http.get("/v1/costs").json()
    assert costs["leases"][0]["ended_at"] is not None
    assert up.worker_pids() == []


def test_ctrl_c_leaves_no_process_behind(up):
    up.start()
    job_id = up.sleep_job(60)
    up.until_status(job_id, "running")
    assert up.stop(signal.SIGINT) == 0
    assert up.leftovers() == []


@pytest.mark.slow
def test_the_orchestrator_is_killed_mid_job_and_its_worker_is_found_again(up):
    up.start()
    job_id = up.sleep_job(4)
    before = up.until_status(job_id, "running")["attempts"]
    up.kill()
    up.start()
    done = up.until_status(job_id, "succeeded")
    assert [one["attempt"] for one in done["attempts"]] == [before[0]["attempt"]], done["attempts"]
    moves = up.http.get(f"/v1/jobs/{job_id}/events").json()["items"]
    assert [move["after"] for move in moves].count("succeeded") == 1


@pytest.mark.slow
def test_a_worker_is_killed_mid_job_and_another_runs_it(up):
    up.start()
    job_id = up.sleep_job(3)
    first = up.until_status(job_id, "running")["attempts"][0]["worker_id"]
    for pid in up.worker_pids():
        os.kill(pid, signal.SIGKILL)
    done = up.until_status(job_id, "succeeded", 40)
    assert [one["state"] for one in done["attempts"]] == ["lost", "succeeded"]
    assert done["attempts"][1]["worker_id"] != first


def test_cancel_stops_the_program(up):
    up.start()
    job_id = up.sleep_job(60)
    up.until_status(job_id, "running")
    up.http.post(f"/v1/jobs/{job_id}/cancel")
    assert up.job(job_id)["status"] == "cancelled"
    up.until(lambda: not up.workers(), 30)
    assert up.worker_pids() == []


@pytest.mark.slow
def test_two_jobs_run_on_two_workers_at_once(up):
    up.environment["GPULEASE_LOCAL_WORKERS_MAX"] = "2"
    up.start()
    jobs = [up.until_status(job_id, "succeeded", 40) for job_id in (up.sleep_job(4), up.sleep_job(4))]
    (one,), (two,) = (job["attempts"] for job in jobs)
    assert one["worker_id"] != two["worker_id"]
    assert one["started_at"] < two["ended_at"]
    assert two["started_at"] < one["ended_at"]


@pytest.mark.slow
def test_no_idle_worker_waits_for_the_next_tick(up):
    up.environment["GPULEASE_RECONCILE_PERIOD_S"] = "30"
    up.environment["GPULEASE_POLICY_IDLE_S"] = "60"
    up.start()
    up.until_status(up.sleep_job(0.1), "succeeded")
    before = time.monotonic()
    up.until_status(up.sleep_job(0.1), "succeeded")
    assert time.monotonic() - before < 25


async def submit_on_a_connection_of_its_own(port, body):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    )
    try:
        writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        status, _, reply = (await reader.read()).partition(b"\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    assert b"202" in status, status
    return json.loads(reply.split(b"\r\n\r\n", 1)[1])["id"]


@pytest.mark.slow
async def test_two_thousand_clients_submit_at_once_and_every_job_is_kept(up):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    up.environment["GPULEASE_PROVIDERS"] = ""
    up.start()
    body = json.dumps({"engine": "csm", "input": {"text": "One of many."}}).encode()
    ids = await asyncio.gather(*(submit_on_a_connection_of_its_own(up.port, body) for _ in range(2000)))
    accepted = set(ids)
    assert len(accepted) == 2000
    up.kill()
    up.start()
    kept, cursor = set(), None
    while True:
        page = up.http.get("/v1/jobs", params={"limit": 500} | ({"cursor": cursor} if cursor else {})).json()
        kept |= {job["id"] for job in page["items"]}
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert kept == accepted
