"""The farm's file of engines: what it may say, all its faults at once, and what there is without it."""

import json
import sys
import time

import farm_world
import pytest
from farm_world import SCENE, asked, client

from orchestrator.compat.farm.engines import load_farm
from orchestrator.compat.farm.regexes import Regexes
from orchestrator.compat.farm.template import expand
from orchestrator.settings import Settings, SettingsError

FILE = "$RENDERONLINE:@uploaded_file"
CATASTROPHE = r"(a+)+"
TYPED = (
    ("word", "ab_1", "a-b"),
    ("sentence", "Hello, you there!", "a; b"),
    ("file", "a-b.png", "../a.png"),
    ("path", "/a/b", "/a/../b"),
    ("extension", ".png", "png"),
    ("natural", "12", "-12"),
    ("integer", "-12", "1.5"),
    ("real", "-1.5", "1,5"),
)
CONFIGURED = {
    "engines": [
        {
            "engine_id": 1,
            "name": "blender",
            "extension": ".blend",
            "download_path": "/srv/renderonline/downloads",
            "render_argument": f"blender -b {FILE} -f $RENDERONLINE:start_frame",
            "runs": "blender",
        },
        {
            "engine_id": 7,
            "name": "povray",
            "extension": ".pov",
            "render_argument": f"povray +I{FILE} +W$RENDERONLINE:width +T$RENDERONLINE:mood",
            "runs": {"command": "povray"},
        },
    ],
    "argtypes": [
        {"argtype_id": "start_frame", "type": "natural", "regex": None},
        {"argtype_id": "samples", "type": "natural"},
        {"argtype_id": "width", "type": "natural"},
        {"argtype_id": "mood", "type": "word", "regex": "dusk|dawn"},
        {"argtype_id": "slow", "type": "word", "regex": CATASTROPHE},
        *({"argtype_id": f"a_{name}", "type": name} for name, _, _ in TYPED),
    ],
}
PROGRAMS = {
    "povray": {
        "executable": "/usr/bin/povray",
        "arguments": [
            "-i",
            "@uploaded_file",
            "--out=@output_dir/",
            "+W$RENDERONLINE:width",
            "mood=$RENDERONLINE:mood",
        ],
        "types": {"width": "natural", "mood": {"regex": "^[a-z]{1,20}$"}},
        "extension": ".pov",
        "confined": True,
    },
    "fileless": {
        "executable": sys.executable,
        "arguments": ["$RENDERONLINE:width"],
        "types": {"width": "natural"},
    },
    "other": {"executable": "a", "arguments": [FILE, "$RENDERONLINE:width"], "types": {"width": "word"}},
    "reader": {"executable": "b", "arguments": [FILE, "$RENDERONLINE:below"], "types": {"below": "path"}},
}


def settings_of(tmp_path, engines=None, programs=None, **more):
    said = {"farm_engines": engines, "commands": programs}
    for name, content in said.items():
        if content is not None:
            path = tmp_path / f"{name}.json"
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            more[name] = path
    return farm_world.settings_of(tmp_path, **more)


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path, CONFIGURED)


def faults_of(tmp_path, engines, programs=None):
    with pytest.raises(SettingsError) as told:
        load_farm(settings_of(tmp_path, engines, programs))
    return str(told.value).splitlines()


def changed(engine=0, **fields):
    engines = [dict(one) for one in CONFIGURED["engines"]]
    engines[engine] |= fields
    return {**CONFIGURED, "engines": engines}


def test_without_a_file_there_is_blender_and_every_program_that_takes_one(tmp_path):
    farm = load_farm(settings_of(tmp_path))
    assert [(one.name, one.extension) for one in farm.engines.values()] == [("blender", ".blend")]
    farm = load_farm(settings_of(tmp_path, programs=PROGRAMS))
    # `fileless` has no use for the file that clients always send; `other` types `width` otherwise.
    assert {number: one.name for number, one in farm.engines.items()} == {
        1: "blender",
        2: "povray",
        5: "reader",
    }
    assert farm.engines[2].render_argument == (
        f"povray -i {FILE} --out=$RENDERONLINE:@output_dir/ +W$RENDERONLINE:width mood=$RENDERONLINE:mood"
    )
    assert (farm.engines[2].extension, farm.engines[5].extension) == (".pov", "")
    assert farm.argtypes["mood"].regex == "^[a-z]{1,20}$"
    assert set(farm.argtypes) == {"start_frame", "end_frame", "output_format", "width", "mood", "below"}


@pytest.mark.parametrize(
    ("engines", "said"),
    [
        ("{", "it is no JSON"),
        ({}, "engines"),
        ({"engines": []}, "engines"),
        (changed(colour="red"), "colour"),
        (changed(engine_id=0), "engine_id"),
        (changed(engine_id=256), "engine_id"),
        (changed(engine_id=7), "engine_id 7 is there 2 times"),
        (changed(extension="blend"), "extension"),
        (changed(runs="maya"), "runs"),
        (changed(runs={"command": "../sh"}), "command"),
        (changed(render_argument="blender -a"), "@uploaded_file"),
        (changed(render_argument=f"{FILE} $RENDERONLINE:width $RENDERONLINE:mood"), "would not be told mood"),
        (changed(1, render_argument=f"{FILE} $RENDERONLINE:nobody"), "no argtype describes"),
        ({**CONFIGURED, "argtypes": CONFIGURED["argtypes"] * 2}, "argtype_id mood is there 2 times"),
        ({**CONFIGURED, "argtypes": [{"argtype_id": "a", "type": "colour"}]}, "type"),
        ({**CONFIGURED, "argtypes": [{"argtype_id": "a b", "type": "word"}]}, "argtype_id"),
        (
            {**CONFIGURED, "argtypes": [{"argtype_id": "a", "type": "word", "regex": "("}]},
            "regular expression",
        ),
    ],
)
def test_a_wrong_file_stops_the_start_and_says_where(tmp_path, engines, said):
    faults = faults_of(tmp_path, engines)
    assert any(said in fault for fault in faults), faults
    assert all(fault.startswith("farm_engines ") for fault in faults)


