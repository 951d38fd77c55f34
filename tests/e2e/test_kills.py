"""Real processes die at the worst moments: nothing stays leased, and every job ends once."""

import os
import signal

import psutil
import pytest
from cable import Cable
from clouds import ENROL_KEY, GROUPS, Clouds
from owner import Owner

pytestmark = pytest.mark.slow
FAST = {
    "GPULEASE_PROVIDERS": "buffer,comput3,salad",
    "GPULEASE_POLICY_IDLE_S": "1",
    "GPULEASE_RECONCILE_PERIOD_S": "0.3",
    "GPULEASE_CLAIM_WAIT_S": "2",
}
IMPATIENT = {"idle_s": 1, "grace_s": 1, "silent_s_max": 3}
LEASED = ("comput3", "salad")


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    with Clouds(tmp_path_factory.mktemp("clouds")) as found:
        yield found


@pytest.fixture
def cloudy(up, clouds):
    """A server that leases at both clouds. In the end nothing may live there."""
    up.environment |= clouds.environment() | FAST
    yield up
    left = clouds.live()
    clouds.raze()
    assert left == []


def submit(up, clouds, provider, seconds=0.2, **asked):
    """Speech at Comput3, whose nodes run nothing else that is small, and a sleep elsewhere."""
    work = {"engine": "command", "input": {"program": "sleepy", "arguments": {"seconds": seconds}}}
    if provider == "comput3":
        work = {"engine": "csm", "input": {"text": "Hi."}}
    body = {**work, "requirements": {"providers": [provider]}, "notify_url": clouds.receiver.url, **asked}
    reply = up.http.post("/v1/jobs", json=body)
    assert reply.status_code == 202, reply.text
    return reply.json()["id"]


def states(up):
    return {one["provider"]: one["state"] for one in up.workers() if one["provider"] in LEASED}


def running(up, job_id):
    """The worker that runs it, once one does."""
    return up.until_status(job_id, "running")["attempts"][-1]["worker_id"]


def leases(up):
    """Of machines at the clouds."""
    found = up.http.get("/v1/leases").json()["items"]
    return [one for one in found if one["provider"] in LEASED]


def ends(job):
    return [one["state"] for one in job["attempts"]]


def all_end_once(up, clouds, jobs):
    """And all that was leased is let go, paid for and told."""
    for job_id in jobs:
        done = up.until_status(job_id, "succeeded", 60)
        assert ends(done).count("succeeded") == 1
        moves = [one["after"] for one in up.http.get(f"/v1/jobs/{job_id}/events").json()["items"]]
        assert moves.count("succeeded") == 1, moves
    up.until(lambda: not states(up) and not clouds.live(), 30)
    up.until(lambda: all(clouds.receiver.taken[job_id] for job_id in jobs))
    assert [len(set(clouds.receiver.taken[job_id])) for job_id in jobs] == [1] * len(jobs)
    billed = {name: usd for theirs in clouds.billed().values() for name, usd in theirs.items()}
    for lease in leases(up):
        assert lease["usd"] == pytest.approx(billed[lease["instance_id"]], abs=0.005), lease
    return [up.job(job_id) for job_id in jobs]


@pytest.fixture
def cable_to(clouds):
    """Makes cables to servers, by URL."""
    made = []

    def make(url):
        made.append(Cable(url))
        return clouds.do(made[-1].__aenter__)

    yield make
    for cable in made:
        clouds.do(cable.__aexit__)


def test_the_orchestrator_is_killed_after_an_intent(cloudy, clouds):
    delay = {"GPULEASE_POLICY_LAUNCH_DELAY_S_MIN": "2", "GPULEASE_POLICY_LAUNCH_DELAY_S_MAX": "2"}
    cloudy.environment |= delay
    cloudy.start()
    jobs = [submit(cloudy, clouds, name) for name in LEASED]
    cloudy.until(lambda: states(cloudy) == dict.fromkeys(LEASED, "intended"))
    cloudy.kill()
    assert clouds.live() == []
    cloudy.start()
    all_end_once(cloudy, clouds, jobs)


def test_the_orchestrator_is_killed_before_it_hears_what_it_bought(cloudy, clouds, cable_to):
    comput3, salad = cable_to(clouds.comput3.url), cable_to(clouds.salad.url)
    comput3.keeps, salad.keeps = b"POST /api/v0/launch", f"POST /api/public/{GROUPS} ".encode()
    cloudy.environment |= {"COMPUT3_BASE_URL": comput3.url, "SALAD_BASE_URL": salad.url}
    cloudy.start()
    jobs = [submit(cloudy, clouds, name) for name in LEASED]
    cloudy.until(lambda: len(clouds.live()) == 2)
    assert states(cloudy) == dict.fromkeys(LEASED, "creating")
    bought = clouds.ask(lambda: {one.workload for one in clouds.comput3.live()})
    cloudy.kill()
    comput3.keeps = salad.keeps = None
    cloudy.start()
    all_end_once(cloudy, clouds, jobs)
    paid = {one["instance_id"] for one in leases(cloudy)}
    assert (len(paid), bought < paid) == (2, True)


