"""The emulated Salad's instances: processes, born slowly, started again whatever they do, billed while they run."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import httpx
import psutil
import pytest

from salad.scene import GROUPS, MERGE_PATCH, scene, until

pytestmark = pytest.mark.slow

EXIT = (sys.executable, "-S", "-c", "import sys, time; time.sleep(0.05); sys.exit(0)")
KIN = """
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, lambda *_: print("TERM", flush=True))
for away in (False, True):
    print("pid", subprocess.Popen(["sleep", "300"], start_new_session=away).pid, flush=True)
print(*(f"{name}={value}" for name, value in os.environ.items()), sep="\\n", flush=True)
while True: time.sleep(1)
"""
FAMILY = (sys.executable, "-S", "-c", KIN)


def exists(path):
    return Path(path).exists()


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def names(events):
    return [one["event_name"] for one in events]


def states(cloud):
    return [one.state for one in cloud.live()]


async def test_an_instance_boots_through_its_states():
    async with scene() as salad:
        salad.cloud.knobs.download_s = 0.3
        await salad.create()
        seen, progress = [], set()
        while "running" not in seen:
            [one] = await salad.instances()
            seen += [one["state"]] if one["state"] not in seen else []
            progress.add(one.get("pulling_progress"))
        assert seen == [
            state for state in ("allocating", "downloading", "creating", "running") if state in seen
        ]
        assert "downloading" in seen
        assert len(progress) > 3
        shown = (await salad.http.get(f"{GROUPS}/g-1")).json()["current_state"]
        assert (shown["status"], shown["instance_status_counts"]["running_count"]) == ("running", 1)
        one = await salad.until_running()
        assert (await salad.http.get(f"{GROUPS}/g-1/instances/{one['id']}")).status_code == 202


async def test_only_running_is_billed_and_the_events_tell_the_same():
    async with scene() as salad:
        await salad.create()
        await salad.until_running()
        await asyncio.sleep(0.2)
        assert [line.ended for line in salad.cloud.bill()] == [None]
        await salad.http.post(f"{GROUPS}/g-1/stop")
        await until(lambda: states(salad.cloud) == ["stopped"])
        [line] = salad.cloud.bill()
        events = {one["event_name"]: one["event_time"] for one in await salad.events()}
        assert line.usd == pytest.approx(0.16 / 3600 * (line.ended - line.started))
        started, ended = (_seconds(events[name]) for name in events if "Running" in name or "Exited" in name)
        assert (line.started, line.ended) == pytest.approx((started, ended), abs=1e-6)


def _seconds(written):
    return datetime.fromisoformat(written).timestamp()


async def test_stopped_is_a_wish_and_no_signal_can_be_caught():
    async with scene(FAMILY) as salad:
        salad.cloud.knobs.stop_lag_s = 0.4
        await salad.create()
        await until(lambda: "SALAD_METADATA_URI" in salad.cloud.log("g-1"))
        await salad.http.post(f"{GROUPS}/g-1/stop")
        group = (await salad.http.get(f"{GROUPS}/g-1")).json()["current_state"]
        assert (group["status"], group["instance_status_counts"]["stopping_count"]) == ("stopped", 1)
        [pid] = salad.pids()
        assert alive(pid)
        kin = [int(line[4:]) for line in salad.cloud.log("g-1").splitlines() if line.startswith("pid ")]
        await until(lambda: states(salad.cloud) == ["stopped"])
        assert not any(alive(one) for one in (pid, *kin))
        assert "TERM" not in salad.cloud.log("g-1").splitlines()


async def test_a_container_has_its_own_environment_and_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("SALAD_API_KEY", "ours")
    async with scene(FAMILY) as salad:
        await salad.create()
        await until(lambda: "SALAD_METADATA_URI" in salad.cloud.log("g-1"))
        lines = salad.cloud.log("g-1").splitlines()
        given = dict(line.split("=", 1) for line in lines if "=" in line)
        [instance] = await salad.instances()
        assert given["SALAD_INSTANCE_ID"] == instance["id"]
        assert given["SALAD_MACHINE_ID"] == given["HOSTNAME"] == instance["machine_id"]
        assert (given["SALAD_CONTAINER_GROUP_NAME"], given["GPULEASE_WORKER_ID"]) == ("g-1", "g-1")
        assert exists(given["GPULEASE_SCRATCH"])
        assert "SALAD_API_KEY" not in given
        assert "GPULEASE_WORKER_PORT" not in given


async def test_a_container_that_exits_is_started_again_and_then_moved():
    async with scene(EXIT) as salad:
        knobs = salad.cloud.knobs
        knobs.restart_s = knobs.allocate_s = knobs.create_s = knobs.download_s = 0.01
        knobs.restarts_max = 2
        await salad.create(restart_policy="never")
        await until(lambda: len(salad.cloud.bill()) >= 5)
        found = [one for one in await salad.events() if one["event_name"] == "Instance Running"]
        machines = [one["machine_id"] for one in found]
        assert len(set(machines[:3])) == 1
        assert machines[3] != machines[2]
        assert "Instance Exited:0 (Exited Successfully)" in names(await salad.events())
        assert len({one["instance_id"] for one in found}) == 1


async def test_moves_keep_or_change_the_machine():
    async with scene() as salad:
        await salad.create()
        before = await salad.until_running()
        for verb, moves in (("restart", False), ("recreate", False), ("reallocate", True)):
            pids = salad.pids()
            reply = await salad.http.post(f"{GROUPS}/g-1/instances/{before['id']}/{verb}")
            assert reply.status_code == 202
            await until(lambda pids=pids: salad.pids() not in ([], pids))
            after = await salad.until_running()
            assert (after["machine_id"] != before["machine_id"]) is moves
            assert not any(alive(pid) for pid in pids)
        assert {"Instance Recreated", "Instance Restarted", "Instance Reallocated by User"} <= set(
            names(await salad.events())
        )
        salad.cloud.knobs.moves_per_minute = 1
        reply = await salad.http.post(f"{GROUPS}/g-1/instances/{before['id']}/reallocate")
        assert reply.status_code == 429


@pytest.mark.parametrize(
    ("fault", "event"),
    [
        ("node_death", "Instance Interrupted (Node Offline)"),
        ("preemption", "Instance Interrupted (Priority)"),
    ],
)
async def test_machines_are_taken_away_without_a_signal(fault, event):
    async with scene(FAMILY) as salad:
        salad.cloud.knobs.node_death_within_s = salad.cloud.knobs.preemption_within_s = 0.1
        salad.cloud.knobs.next = [fault]
        await salad.create()
        await until(lambda: len(salad.cloud.bill()) == 2)
        assert event in names(await salad.events())
        assert "TERM" not in salad.cloud.log("g-1").splitlines()
        assert salad.cloud.bill()[0].ended is not None


async def test_a_slow_download_ends_with_another_machine():
    async with scene() as salad:
        salad.cloud.knobs.next = ["slow_download"]
        await salad.create()
        await until(lambda: states(salad.cloud) == ["downloading"])
        [one] = await salad.instances()
        await salad.http.post(f"{GROUPS}/g-1/instances/{one['id']}/reallocate")
        assert (await salad.until_running())["machine_id"] != one["machine_id"]


async def test_the_cheapest_to_lose_goes_first():
    async with scene() as salad:
        await salad.create(replicas=2)
        await until(lambda: len(salad.pids()) == 2)
        first, second = await salad.instances()
        path = f"{GROUPS}/g-1/instances/{first['id']}"
        costly = await salad.http.patch(path, json={"deletion_cost": 100}, headers=MERGE_PATCH)
        assert costly.json()["deletion_cost"] == 100
        await salad.http.patch(f"{GROUPS}/g-1", json={"replicas": 1}, headers=MERGE_PATCH)
        await until(lambda: len(salad.cloud.live()) == 1)
        assert salad.cloud.live()[0].instance == first["id"] != second["id"]


async def test_a_new_container_rolls_the_instances():
    async with scene() as salad:
        await salad.create()
        pids = (await salad.until_running(), salad.pids())[1]
        change = {"container": {"image": "ghcr.io/acme/worker:2"}}
        changed = (await salad.http.patch(f"{GROUPS}/g-1", json=change, headers=MERGE_PATCH)).json()
        assert (changed["version"], changed["pending_change"]) == (2, True)
        await until(lambda: salad.pids() not in ([], pids))
        [one] = await salad.instances()
        assert one["version"] == 2


async def test_the_metadata_service_knows_its_instance():
    async with scene() as salad:
        await salad.create()
        before = await salad.until_running()
        base = f"{salad.cloud.control_url.removesuffix('/emulator')}/imds/{before['id']}"
        async with httpx.AsyncClient(base_url=base, headers={"Metadata": "true"}) as imds:
            assert (await imds.get("/v1/status")).json() == {"ready": True, "started": True}
            assert len((await imds.get("/v1/token")).json()["jwt"].split(".")) == 3
            assert (await imds.put("/v1/deletion-cost", json={"deletion_cost": 7})).status_code == 204
            assert (await imds.get("/v1/deletion-cost")).json() == {"deletion_cost": 7}
            assert (await imds.get("/v1/status", headers={"Metadata": "no"})).status_code == 403
            assert (await imds.post("/v1/restart")).status_code == 204
            await until(lambda: len(salad.cloud.bill()) == 2)
            assert (await imds.post("/v1/reallocate", json={"reason": "too small"})).status_code == 204
            await until(lambda: len(salad.cloud.bill()) == 3)
            await salad.http.delete(f"{GROUPS}/g-1")
            await until(lambda: not salad.cloud.live())
            gone = await imds.get("/v1/status")
        assert (gone.status_code, gone.json()["code"]) == (404, "container-not-found")
        assert gone.headers["content-type"] == "application/problem+json"


async def test_nothing_outlives_the_emulator():
    async with scene(FAMILY) as salad:
        await salad.create(replicas=2)
        await until(lambda: salad.cloud.log("g-1").count("SALAD_METADATA_URI") == 2)
        kin = [int(line[4:]) for line in salad.cloud.log("g-1").splitlines() if line.startswith("pid ")]
        pids = [*salad.pids(), *kin]
        assert len(pids) == 6
    assert not any(alive(pid) for pid in pids)


async def test_not_even_one_that_is_killed(tmp_path):
    program = tmp_path / "alone.py"
    program.write_text(
        "import asyncio, sys\n"
        f"sys.path[:0] = {[str(Path(__file__).parent)]!r}\n"
        "from salad.scene import SLEEP, scene\n"
        "async def main():\n"
        "    async with scene(SLEEP) as salad:\n"
        "        await salad.create()\n"
        "        await salad.until_running()\n"
        "        print(*salad.pids(), flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, program, stdout=subprocess.PIPE)
    pid = int(await process.stdout.readline())
    assert alive(pid)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await until(lambda: not alive(pid))


async def test_an_image_that_cannot_start_moves_on_and_costs_nothing():
    async with scene(("/nonexistent/program",)) as salad:
        await salad.create()
        await until(lambda: states(salad.cloud) == ["creating"])
        await asyncio.sleep(0.1)
        assert "Instance Start Failure: Other" in names(await salad.events())
        assert salad.cloud.bill() == ()


async def test_an_instance_is_a_worker_of_this_project(tmp_path):
    """The default image: it serves until the group is deleted."""
    networking = {"protocol": "http", "port": 8000, "auth": True}
    async with scene((sys.executable, "-m", "worker_image"), folder=tmp_path) as salad:
        probe = {
            "initial_delay_seconds": 0,
            "period_seconds": 1,
            "timeout_seconds": 1,
            "success_threshold": 1,
            "failure_threshold": 3,
            "http": {
                "path": "/hc",
                "port": 8000,
                "scheme": "http",
                "headers": [{"name": "Accept", "value": "*/*"}],
            },
        }
        created = await salad.create(networking=networking, readiness_probe=probe)
        assert created.status_code == 201, created.text
        for _ in range(300):
            if (found := await salad.instances()) and found[0]["ready"]:
                break
            await asyncio.sleep(0.05)
        assert found[0]["ready"], salad.cloud.log("g-1")
        assert salad.pids()
