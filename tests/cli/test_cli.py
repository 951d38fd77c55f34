"""The commands as a person types them, against a server on a socket."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
from stand_in import SPEECH

from gpulease.cli.main import main

COMMANDS = (
    *("demo", "up", "worker", "submit", "run", "jobs", "job", "watch", "result", "cancel"),
    *("workers", "pause", "resume", "drain", "stop", "engines", "plan", "costs", "leases"),
    *("providers", "doctor", "bench-gpu", "keys", "users", "projects", "audit"),
)


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def gpulease(state, tmp_path, monkeypatch, capsys):
    """Runs `gpulease …` with the stand-in as its server, in a folder of its own."""
    monkeypatch.setenv("GPULEASE_URL", state.url)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return Done(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def speech(tmp_path):
    path = tmp_path / "speech.mp3"
    path.write_bytes(SPEECH)
    return path


def test_run_uploads_a_file_and_prints_the_text_and_nothing_else_on_stdout(gpulease, state, speech):
    done = gpulease("run", "whisper", "speech.mp3", "--model", "tiny.en", "--priority", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "good morning"
    assert done.stdout.splitlines()[1].startswith(f"{state.url}/files/speech.wav")
    assert state.uploads == {"speech.mp3": SPEECH}
    (job,) = state.jobs.values()
    assert job["input"] == {"audio_url": "upload://u1", "model": "tiny.en"}


def test_run_shows_phases_as_plain_lines_where_there_is_no_terminal(gpulease):
    done = gpulease("run", "csm", "Good morning.")
    assert "inferring 50%" in done.stderr
    assert "Made by stand-in with m" in done.stderr
    assert "$0.000400" in done.stderr
    assert "\x1b" not in done.stderr


def test_run_downloads_into_a_folder(gpulease, tmp_path):
    done = gpulease("run", "csm", "Good morning.", "--output", "made")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "speech.wav").read_bytes() == SPEECH
    assert "made/speech.wav" in done.stdout


def test_run_as_json_is_one_document(gpulease):
    shown = json.loads(gpulease("run", "csm", "Good morning.", "--json").stdout)
    assert shown["status"] == "succeeded"
    assert shown["result"]["backend"] == "stand-in"


def test_a_job_that_fails_is_status_1_with_its_reason(gpulease, state):
    state.ends_as = "failed"
    done = gpulease("run", "csm", "Good morning.")
    assert done.returncode == 1
    assert "this is no audio (bad_input)" in done.stderr
    assert done.stdout == ""


def test_inputs_take_the_types_that_the_engine_declares(gpulease, state):
    arguments = ["-i", "frames=1", "-i", "samples=8", "-i", "file_url=https://x.example/a.blend"]
    assert gpulease("submit", "blender", *arguments).returncode == 0
    assert gpulease("submit", "command", "-i", "program=echo", "-i", "arguments.width=640").returncode == 0
    blender, command = (job["input"] for job in state.jobs.values())
    assert blender == {"frames": "1", "samples": 8, "file_url": "https://x.example/a.blend"}
    assert command == {"program": "echo", "arguments": {"width": 640}}


def test_submit_prints_the_id_and_its_key_holds(gpulease, state):
    first = gpulease("submit", "csm", "Hello.", "--idempotency-key", "k")
    again = gpulease("submit", "csm", "Hello.", "--idempotency-key", "k")
    assert first.stdout == again.stdout
    assert first.stdout.strip() in state.jobs


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "whisper", "nowhere.mp3"],
        ["run", "csm", "-i", "novalue"],
        ["run", "comfyui", "x"],
        ["run", "No Such Name"],
        ["jobs", "--status", "done"],
        ["submit", "csm", "x", "--max-time", "1"],
        ["keys", "create", "--role", "boss"],
        ["keys", "create", "--role", "worker"],
        ["keys", "create", "--role", "admin", "--worker-id", "a"],
        ["providers", "check", "nobody"],
        ["leases", "--hours", "0"],
        ["keys", "list", "--data", "nowhere"],
        ["--url", "nonsense", "jobs"],
        ["frobnicate"],
        ["up", "--port", "http"],
    ],
)
def test_what_is_asked_wrongly_is_status_2(gpulease, state, arguments):
    done = gpulease(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not state.jobs


def test_without_a_server_one_message_says_how_to_start_it(gpulease):
    done = gpulease("--url", "http://127.0.0.1:9", "jobs")
    assert done.returncode == 1
    assert "gpulease up" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_that_is_refused_says_how_to_get_one(gpulease, state):
    state.refuse.append(401)
    done = gpulease("jobs")
    assert done.returncode == 1
    assert "gpulease keys create" in done.stderr


def test_job_watch_result_cancel(gpulease, state):
    job_id = gpulease("submit", "csm", "Hello.").stdout.strip()
    assert gpulease("result", job_id).returncode == 1
    watched = gpulease("watch", job_id, "--json")
    events = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [event["after"] for event in events if "seq" in event] == ["queued", "running", "succeeded"]
    assert gpulease("result", job_id).stdout.startswith("good morning")
    assert json.loads(gpulease("result", job_id, "--json").stdout)["model"] == "m"
    assert "succeeded" in gpulease("job", job_id).stdout
    other = gpulease("submit", "csm", "Hello.").stdout.strip()
    assert gpulease("cancel", other).returncode == 0
    assert state.jobs[other]["status"] == "cancelled"
    assert gpulease("job", "none").returncode == 1


def test_ctrl_c_in_run_cancels_the_job(gpulease, state, tmp_path):
    state.hold = True
    running = subprocess.Popen(
        [sys.executable, "-m", "gpulease", "run", "csm", "Hello."],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    while not any(path.endswith("/events") for _, path in state.asked):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, talk = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "is cancelled" in talk
    assert [job["status"] for job in state.jobs.values()] == ["cancelled"]


@pytest.mark.parametrize("command", ["workers", "engines", "plan", "costs", "leases", "providers", "jobs"])
def test_lists_are_tables_for_people_and_json_for_programs(gpulease, command):
    gpulease("submit", "csm", "Hello.")
    assert gpulease(command).stdout
    assert json.loads(gpulease(command, "--json").stdout)


def test_drain_and_stop(gpulease):
    assert "draining" in gpulease("drain", "w1").stderr
    assert json.loads(gpulease("stop", "w1", "--json").stdout)["state"] == "stopping"
    assert gpulease("stop", "none").returncode == 1


def test_pause_and_resume(gpulease):
    assert "Worker w1 is paused" in gpulease("pause", "w1").stderr
    assert "Worker w1 is ready" in gpulease("resume", "w1").stderr


def test_providers_say_what_they_sell_and_what_is_wrong(gpulease):
    shown = gpulease("providers").stdout
    comput3, salad = (line for line in shown.splitlines() if line.startswith(("comput3", "salad")))
    assert "media:fast $1.00/h (sold out, again in 120 s)" in comput3
    assert "the key was refused; not ours, and left alone: n-1" in comput3
    assert "not configured" in salad
    assert "set SALAD_API_KEY" in salad


def test_a_provider_is_switched_off_and_on(gpulease, state):
    assert "comput3 is off" in gpulease("providers", "disable", "comput3").stderr
    assert state.switched_off == {"comput3"}
    assert json.loads(gpulease("providers", "enable", "comput3", "--json").stdout)["enabled"]
    assert gpulease("providers", "enable", "nobody").returncode == 1


def test_leases_show_interval_price_and_cost(gpulease):
    shown = gpulease("leases", "--hours", "2").stdout
    assert "w1  " in shown
    assert "now" in shown
    assert "30.0 s" in shown
    assert "total $0.250000 in 2.0 h" in shown
    assert json.loads(gpulease("leases", "--hours", "2", "--json").stdout)["hours"] == 2


def test_doctor_finds_the_server_and_says_what_can_run(gpulease):
    done = gpulease("doctor", "--quick", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 0
    assert checks["python"]["ok"]
    assert checks["server"]["ok"]
    assert all(check["detail"] for check in checks.values())
    assert "python" in gpulease("doctor", "--quick").stdout


def test_keys_are_shown_once_and_listed_without_their_secret(gpulease, tmp_path):
    secret = gpulease("keys", "create", "--role", "admin", "--name", "me", "--data", "d").stdout.strip()
    (key,) = json.loads(gpulease("keys", "list", "--data", "d", "--json").stdout)
    assert key["role"] == "admin"
    assert key["name"] == "me"
    assert secret.startswith("gpl_")
    assert not any(
        secret.encode() in path.read_bytes() for path in (tmp_path / "d").iterdir() if path.is_file()
    )


def test_an_owners_key_is_for_one_machine(gpulease, tmp_path):
    made = [
        gpulease("keys", "create", "--role", "worker", "--worker-id", one, "--data", "d") for one in "aab"
    ]
    keys = [one.stdout.strip() for one in made]
    assert keys[0] == keys[1] != keys[2]
    assert "--worker-id a" in made[0].stderr
    shown = json.loads(
        gpulease("keys", "create", "--role", "worker", "--worker-id", "a", "--data", "d", "--json").stdout
    )
    assert shown == {"key": keys[0], "role": "worker", "worker_id": "a"}
    assert (tmp_path / "d" / "deployment.key").stat().st_mode & 0o077 == 0


def test_the_program_is_a_module_too(tmp_path):
    command = [sys.executable, "-m", "gpulease", "frobnicate"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 2


def test_help_names_every_command(gpulease):
    shown = gpulease("--help").stdout
    assert all(f" {command} " in shown for command in COMMANDS)
    assert gpulease("--version").stdout.startswith("gpulease ")