def test_the_orchestrator_is_killed_during_boot(cloudy, clouds):
    clouds.comput3.knobs.boot_s = clouds.salad.knobs.download_s = 3.0
    cloudy.start()
    jobs = [submit(cloudy, clouds, name) for name in LEASED]
    cloudy.until(lambda: states(cloudy) == dict.fromkeys(LEASED, "starting"))
    cloudy.kill()
    cloudy.start()
    all_end_once(cloudy, clouds, jobs)


def test_the_orchestrator_is_killed_during_jobs(cloudy, clouds):
    """The machine that runs our agent goes on with its job; of the other the agent died with the server."""
    clouds.comput3.knobs.work_s = 30.0
    cloudy.start()
    jobs = [submit(cloudy, clouds, name, seconds=3) for name in LEASED]
    cloudy.until(lambda: all(cloudy.job(job_id)["status"] == "running" for job_id in jobs))
    cloudy.kill()
    clouds.comput3.knobs.work_s = 0.0
    cloudy.start()
    there, here = all_end_once(cloudy, clouds, jobs)
    # Its host hands it back on its way out, if the server is there again by then; else it is lost.
    assert ends(there) in (["lost", "succeeded"], ["failed", "succeeded"])
    assert ends(here) == ["succeeded"]


def test_the_orchestrator_is_killed_during_deletes(cloudy, clouds):
    clouds.comput3.knobs.stop_lag_s = clouds.salad.knobs.stop_lag_s = 4.0
    cloudy.start()
    jobs = [submit(cloudy, clouds, name) for name in LEASED]
    cloudy.until(lambda: states(cloudy) == dict.fromkeys(LEASED, "stopping"))
    cloudy.kill()
    cloudy.start()
    all_end_once(cloudy, clouds, jobs)


def test_a_container_is_killed_during_its_job(cloudy, clouds):
    """Its cloud starts it again, as the same worker with another life."""
    cloudy.start()
    job_id = submit(cloudy, clouds, "salad", seconds=1.5)
    running(cloudy, job_id)
    (pid,) = clouds.pids()
    os.kill(pid, signal.SIGKILL)
    (job,) = all_end_once(cloudy, clouds, [job_id])
    assert ends(job) == ["lost", "succeeded"]


def test_the_process_of_hosted_agents_is_killed_during_a_job(cloudy, clouds):
    """What the node still does for the job that was lost cannot be ended, so that the node is let go."""
    clouds.comput3.knobs.work_s = 30.0
    cloudy.start()
    job_id = submit(cloudy, clouds, "comput3")
    first = running(cloudy, job_id)
    hosts = [one for one in psutil.Process(cloudy.process.pid).children() if "comput3" in one.cmdline()]
    clouds.comput3.knobs.work_s = 0.0
    hosts[0].kill()
    (job,) = all_end_once(cloudy, clouds, [job_id])
    assert ends(job) == ["lost", "succeeded"]
    assert job["attempts"][1]["worker_id"] != first


def test_the_network_between_a_worker_and_the_orchestrator_is_cut(cloudy, clouds, cable_to):
    """For longer than either side waits: the worker gives up, and so do we, before they meet again."""
    cable = cable_to(f"http://127.0.0.1:{cloudy.port}")
    cloudy.environment |= {"GPULEASE_PUBLIC_URL": cable.url, "GPULEASE_ORPHAN_AFTER_S": "1"}
    cloudy.start()
    assert cloudy.http.put("/v1/policy", json=IMPATIENT).is_success
    job_id = submit(cloudy, clouds, "salad", seconds=2.5)
    first = running(cloudy, job_id)
    group = clouds.ask(lambda: clouds.salad.live()[0].group)
    cable.cut = True
    clouds.ask(cable.drop)
    cloudy.until(lambda: "orphaned" in clouds.salad.log(group))
    cloudy.until(lambda: ends(cloudy.job(job_id)) == ["lost"])
    cable.cut = False
    (job,) = all_end_once(cloudy, clouds, [job_id])
    assert job["attempts"][-1]["worker_id"] != first


@pytest.fixture
def owners(up, tmp_path):
    """Two machines that nobody has started yet, and that run no more afterwards."""
    given = (f"http://127.0.0.1:{up.port}", ENROL_KEY, "--commands", str(tmp_path / "commands.json"))
    made = [Owner(tmp_path, name, *given, GPULEASE_WORKER_GRACE_S="1") for name in ("alice", "bob")]
    yield made
    for owner in made:
        if owner.runs:
            owner.end(signal.SIGKILL)


def test_an_owner_ends_a_worker_during_its_job(up, clouds, owners):
    """It is queued again at once, and ends on another owner's machine."""
    alice, bob = owners
    up.environment |= clouds.environment() | FAST
    up.start()
    alice.start()
    job_id = submit(up, clouds, "buffer", seconds=3)
    assert running(up, job_id) == "alice"
    alice.send(signal.SIGINT)
    up.until_status(job_id, "queued", 10)
    bob.start()
    (job,) = all_end_once(up, clouds, [job_id])
    assert (job["attempts"][-1]["worker_id"], alice.runs) == ("bob", False)
    assert bob.end() == 0
