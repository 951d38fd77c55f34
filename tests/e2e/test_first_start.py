"""The first start elsewhere than on the loopback: a refusal, and the first admin's key, as a real process does it."""

import contextlib
import os
import re
import subprocess
import sys
import time

import httpx
import pytest
from ports import free_ports
from up import SETTINGS

EVERYWHERE = "0.0.0.0"
KEY = re.compile(r"gpl_[a-z0-9]{8}[\w-]{43}")


class Starts:
    """`gpulease up`, as often as a test asks, on one data directory."""

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "data"
        (self.port,) = free_ports(1)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        self.environment = {**inherited, "GPULEASE_PROVIDERS": "local"}

    def command(self, *arguments):
        return [sys.executable, "-m", "gpulease", *arguments, "--data", str(self.data)]

    def run(self, *arguments, **settings):
        """A command that should end by itself."""
        return subprocess.run(
            self.command(*arguments),
            env={**self.environment, **settings},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def up(self, host):
        return self.run("up", "--host", host, "--port", str(self.port))

    @contextlib.contextmanager
    def serving(self, host, **settings):
        with (self.folder / "up.log").open("ab") as log:
            process = subprocess.Popen(
                self.command("up", "--host", host, "--port", str(self.port)),
                env={**self.environment, **settings},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False) as http:
                    until_ready(process, http)
                    yield http
            finally:
                process.terminate()
                assert process.wait(40) == 0

    @property
    def log(self):
        return (self.folder / "up.log").read_text()


def until_ready(process, http):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended; see up.log"
        with contextlib.suppress(httpx.TransportError):
            if http.get("/readyz").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("it was not ready within 60 s")


@pytest.fixture
def starts(tmp_path):
    return Starts(tmp_path)


def status(http, secret=None):
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    return http.get("/v1/users", headers=headers).status_code


@pytest.mark.slow
def test_the_first_start_elsewhere_makes_a_key_and_the_next_one_serves(starts):
    first = starts.up(EVERYWHERE)
    assert first.returncode == 2
    assert "start again" in first.stderr
    (secret,) = KEY.findall(first.stderr)
    assert KEY.findall(first.stdout) == []
    with starts.serving(EVERYWHERE) as http:
        assert status(http) == 401
        assert status(http, secret) == 200
        assert status(http, secret[:-1] + "-") == 401
    assert KEY.findall(starts.log) == []


@pytest.mark.slow
def test_where_there_are_users_no_key_is_made_and_a_revoked_one_is_none(starts):
    key = starts.run("keys", "create", "--role", "admin").stdout.strip()
    starts.run("keys", "revoke", key[:12])
    refused = starts.up(EVERYWHERE)
    assert refused.returncode == 2
    assert "gpulease keys create" in refused.stderr
    assert KEY.findall(refused.stderr) == []


@pytest.mark.slow
def test_on_the_loopback_nothing_is_printed_and_a_key_counts_from_when_it_is_made(starts):
    with starts.serving("127.0.0.1") as http:
        assert status(http) == 200
        secret = starts.run("keys", "create", "--role", "admin").stdout.strip()
        assert (status(http), status(http, secret)) == (401, 200)
        starts.run("keys", "revoke", secret[:12])
        assert status(http, secret) == 401
    assert KEY.findall(starts.log) == []


@pytest.mark.slow
def test_a_setting_is_a_key_too_and_another_one_ends_it(starts):
    old, new = "the first admin's own key", "the second admin's own key"
    with starts.serving(
        EVERYWHERE, GPULEASE_ADMIN_KEY=old, C3_RENDER_API_KEY="clients have this key"
    ) as http:
        assert status(http, old) == 200
        assert status(http, "clients have this key") == 403
        jobs = http.get("/v1/jobs", headers={"X-C3-RENDER-KEY": "clients have this key"})
        assert jobs.status_code == 200
    with starts.serving(EVERYWHERE, GPULEASE_ADMIN_KEY=new) as http:
        assert (status(http, old), status(http, new)) == (401, 200)
    assert old not in starts.log
    assert new not in starts.log
