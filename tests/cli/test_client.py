"""The sync client against a server on a socket that misbehaves on demand."""

import socket

import pytest
from stand_in import SPEECH

from gpulease.client import (
    ApiError,
    BadCredentials,
    Client,
    ClientError,
    Conflict,
    Garbled,
    JobProgress,
    NotFound,
    Refused,
    ServerFault,
    Unreachable,
    Wait,
)
from gpulease.contract.jobs import EventView, JobRequest, OutputFile

CSM = JobRequest(engine="csm", input={"text": "Good morning."})


def test_submit_gives_the_job(client, state):
    job = client.submit(CSM)
    assert job.engine == "csm"
    assert job.status == "queued"
    assert state.jobs[str(job.id)]["input"] == {"text": "Good morning."}


def test_every_call_carries_the_key_and_our_name(client, state):
    client.workers()
    assert state.headers[-1]["authorization"] == "Bearer secret"
    assert state.headers[-1]["user-agent"].startswith("gpulease/")


def test_a_submit_that_meets_an_overload_is_repeated_and_makes_one_job(client, state):
    state.refuse.extend([503, 502])
    client.submit(CSM)
    assert len(state.asked) == 3
    assert len({headers["idempotency-key"] for headers in state.headers}) == 1
    assert len(state.jobs) == 1


def test_the_same_idempotency_key_gives_the_same_job(client):
    first = client.submit(CSM, idempotency_key="k")
    assert client.submit(CSM, idempotency_key="k").id == first.id


def test_reads_are_repeated_a_few_times_only(client, state):
    state.refuse.extend([503] * 20)
    with pytest.raises(Wait) as caught:
        client.workers()
    assert len(state.asked) == 4
    assert caught.value.problem.detail == "Do it otherwise."


def test_an_order_without_a_key_is_never_repeated(client, state):
    state.refuse.append(503)
    with pytest.raises(Wait):
        client.stop("w1")
    assert len(state.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, BadCredentials),
        (403, BadCredentials),
        (404, NotFound),
        (409, Conflict),
        (410, NotFound),
        (422, Refused),
        (429, Wait),
        (503, Wait),
        (507, ServerFault),
    ],
)
def test_errors_say_what_to_do_next(client, state, status, kind):
    state.refuse.extend([status] * 4)
    with pytest.raises(kind) as caught:
        client.stop("w1")
    assert type(caught.value) is kind
    assert isinstance(caught.value, ApiError)
    assert str(caught.value) == f"Not now: Do it otherwise. ({status})"


def test_a_server_that_is_not_there_is_unreachable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with Client(f"http://127.0.0.1:{taken.getsockname()[1]}") as client, pytest.raises(Unreachable):
            client.workers()


def test_a_reply_of_another_program_is_garbled(state):
    with Client(f"{state.url}/files/speech.wav?") as client, pytest.raises(ClientError):
        client.workers()


@pytest.mark.parametrize("url", ["ftp://x", "localhost:8080", "http://", "nonsense"])
def test_what_is_no_url_of_a_server_is_refused_at_once(url):
    with pytest.raises(ValueError, match="no http:// or https:// URL"):
        Client(url)


def test_where_the_server_is_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("GPULEASE_URL", "https://gpu.example:8443/")
    monkeypatch.setenv("GPULEASE_API_KEY", "k")
    with Client() as client:
        assert client.server.url == "https://gpu.example:8443"
        assert client.server.key == "k"
        assert "'k'" not in repr(client.server)


def test_jobs_come_from_all_pages(client):
    made = {client.submit(CSM).id for _ in range(5)}
    assert {job.id for job in client.jobs(page=2)} == made


def test_a_batch_says_what_became_of_each(client):
    reply = client.submit_batch([CSM, CSM])
    assert [item.index for item in reply.items] == [0, 1]
    assert all(item.job for item in reply.items)


