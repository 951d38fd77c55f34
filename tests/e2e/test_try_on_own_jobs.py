"""`gpulease policy try` and `explain` on what a real server has done: jobs that sleep, on machines of its own."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
JOBS = 6


@pytest.fixture
def worked(up):
    """A server that has done some jobs."""
    up.start()
    jobs = [up.sleep_job(0.2) for _ in range(JOBS)]
    for one in jobs:
        up.until_status(one, "succeeded", 60)
    return up


def gpulease(up, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "gpulease", "--url", f"http://127.0.0.1:{up.port}", "policy", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=up.environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fleet_tries_another_policy_on_its_own_jobs_and_explains_itself(worked):
    before = worked.http.get("/v1/policy").json()
    found = json.loads(gpulease(worked, "try", "--policy", "static", "--set", "workers=2", "--json"))
    assert found["based_on"]["jobs"] == JOBS
    assert 0.2 * JOBS <= found["based_on"]["service_s"] < 60
    assert [one["provider"] for one in found["based_on"]["offers"]] == ["local"]
    assert found["tried"]["figures"]["launches"] == 2
    for figures in (found["in_force"]["figures"], found["tried"]["figures"]):
        assert figures["jobs"] == JOBS
        assert figures["unfinished"] == 0
        assert figures["cost_usd"] > 0
    assert worked.http.get("/v1/policy").json() == before
    launched = [one for one in worked.http.get("/v1/plans").json()["items"] if _launches(one)]
    said = gpulease(worked, "explain", "--at", launched[-1]["at"])
    assert "launch local/" in said
    assert "jobs command/sleepy wait" in said
    assert "Seen:" in gpulease(worked, "explain")
    assert worked.stop() == 0
    assert worked.leftovers() == []


def _launches(plan):
    return any(one["kind"] == "launch" for one in plan["actions"])
