"""`gpulease providers check` as ops run it, against the emulated clouds: one clear line each, and a status."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from comput3.cloud import Comput3Emulator
from salad.emulator import SaladEmulator

pytestmark = pytest.mark.slow

SALAD = {"SALAD_ORG_NAME": "acme", "SALAD_PROJECT_NAME": "render", "GPULEASE_SALAD_IMAGE": "example/worker:1"}


@dataclass
class Checked:
    status: int
    lines: list[str]
    talk: str


@pytest.fixture
async def comput3() -> AsyncIterator[Comput3Emulator]:
    async with Comput3Emulator() as cloud:
        yield cloud


@pytest.fixture
async def salad() -> AsyncIterator[SaladEmulator]:
    async with SaladEmulator(key="salad-key") as cloud:
        yield cloud


@pytest.fixture
def check(tmp_path: Path):
    async def run(*arguments: str, **settings: str) -> Checked:
        ours = ("GPULEASE_", "SALAD_", "C3_", "COMPUT3_")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environment = plain | {"GPULEASE_PROVIDERS": "comput3,salad,buffer"} | settings
        command = [sys.executable, "-m", "gpulease", "providers", "check", *arguments]
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=tmp_path, **pipes)
        said, talk = await process.communicate()
        assert process.returncode is not None
        return Checked(process.returncode, said.decode().splitlines(), talk.decode())

    return run


def for_salad(cloud: SaladEmulator, key: str = "salad-key") -> dict[str, str]:
    return {**SALAD, "SALAD_API_KEY": key, "SALAD_BASE_URL": cloud.url}


async def test_all_well(check, comput3: Comput3Emulator, salad: SaladEmulator):
    settings = {"C3_API_KEY": comput3.key, "COMPUT3_BASE_URL": comput3.url, **for_salad(salad)}
    done = await check(**settings)
    assert done.status == 0, done.talk
    first, second, third = sorted(done.lines)
    assert first.startswith("buffer: ok.")
    assert second.startswith("comput3: ok. ")
    assert "1,000,000 units" in second
    assert third.startswith("salad: ok. acme/render has 0 container groups.")
    assert comput3.launches == 0
    assert not salad.live()


async def test_what_is_not_configured_says_what_to_set_and_is_no_fault(check):
    done = await check(SALAD_ORG_NAME="acme")
    assert done.status == 0
    assert "comput3: not configured; set C3_API_KEY" in done.lines
    assert "salad: not configured; set SALAD_API_KEY, SALAD_PROJECT_NAME, GPULEASE_SALAD_IMAGE" in done.lines


async def test_one_that_is_asked_for_by_name_must_be_configured(check):
    done = await check("comput3")
    assert (done.status, done.lines) == (1, ["comput3: not configured; set C3_API_KEY"])


async def test_a_wrong_key(check, comput3: Comput3Emulator, salad: SaladEmulator):
    settings = {"C3_API_KEY": "wrong", "COMPUT3_BASE_URL": comput3.url, **for_salad(salad, "wrong-key")}
    done = await check(**settings)
    assert done.status == 1
    first, second = (line for line in sorted(done.lines) if not line.startswith("buffer"))
    assert first.startswith("comput3: the key was refused, so set C3_API_KEY. ")
    assert second.startswith("salad: the key was refused, so set SALAD_API_KEY. ")
    assert "wrong-key" not in second + done.talk


@pytest.mark.parametrize("name", ["comput3", "salad"])
async def test_an_unreachable_host(check, name: str):
    nowhere = "http://127.0.0.1:9"
    done = await check(
        name, C3_API_KEY="k", COMPUT3_BASE_URL=nowhere, SALAD_API_KEY="k", SALAD_BASE_URL=nowhere, **SALAD
    )
    assert done.status == 1
    (line,) = done.lines
    assert line.startswith(f"{name}: 127.0.0.1 cannot be reached")


async def test_a_page_where_an_answer_should_be(check, comput3: Comput3Emulator, salad: SaladEmulator):
    comput3.knobs.html_errors = salad.knobs.html_errors = 1.0
    settings = {"C3_API_KEY": comput3.key, "COMPUT3_BASE_URL": comput3.url, **for_salad(salad)}
    for name in ("comput3", "salad"):
        done = await check(name, **settings)
        assert done.status == 1
        (line,) = done.lines
        assert line.startswith(f"{name}: ")
        assert "answered 502 with an HTML page" in line
        assert "<" not in line


async def test_as_json(check, comput3: Comput3Emulator):
    done = await check("comput3", "--json", C3_API_KEY=comput3.key, COMPUT3_BASE_URL=comput3.url)
    (found,) = json.loads("\n".join(done.lines))
    assert (done.status, found["name"], found["configured"], found["ok"]) == (0, "comput3", True, True)


async def test_settings_that_cannot_work(check):
    done = await check(**SALAD, SALAD_API_KEY="k", GPULEASE_PROVIDERS="salad,nobody")
    assert done.status == 2
    assert "there is no provider 'nobody'" in done.talk