def test_watch_gives_moves_and_progress_until_the_end(client):
    events = list(client.watch(client.submit(CSM).id))
    assert [event.after for event in events if isinstance(event, EventView)] == [
        "queued",
        "running",
        "succeeded",
    ]
    progress = [event for event in events if isinstance(event, JobProgress)]
    assert [event.progress for event in progress] == [0.5, 0.9]
    assert progress[0].message == "a\u2028b"


@pytest.mark.parametrize("cuts", [[0], [1], [3, 1]])
def test_watch_goes_on_where_the_stream_broke(client, state, cuts):
    state.cut_after.extend(cuts)
    events = list(client.watch(client.submit(CSM).id))
    assert [event.seq for event in events if isinstance(event, EventView)] == [1, 2, 3]


def test_a_broken_stream_is_resumed_by_its_last_id(client, state):
    state.cut_after.append(2)
    list(client.watch(client.submit(CSM).id))
    asked = [
        headers for (_, path), headers in zip(state.asked, state.headers, strict=True) if "events" in path
    ]
    assert [headers.get("last-event-id") for headers in asked] == [None, "2"]


def test_watch_outlives_a_server_that_is_briefly_overloaded(client, state):
    job = client.submit(CSM)
    state.refuse.extend([503, 500])
    assert client.wait(job.id).status == "succeeded"


def test_watching_what_is_not_there_says_so_at_once(client):
    with pytest.raises(NotFound):
        list(client.watch("none"))


def test_result_before_the_end_is_a_conflict(client):
    job = client.submit(CSM)
    with pytest.raises(Conflict):
        client.result(job.id)
    client.wait(job.id)
    assert client.result(job.id).text == "good morning"


def test_cancel_retry_logs_and_events(client):
    job = client.submit(CSM)
    assert client.cancel(job.id).status == "cancelled"
    assert client.retry(job.id).retry_of == job.id
    assert client.logs(job.id, offset=4) == "two\n"
    assert [move.after for move in client.events(job.id)] == ["queued"]


def test_an_upload_arrives_whole(client, state, tmp_path):
    path = tmp_path / "speech.mp3"
    path.write_bytes(SPEECH)
    view = client.upload(path)
    assert view.url == "upload://u1"
    assert view.content_type == "audio/mpeg"
    assert state.uploads == {"speech.mp3": SPEECH}


def test_a_download_lands_under_its_own_name_and_without_our_key(client, state, tmp_path):
    job = client.wait(client.submit(CSM).id)
    path = client.download(job.result.files[0], tmp_path)
    assert path == tmp_path / "speech.wav"
    assert path.read_bytes() == SPEECH
    assert "authorization" not in state.headers[-1]


@pytest.mark.parametrize("size_bytes", [len(SPEECH), len(SPEECH) - 1])
def test_a_download_that_is_not_what_was_stored_leaves_nothing(client, state, tmp_path, size_bytes):
    file = OutputFile(
        name="x", key="k", size_bytes=size_bytes, sha256="0" * 64, url=f"{state.url}/files/short"
    )
    with pytest.raises(Garbled):
        client.download(file, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_name_cannot_lead_out_of_the_folder(client, state, tmp_path):
    url = f"{state.url}/files/speech.wav"
    file = OutputFile(name="../../etc/x", key="k", size_bytes=len(SPEECH), url=url)
    assert client.download(file, tmp_path) == tmp_path / "x"


def test_a_file_without_a_url_says_where_to_get_one(client, tmp_path):
    with pytest.raises(ClientError, match="ask for the job's result"):
        client.download(OutputFile(name="x", key="k", size_bytes=1), tmp_path)


def test_fleet_and_policy(client):
    assert client.drain("w1")["state"] == "draining"
    assert client.pause("w1")["id"] == client.resume("w1")["id"] == "w1"
    assert client.engines()[0]["name"] == "csm"
    assert client.plan()["blocked"][0]["code"] == "no_offer"
    assert client.costs()["usd_total"] == 0.5
    assert client.set_policy(client.policy()) == {"name": "whatif"}
    client.check()
