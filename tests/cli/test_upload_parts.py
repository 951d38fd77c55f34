"""Large files in parts: over a real server and storage, on a line that breaks, and gone on with."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from parts_world import IMPATIENT, PART_BYTES, Served, Uploads, local
from rich.console import Console
from seaweed import Seaweed

from gpulease.cli.live import sending
from gpulease.cli.main import main
from gpulease.client import AsyncClient, BrokenOff, NotFound, OtherFile, Parting, Refused, Unreachable
from orchestrator.storage.sizes import PartSizes

PARTS = 10
CONTENT = os.urandom((PARTS - 1) * PART_BYTES + 9)
KINDS = ("sync", "async")


@pytest.fixture
def served(tmp_path):
    with local(tmp_path / "data") as world:
        yield world


@pytest.fixture
def line(served):
    return served.line


@pytest.fixture(params=KINDS)
def upload(served, request):
    return Uploads(served, request.param, IMPATIENT)


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def begun(served, line, film):
    """The id of an upload of which part 4 has not come."""
    line.faults[4] = [400]
    with pytest.raises(BrokenOff) as broken:
        Uploads(served, "sync", Parting(above_bytes=PART_BYTES, at_once=1))(film)
    assert sum(line.puts.values()) == 4
    line.puts.clear()
    return broken.value.upload_id


def test_a_large_file_arrives_whole_in_parts(served, line, upload, film):
    told = []
    view = upload(film, progress=lambda *said: told.append(said))
    assert (view.stored, view.name, view.content_type) == (True, "film.mp4", "video/mp4")
    assert served.stored(view.id) == CONTENT
    assert line.puts == dict.fromkeys(range(1, PARTS + 1), 1)
    assert 2 <= line.most <= 4
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)


def test_the_storage_gets_lengths_and_no_key(line, upload, film):
    upload(film)
    assert {int(said["content-length"]) for said in line.headers} == {PART_BYTES, 9}
    assert not any("authorization" in said or "transfer-encoding" in said for said in line.headers)


def test_a_small_file_goes_in_one_stream(served, line, upload, tmp_path):
    path, told = tmp_path / "speech.mp3", []
    path.write_bytes(CONTENT[:PART_BYTES])
    view = upload(path, progress=lambda *said: told.append(said))
    assert served.stored(view.id) == CONTENT[:PART_BYTES]
    assert line.puts == {}
    assert told == sorted(told)
    assert told[-1] == (PART_BYTES, PART_BYTES)


def test_signed_urls_may_be_relative(served, upload, film):
    served.storage._origin = lambda: ""
    assert served.stored(upload(film).id) == CONTENT


def test_a_part_that_fails_is_sent_again(served, line, upload, film):
    faults = {1: [408], 2: [429], 3: [500], 4: [503], 5: [507], 6: ["cut"], PARTS: ["cut", 502, 503]}
    line.faults.update((number, list(those)) for number, those in faults.items())
    told = []
    view = upload(film, progress=lambda *said: told.append(said))
    assert served.stored(view.id) == CONTENT
    assert line.puts == {number: 1 + len(faults.get(number, ())) for number in range(1, PARTS + 1)}
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert all(0 <= sent <= size for sent, size in told)


def test_a_url_that_has_expired_is_asked_for_again(served, line, upload, film):
    line.faults[6] = ["expire"]
    assert served.stored(upload(film).id) == CONTENT
    assert line.puts[6] == 2
    assert PARTS < sum(line.puts.values()) <= PARTS + 4


def test_urls_that_are_never_good_end_it(line, upload, film):
    line.faults[2] = [403] * 9
    with pytest.raises(BrokenOff, match="403"):
        upload(film)
    assert line.puts[2] == IMPATIENT.tries_max


def test_what_is_wrong_is_not_tried_again(line, upload, film):
    line.faults[2] = [400]
    with pytest.raises(BrokenOff) as broken:
        upload(film)
    assert isinstance(broken.value.__cause__, Refused)
    assert line.puts[2] == 1


@pytest.mark.parametrize("fault", ["cut", 503])
def test_one_that_broke_off_goes_on_where_it_was(served, line, upload, film, fault):
    line.faults[PARTS] = [fault] * 99
    with pytest.raises(BrokenOff, match="What has come is kept: `gpulease upload FILE --resume ") as broken:
        upload(film)
    upload_id = broken.value.upload_id
    assert f"resume='{upload_id}'" in str(broken.value)
    assert line.puts[PARTS] == IMPATIENT.tries_max
    line.faults.clear()
    line.puts.clear()
    told = []
    view = upload(film, resume=upload_id, progress=lambda *said: told.append(said))
    assert view.id == upload_id
    assert served.stored(upload_id) == CONTENT
    assert line.puts[PARTS] == 1
    assert set(line.puts.values()) == {1}
    assert sum(line.puts.values()) < PARTS
    assert told[0][0] >= PART_BYTES
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_a_server_that_died_in_the_middle_and_is_back(served, line, upload, film):
    line.faults[5] = ["power"]
    upload.parting = replace(IMPATIENT, at_once=1)
    with pytest.raises(BrokenOff) as broken:
        upload(film)
    assert isinstance(broken.value.__cause__, Unreachable)
    assert "signature" not in str(broken.value)
    served.restart()
    line.puts.clear()
    view = upload(film, resume=broken.value.upload_id)
    assert served.stored(view.id) == CONTENT
    assert line.puts == dict.fromkeys(range(5, PARTS + 1), 1)


def test_an_upload_that_lacks_nothing_is_just_completed(served, line, upload, film):
    upload_id = upload(film).id
    line.puts.clear()
    told = []
    assert upload(film, resume=upload_id, progress=lambda *said: told.append(said)).stored
    assert line.puts == {}
    assert told == [(len(CONTENT), len(CONTENT))]


def test_a_file_of_another_size_is_not_gone_on_with(line, upload, film, begun):
    film.write_bytes(CONTENT + b"!")
    expected = f"has {len(CONTENT) + 1} bytes, but upload {begun} is of 'film.mp4' with {len(CONTENT)}"
    with pytest.raises(OtherFile, match=expected):
        upload(film, resume=begun)
    assert line.puts == {}


def test_what_is_not_there_cannot_be_gone_on_with(upload, film):
    with pytest.raises(NotFound):
        upload(film, resume="nonesuch")


def test_a_file_that_changes_on_its_way_is_never_completed(served, upload, film):
    def change(sent, _total):
        if sent > len(CONTENT) / 2:
            film.write_bytes(CONTENT[::-1])

    with pytest.raises(OtherFile, match="was changed while it was sent"):
        upload(film, progress=change)


def test_what_the_server_wants_whole_goes_in_one_put(tmp_path, film):
    with local(tmp_path / "other", PartSizes()) as served:
        for kind in KINDS:
            view = Uploads(served, kind, IMPATIENT)(film)
            assert served.stored(view.id) == CONTENT
        assert [said["content-type"] for said in served.line.headers] == ["video/mp4"] * 2


def test_whatever_ends_it_says_how_to_go_on(upload, film):
    def spoil(sent, total):
        raise RuntimeError("the bar fell down")

    with pytest.raises(RuntimeError) as caught:
        upload(film, progress=lambda sent, total: spoil(sent, total) if sent else None)
    (note,) = caught.value.__notes__
    assert "--resume" in note


async def test_one_that_is_cancelled_lets_go_of_all(served, line, film):
    line.faults[1] = ["hold"]
    async with AsyncClient(served.url, served.key, parting=IMPATIENT) as client:
        task = asyncio.create_task(client.upload(film))
        assert await asyncio.to_thread(line.held.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(asyncio.all_tasks()) == 1


@pytest.fixture
def environment(served, monkeypatch):
    """Where the command finds the server."""
    monkeypatch.setenv("GPULEASE_URL", served.url)
    monkeypatch.setenv("GPULEASE_API_KEY", served.key)
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.usefixtures("environment")
def test_the_command_goes_on_and_prints_the_url(served, film, begun, capsys, more):
    with pytest.raises(SystemExit) as ended:
        main(["upload", str(film), "--resume", begun, *more])
    said = capsys.readouterr()
    assert (ended.value.code, said.err) == (0, "")
    url = json.loads(said.out)["url"] if more else said.out.strip()
    assert url == f"upload://{begun}"
    assert served.stored(begun) == CONTENT


@pytest.mark.usefixtures("environment")
def test_ctrl_c_says_how_to_go_on(line, film, begun):
    line.faults[4] = ["hold", *["cut"] * 9]
    command = [sys.executable, "-m", "gpulease", "upload", str(film), "--resume", begun]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert line.held.wait(20)
        process.send_signal(signal.SIGINT)
        line.released.set()
        out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert f"--resume {begun}" in said
    assert "Traceback" not in said


def test_the_bar_is_for_people():
    def shown(**console):
        return Console(file=io.StringIO(), width=120, **console)

    with sending("film", console=shown()) as progress:
        assert progress is None
    with sending("film", as_json=True, console=shown(force_terminal=True)) as progress:
        assert progress is None
    terminal = shown(force_terminal=True)
    with sending("[b]film", console=terminal) as progress:
        progress(500_000, 1_000_000)
    assert "[b]film" in terminal.file.getvalue()
    assert "0.5/1.0 MB" in terminal.file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_bucket_that_dies_in_the_middle_and_is_back(tmp_path, kind):
    film = tmp_path / "film.mp4"
    film.write_bytes(os.urandom(26 * 1024**2 + 9))
    with Seaweed(tmp_path / "s3") as s3:
        keys = {"minio_access_key": s3.access_key, "minio_secret_key": s3.secret_key}
        place = {"minio_endpoint": s3.url, "minio_bucket": s3.bucket}
        with Served(tmp_path / "data", storage="s3", **place, **keys) as served:
            served.storage._grants._sizes = PartSizes(5 * 1024**2, 5 * 1024**2)
            upload = Uploads(served, kind, Parting(5 * 1024**2, at_once=2, tries_max=2, pause_s_max=0.1))
            dead = []

            def kill(sent, total):
                if sent > total * 0.7 and not dead:
                    dead.append(s3.kill())

            with pytest.raises(BrokenOff) as broken:
                upload(film, progress=kill)
            s3.start()
            told = []
            upload_id = broken.value.upload_id
            view = upload(film, resume=upload_id, progress=lambda *said: told.append(said))
            assert told[0][0] >= 5 * 1024**2
            assert view.stored
            assert served.stored(upload_id) == film.read_bytes()
