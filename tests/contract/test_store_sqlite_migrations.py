"""A database that an earlier version made opens, keeps what it has, and serves on."""

import sqlite3

import pytest
from store_world import W, begun, claim, enrolment, finish, job_of, move, submit, worker_of

from orchestrator.store import people, rows
from orchestrator.store.sqlite import open_sqlite
from orchestrator.store.sqlite.connection.migrations import migrations
from orchestrator.store.sqlite.connection.opening import open_database
from scaling.states import JobState

OLD_DATA = """
    INSERT INTO job_groups (id, need) VALUES (1, '{"engine":"csm"}'), (2, '{"avoid":["w9"],"engine":"csm"}');
    INSERT INTO jobs (pk, id, group_id, owner, engine, state, created_at, must_start_by, complete_by, max_time_s,
        retries, attempts, attempt_id, started_at, finished_at, request_hash, metadata, input, result)
    VALUES
        (1, 'done', 1, '', 'csm', 'succeeded', 1, 900, 900, 600, 2, 1, 1, 2, 9, '', '{}', '{}', '{"backend":"piper"}'),
        (2, 'runs', 1, '', 'csm', 'running', 2, 9000, 9000, 1200, 2, 1, 2, 10, NULL, '', '{}', '{}', NULL),
        (3, 'short', 2, '', 'csm', 'queued', 3, 9000, 9000, 300, 2, 0, NULL, NULL, NULL, '', '{}', '{}', NULL),
        (4, 'long', 1, '', 'csm', 'queued', 4, 9000, 9000, 7200, 2, 0, NULL, NULL, NULL, '', '{}', '{}', NULL);
    INSERT INTO attempts (id, job_pk, number, worker_id, incarnation, nonce, state, phase, progress, started_at,
        reported_at, ended_at)
    VALUES (1, 1, 1, 'w1', 'i1', 'n1', 'succeeded', 'completed', 1, 2, 9, 9),
        (2, 2, 1, 'w1', 'i1', 'n2', 'running', 'inferring', 0.5, 10, 11, NULL);
    INSERT INTO workers (id, provider, gpu_class, offered_class, state, usd_per_hour, state_at, intended_at, buy_at,
        creating_at, ready_at, key_hash, boot_billed, granularity_s, min_billed_s, instance_id, incarnation,
        capacity, capabilities)
    VALUES ('w1', 'local', 'cpu', 'cpu', 'ready', 1, 1, 0, 0, 0.5, 1, 'h', 1, 1, 0, 'pid-7', 'i1', 2,
        '[["csm","piper",[],[]]]');
    INSERT INTO leases (worker_id, provider, gpu_class, usd_per_hour, started_at, granularity_s, min_billed_s, busy_s)
    VALUES ('w1', 'local', 'cpu', 1, 0.5, 1, 0, 7);
    INSERT INTO leases VALUES ('w0', 'local', 'cpu', 1, 0, 5, 1, 0, 2);
"""

LEASE_OF_NOW = (
    "INTO leases (worker_id, provider, gpu_class, usd_per_hour, started_at, ended_at, granularity_s, \
    min_billed_s, busy_s) VALUES ('w0'"
)
OLD_PEOPLE = """
    INSERT INTO api_keys VALUES ('k1', 'laptop', 'submitter', '0123456789abcdef', 3, NULL),
        ('k2', 'old', 'admin', 'fedcba9876543210', 4, 5);
    INSERT INTO job_groups (id, need) VALUES (9, '{"engine":"csm","owner":"k1"}');
    INSERT INTO jobs (pk, id, group_id, owner, engine, state, created_at, must_start_by, complete_by, max_time_s,
        retries, finished_at, request_hash, metadata, input, notify_url)
    VALUES (9, 'mine', 9, 'k1', 'csm', 'cancelled', 1, 900, 900, 600, 2, 9, '', '{}', '{}', 'https://example.org');
    INSERT INTO deliveries (id, job_pk, url, tries, due_at) VALUES (4, 9, 'https://example.org', 2, 20);
    INSERT INTO uploads VALUES ('u1', 'k1', 'a.wav', 'up/u1', 5, '00', 'audio/wav', 4, 900);
"""


def first_version(database):
    migrations.apply(database, stop_before="0002_clouds")


def second_version(database):
    migrations.apply(database, stop_before="0003_people")


@pytest.fixture
async def path(tmp_path):
    made = tmp_path / "a.db"
    database = open_database(made, 5.0, first_version)
    database.executescript(OLD_DATA)
    database.close()
    return made


@pytest.fixture
async def store(path):
    opened = await open_sqlite(path)
    yield opened
    await opened.aclose()


async def test_what_was_there_is_read_as_it_was(store):
    worker = await worker_of(store)
    assert (worker.state, worker.instance_id, worker.creating_at, worker.lease_from) == (
        W.READY,
        "pid-7",
        0.5,
        0.5,
    )
    assert (worker.owned, worker.address, worker.host_id) == (False, None, None)
    assert await store.list_leases(since=0.0) == [
        rows.Lease("w0", "local", "cpu", 1.0, 0.0, 5.0, 1.0, 0.0, 2.0),
        rows.Lease("w1", "local", "cpu", 1.0, 0.5, None, 1.0, 0.0, 7.0, instance_id="pid-7"),
    ]
    assert (await job_of(store, "done")).state is JobState.SUCCEEDED
    assert [one.id for one in await store.list_worker_attempts("w1")] == [1, 2]
    assert await store.known_instances("local") == {"pid-7": "w1"}