def test_all_faults_are_said_at_once(tmp_path):
    faults = faults_of(tmp_path, changed(engine_id=7, render_argument=FILE + "$RENDERONLINE:fps"), "{")
    assert len(faults) == 3, faults


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        load_farm(Settings(data=tmp_path, farm_engines=tmp_path / "none.json", _env_file=None))


def test_a_program_must_be_there_and_get_what_it_needs(tmp_path):
    (missing,) = faults_of(tmp_path, changed(1, runs={"command": "maya"}), PROGRAMS)
    assert "no program 'maya'" in missing
    lacking, unknown = faults_of(
        tmp_path, changed(1, render_argument=f"{FILE} $RENDERONLINE:samples"), PROGRAMS
    )
    assert "lacks mood, width" in lacking
    assert "knows no argument samples" in unknown
    assert load_farm(settings_of(tmp_path, CONFIGURED, PROGRAMS)).engines[7].name == "povray"


def test_a_line_is_expanded_once_and_never_looked_through_again():
    values = {"start": "$RENDERONLINE:start_frame", "start_frame": "1"}
    line = expand(
        f"b {FILE} -s $RENDERONLINE:start -e $RENDERONLINE:start_frame", values, "$RENDERONLINE:start"
    )
    assert line == "b $RENDERONLINE:start -s $RENDERONLINE:start_frame -e 1"


async def test_an_expression_that_takes_for_ever_has_not_matched():
    regexes = Regexes()
    began = time.monotonic()
    assert await regexes.match([(CATASTROPHE, "a" * 40 + "b")]) == [False]
    assert time.monotonic() - began < 8
    assert await regexes.match([(CATASTROPHE, "aaa"), ("a|b", "ab"), ("^a$", "a\n")]) == [True, False, False]
    assert await regexes.match([]) == []


async def test_configured_engines_are_served_and_their_own_expressions_hold(world):
    farm = await client(world)
    assert (await farm.enqueue(asked(7, width="64", mood="dusk"), "a.pov")).status_code == 200
    (shown,) = await farm.tasks()
    assert shown["Engine"] == {
        "EngineId": 7,
        "Name": "povray",
        "Extension": ".pov",
        "DownloadPath": "",
        "RenderArgument": CONFIGURED["engines"][1]["render_argument"],
    }
    assert shown["Render"]["Arguments"] == "povray +Ia.pov +W64 +Tdusk"
    (job,) = (await world.http.get("/v1/jobs", headers=farm.person.bearer)).json()["items"]
    assert job["engine"] == "command"
    assert job["input"]["program"] == "povray"
    assert job["input"]["arguments"] == {"width": "64", "mood": "dusk"}
    for wrong in ("noon", "dusk dawn", "dusk|dawn", ""):
        reply = await farm.enqueue(asked(7, width="64", mood=wrong), "a.pov")
        assert (reply.status_code, reply.json()["IsAdded"]) == (400, False), wrong
        assert "mood" in reply.json()["ErrorMessage"]


async def test_fields_of_blender_are_arguments_by_their_names(world):
    farm = await client(world)
    assert (await farm.enqueue(asked(1, start_frame=3, samples=8))).status_code == 200
    (job,) = (await world.http.get("/v1/jobs", headers=farm.person.bearer)).json()["items"]
    assert (job["input"]["frames"], job["input"]["samples"]) == ("3-3", 8)
    assert (await farm.tasks())[0]["Engine"]["DownloadPath"] == "/srv/renderonline/downloads"
    reply = await farm.enqueue(asked(1, start_frame=3, samples=0))
    assert (reply.status_code, reply.json()["IsAdded"]) == (400, False)
    assert "samples" in reply.json()["ErrorMessage"]


async def test_every_type_takes_what_it_says_and_no_more(world):
    farm = await client(world)
    for name, right, wrong in TYPED:
        good = asked(1, start_frame=1, **{f"a_{name}": right})
        assert (await farm.enqueue(good, content=SCENE)).status_code == 200, name
        for bad in (wrong, right + "\n" * (name != "sentence"), "", right + "\x00"):
            if bad == right:
                continue
            reply = await farm.enqueue(asked(1, start_frame=1, **{f"a_{name}": bad}))
            assert (reply.status_code, reply.json()["IsAdded"]) == (400, False), (name, bad)


async def test_a_task_of_an_engine_that_is_configured_no_more_is_still_shown(world):
    farm = await client(world)
    await farm.enqueue(asked(7, width="64", mood="dusk"), "a.pov")
    engines = farm.world.http._transport.app.state.farm.engines
    engines.pop(7)
    (shown,) = await farm.tasks()
    assert (shown["Engine"]["EngineId"], shown["Engine"]["Name"]) == (7, "")
