"""The emulated Salad's control plane: what it takes, what it refuses, and how it lies when it is told to."""

import re

import pytest

from salad import spec
from salad.api import account, containers, queues
from salad.emulator import SaladEmulator
from salad.knobs import SHARES, Dice, Knobs
from salad.scene import GROUPS, KEY, MERGE_PATCH, ORGANIZATION, QUEUES, group_body, scene, until
from salad.times import stamp

SEVEN_DIGITS = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}(Z|\+00:00)$"


@pytest.fixture
async def salad():
    async with scene() as found:
        yield found


@pytest.fixture
def document():
    path = spec.find(spec.API)
    if not path.is_file():
        pytest.skip(f"{path.name} is not here; {spec.VARIABLE} may say where it is")
    return spec.load(path)


async def test_a_group_is_created_shown_listed_changed_and_deleted(salad):
    created = await salad.create()
    assert created.status_code == 201
    assert created.headers["location"].endswith("/containers/g-1")
    assert (await salad.http.get(GROUPS)).json()["items"][0]["name"] == "g-1"
    changed = await salad.http.patch(f"{GROUPS}/g-1", json={"display_name": "a b"}, headers=MERGE_PATCH)
    assert (changed.status_code, changed.headers["content-type"]) == (200, "application/merge-patch+json")
    assert changed.json()["display_name"] == "a b"
    assert (await salad.http.delete(f"{GROUPS}/g-1")).status_code == 202
    await until(lambda: not salad.cloud.live())
    gone = await salad.http.get(f"{GROUPS}/g-1")
    assert (gone.status_code, gone.headers["content-type"]) == (404, "application/json")


async def test_times_have_seven_digits(salad):
    created = (await salad.create()).json()
    pattern = re.compile(SEVEN_DIGITS)
    assert all(pattern.match(created[name]) for name in ("create_time", "update_time"))
    assert stamp(17_000_000_001_234_567).endswith(".1234567Z")


async def test_names_are_used_once(salad):
    await salad.create()
    again = await salad.create()
    assert (again.status_code, again.json()["title"]) == (409, "Conflict")
    await salad.until_running()
    await salad.http.delete(f"{GROUPS}/g-1")
    assert (await salad.create()).status_code == 409, "it is still on its way out"
    await until(lambda: not salad.cloud.live())
    assert (await salad.create()).status_code == 400
    salad.cloud.knobs.tombstone_s = 0
    assert (await salad.create()).status_code == 201


async def test_start_and_stop_are_refused_where_they_change_nothing(salad):
    await salad.create(autostart_policy=False)
    stopped = (await salad.http.get(f"{GROUPS}/g-1")).json()
    assert stopped["current_state"]["status"] == "stopped"
    assert (await salad.http.post(f"{GROUPS}/g-1/stop")).status_code == 400
    assert (await salad.http.post(f"{GROUPS}/g-1/start")).status_code == 202
    assert (await salad.http.post(f"{GROUPS}/g-1/start")).status_code == 400


async def test_a_patch_has_a_content_type_of_its_own(salad):
    await salad.create()
    refused = await salad.http.patch(f"{GROUPS}/g-1", json={"replicas": 0})
    assert refused.status_code == 415


async def test_the_quota_counts_what_is_promised(salad):
    salad.cloud.knobs.replicas_quota = 2
    assert (await salad.create("g-1", replicas=2)).status_code == 201
    refused = await salad.create("g-2")
    assert refused.status_code == 400
    assert "quota" in refused.json()["detail"]
    quotas = (await salad.http.get(f"{ORGANIZATION}/quotas")).json()["container_groups_quotas"]
    assert (quotas["container_replicas_quota"], quotas["container_replicas_used"]) == (2, 2)


async def test_prices_are_strings_and_names_untidy(salad):
    classes = (await salad.http.get(f"{ORGANIZATION}/gpu-classes")).json()["items"]
    assert all(isinstance(price["price"], str) for one in classes for price in one["prices"])
    assert any(one["name"] != one["name"].strip() for one in classes)
    unsold = group_body("g-1")
    unsold["container"]["resources"]["gpu_classes"] = ["851399fb-7329-4195-a042-d6514b28cf33"]
    assert (await salad.http.post(GROUPS, json=unsold)).status_code == 400


async def test_availability_and_the_secret_of_webhooks(salad):
    path = f"{ORGANIZATION}/availability"
    asked = {"gpu_classes": ["ed563892-aacd-40f5-80b7-90c9be6c759b"], "cpu": None}
    assert (await salad.http.post(f"{path}/sce-gpu-availability", json=asked)).status_code == 200
    assert (await salad.http.post(f"{path}/sce-cpu-availability", json={"cpu": 4})).status_code == 200
    secret = f"{ORGANIZATION}/webhook-secret-key"
    before, new = (await salad.http.get(secret)).json(), (await salad.http.post(secret)).json()
    assert before != new == (await salad.http.get(secret)).json()