async def test_what_waited_and_ran_goes_on(store):
    assert await finish(store, rows.Held(2, "w1", "i1"), at=20.0) is rows.Verdict.APPLIED
    assert [(await begun(store, at=21.0)).attempt_id > 2 for _ in range(2)] == [True, True]
    assert await store.move_worker("w1", move(W.STOPPING, W.READY), now=30.0)
    assert await store.move_worker("w1", move(W.GONE, W.STOPPING), now=31.0)
    [_, lease] = await store.list_leases(since=0.0)
    assert lease.ended_at == 31.0
    assert await store.enrol_worker(enrolment())


async def test_waiting_jobs_name_how_long_they_may_run(store):
    needs = {one: (await job_of(store, one)).need for one in ("runs", "short", "long")}
    assert {name: need.max_time_s for name, need in needs.items()} == {
        "runs": 1200,
        "short": 300,
        "long": 7200,
    }
    assert needs["short"].avoid == ("w9",)
    await store.note_instance("w1", rows.InstanceFacts("pid-7", lease_ends_at=500.0))
    claimed = await claim(store, at=100.0)
    assert claimed is not None
    assert claimed.job.id == "short"
    assert await claim(store, at=100.0) is None


async def test_a_need_is_written_in_one_way(store):
    for seconds in (7200, 7200.0):
        await submit(store, max_time_s=seconds, complete_by=9_000.0)
    groups = [one for one in (await store.read_fleet()).groups if one.need.max_time_s == 7200]
    assert [one.count for one in groups] == [3]


async def test_it_stays_strict(path, store):
    with sqlite3.connect(path) as connection:
        for broken in ("owned = 2", "owned = 'yes'"):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(f"UPDATE workers SET {broken}")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("UPDATE leases SET billed_s = -1")
        strict = {row[1]: row[5] for row in connection.execute("PRAGMA table_list") if row[1] in TABLES}
    connection.close()
    assert strict == dict.fromkeys(TABLES, 1)


OF_PEOPLE = (
    "subscriptions",
    "users",
    "keys",
    "projects",
    "members",
    "aliases",
    "alias_counters",
    "assets",
    "asset_versions",
)
TABLES = (
    "workers",
    "leases",
    "host_faults",
    "jobs",
    "uploads",
    "deliveries",
    "spending",
    "audit",
    *OF_PEOPLE,
)


@pytest.fixture
async def second(tmp_path):
    """A store on a database of the second version, with keys, an upload, deliveries and what was spent."""
    path = tmp_path / "second.db"
    database = open_database(path, 5.0, second_version)
    database.executescript(OLD_DATA.replace("INTO leases VALUES ('w0'", LEASE_OF_NOW) + OLD_PEOPLE)
    database.close()
    opened = await open_sqlite(path)
    yield opened
    await opened.aclose()


async def test_keys_become_their_own_users(second):
    laptop, old = await second.list_keys()
    assert (laptop.id, laptop.owner, laptop.role, laptop.prefix) == ("k1", "k1", "submitter", "0123456789ab")
    assert (old.owner, old.revoked_at) == ("k2", 5.0)
    assert await second.find_keys("0123456789ab") == [laptop]
    users = [(one.id, one.name, one.role, one.active) for one in await second.list_users()]
    assert users == [("k1", "laptop", "submitter", True), ("k2", "old", "admin", True)]
    assert await second.get_user("") == people.ANONYMOUS


async def test_jobs_uploads_and_deliveries_stay_their_owners(second):
    mine = await second.list_jobs(rows.JobFilter(owner="k1"), before=None, limit=9)
    assert [(one.id, one.need.project) for one in mine] == [("mine", "")]
    assert (await second.get_upload("u1")).stored_at == 4.0
    [delivery] = await second.due_deliveries(now=1e9, limit=9)
    assert (delivery.job_id, delivery.owner, delivery.created_at, delivery.tries) == ("mine", "k1", 20.0, 2)
    assert (await worker_of(second)).queues == ()


async def test_what_was_spent_counts(second):
    assert await second.spent_by(owner="", since=0.0, now=100.0) == pytest.approx((7 + 90) / 3600)
    assert await second.spent_by(owner="k1", since=0.0, now=100.0) == 0.0
    assert await second.load_of(owner="") == rows.Load(queued=2, running=1)


async def test_the_second_version_goes_on_as_well(second):
    assert await finish(second, rows.Held(2, "w1", "i1"), at=20.0) is rows.Verdict.APPLIED
    assert await second.spent_by(owner="", since=0.0, now=100.0) == pytest.approx((7 + 10) / 3600)
    assert (await second.add_user(people.User("ann", "Ann", "viewer", 1.0, email="ann@example.org"))) is None
    assert await second.alias("farm", "task", "runs", "k1") == 1


async def test_it_is_migrated_once(path, store):
    again = await open_sqlite(path)
    assert await worker_of(again) == await worker_of(store)
    await again.aclose()


async def test_jobs_that_came_before_are_counted(store):
    assert (await store.read_fleet()).arrived == 4
    await submit(store)
    assert (await store.read_fleet()).arrived == 5