async def test_queues_and_their_jobs(salad):
    made = await salad.http.post(QUEUES, json={"name": "portrait"})
    assert made.status_code == 201
    jobs = f"{QUEUES}/portrait/jobs"
    ids = [(await salad.http.post(jobs, json={"input": {"n": n}})).json()["id"] for n in range(5)]
    page = (await salad.http.get(jobs, params={"page": 2, "page_size": 2})).json()["items"]
    assert [one["id"] for one in page] == [ids[2], ids[1]]
    assert (await salad.http.get(jobs, params={"page_size": 101})).status_code == 400
    assert (await salad.http.delete(f"{jobs}/{ids[0]}")).status_code == 202
    cancelled = (await salad.http.get(f"{jobs}/{ids[0]}")).json()
    assert [cancelled["status"], cancelled["events"][-1]["action"]] == ["cancelled", "cancelled"]
    assert (await salad.http.delete(f"{jobs}/{ids[0]}")).status_code == 400
    assert (await salad.http.get(f"{QUEUES}/portrait")).json()["current_queue_length"] == 4
    renamed = await salad.http.patch(f"{QUEUES}/portrait", json={"description": "d"}, headers=MERGE_PATCH)
    assert renamed.json()["description"] == "d"
    assert (await salad.http.delete(f"{QUEUES}/portrait")).status_code == 202
    assert (await salad.http.get(QUEUES)).json() == {"items": []}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (GROUPS, {"Salad-Api-Key": "wrong"}, 403),
        (GROUPS.replace("acme", "other"), {}, 403),
        (GROUPS.replace("render", "other"), {}, 404),
        (f"{GROUPS}/nobody", {}, 404),
        ("/nowhere", {}, 404),
        (GROUPS, {"User-Agent": "Python-urllib/3.11"}, 403),
    ],
)
async def test_strangers_are_refused(salad, path, headers, status):
    assert (await salad.http.get(path, headers=headers)).status_code == status


async def test_a_lost_reply_looks_the_same_whether_the_group_exists_or_not(salad):
    salad.cloud.knobs.next = ["create_unknown", "create_lost"]
    replies = [await salad.create("g-2"), await salad.create("g-1")]
    assert {one.status_code for one in replies} == {502}
    assert all("html" in one.headers["content-type"] for one in replies)
    assert [one["name"] for one in (await salad.http.get(GROUPS)).json()["items"]] == ["g-1"]


async def test_other_faults_come_when_they_are_called(salad):
    salad.cloud.knobs.next = ["rate_limited_wait", "html_errors", "capacity"]
    assert (await salad.create()).status_code == 429
    assert (await salad.http.get(GROUPS)).status_code == 502
    assert (await salad.create()).status_code == 400
    assert (await salad.create()).status_code == 201
    salad.cloud.knobs.rate_limited = 1.0
    told = {"retry-after" in (await salad.http.get(GROUPS)).headers for _ in range(20)}
    assert told == {True, False}
    assert salad.cloud.calls[-1].status == 429


async def test_the_list_lags_and_the_address_does_not(salad):
    salad.cloud.knobs.list_lag_s = 60
    await salad.create()
    assert (await salad.http.get(GROUPS)).json() == {"items": []}
    assert (await salad.http.get(f"{GROUPS}/g-1")).status_code == 200


async def test_scripts_read_the_bill_and_turn_the_knobs(salad):
    await salad.create()
    control = salad.cloud.control_url
    turned = await salad.http.post(f"{control}/knobs", json={"capacity": 0.5, "next": ["node_death"]})
    assert (turned.json()["capacity"], salad.cloud.knobs.next) == (0.5, ["node_death"])
    for wrong in ({"colour": 1}, {"next": ["stop_lag_s"]}):
        assert (await salad.http.post(f"{control}/knobs", json=wrong)).status_code == 400
    assert (await salad.http.get(f"{control}/live")).json()["items"][0]["group"] == "g-1"
    assert (await salad.http.get(f"{control}/bill")).json()["lines"] == []
    assert (await salad.http.get(f"{control}/violations")).json() == {"items": []}


async def test_a_broken_body_is_refused_and_remembered(document):
    async with SaladEmulator(KEY) as cloud:
        assert cloud.validates
    async with scene() as salad:
        for broken in ({"replicas": "two"}, {"replica": 1}, {"container": {"image": "x"}}):
            assert (await salad.create(**broken)).status_code == 400
        assert len(salad.cloud.violations) == 3
        assert "'replica' was unexpected" in salad.cloud.violations[1]
        salad.cloud.violations.clear()


def test_every_route_is_one_of_the_document(document):
    ours = {*containers.ROUTES, *queues.ROUTES, *account.ROUTES}
    left_out = {path for _, path in document.templates() - ours}
    assert not ours - document.templates()
    assert all("inference-endpoints" in path or path.endswith("/log-entries") for path in left_out)


async def test_without_the_document_only_the_validation_is_off(monkeypatch, tmp_path):
    monkeypatch.setenv(spec.VARIABLE, str(tmp_path / "none.yaml"))
    async with scene() as salad:
        assert (salad.cloud.validates, spec.VARIABLE in salad.cloud.why_not) == (False, True)
        assert (await salad.create()).status_code == 201


def test_each_concern_draws_from_a_stream_of_its_own():
    quiet, loud = Dice(Knobs(node_death=0.3), 7), Dice(Knobs(node_death=0.3, capacity=1.0), 7)
    drawn = [(loud.hits("capacity"), loud.hits("node_death"))[1] for _ in range(50)]
    assert drawn == [quiet.hits("node_death") for _ in range(50)]
    assert {"create_unknown", "preemption", "slow_download"} <= set(SHARES)
