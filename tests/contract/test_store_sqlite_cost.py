"""What the hot verbs cost, counted in steps of SQLite's virtual machine: never a function of the queue's length."""

import pytest
from store_world import new_job, ready

from orchestrator.store.protocol import GROUP_COUNT_MAX
from orchestrator.store.rows import JobFilter, Sight
from orchestrator.store.sqlite import attempts, claims, fleet, limits, open_sqlite, records, workers
from orchestrator.store.sqlite.accounts import aliases, loads, projects
from orchestrator.store.sqlite.claims import Asker
from orchestrator.store.sqlite.values import need_from
from scaling.states import JobState

GROUPS = 5


class Steps:
    """Counts the steps of one connection, ten at a time."""

    def __init__(self, database):
        self._connection = database.conn
        self.count = 0

    def __enter__(self):
        self._connection.set_progress_handler(self._tick, 10)
        return self

    def __exit__(self, *exception):
        self._connection.set_progress_handler(None, 10)

    def _tick(self):
        self.count += 10
        return 0


@pytest.fixture
async def store(tmp_path):
    opened = await open_sqlite(tmp_path / "a.db")
    await ready(opened, capacity=100)
    yield opened
    await opened.aclose()


async def steps_of(store, verb, *arguments):
    database = store._writer._database

    def counted(_):
        with Steps(database) as steps:
            verb(database, *arguments)
        return steps.count

    return await store._writer.do(counted)


async def fill(store, numbers, project="project"):
    """One queued job for each number, spread over the groups; quicker than submitting them."""
    await store._writer.do(
        lambda database: database.execute(
            f"""
            WITH RECURSIVE numbers (n) AS (SELECT ? UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
            INSERT INTO jobs (id, group_id, owner, project, engine, state, created_at, must_start_by, complete_by,
                max_time_s, retries, request_hash, metadata, input)
            SELECT 'copy-' || n, 1 + n % ?, owner, {project}, engine, 'queued', n, complete_by + n, complete_by + n,
                max_time_s, retries, request_hash, metadata, input
            FROM jobs CROSS JOIN numbers WHERE jobs.pk = 1
            """,
            (numbers.start, numbers.stop - 1, GROUPS),
        )
    )


def claim(database, nonce):
    assert claims.claim(database, Asker("w1", "i1", nonce, ()), 1.0) is not None


def claim_among_held(database, nonce):
    """Of the groups all but one are held whole, whatever they have."""
    held = [need_from(text) for (text,) in database.execute("SELECT need FROM job_groups ORDER BY id")][1:]
    bounds = claims.Bounds(holds=dict.fromkeys(held, 100))
    assert claims.claim(database, Asker("w1", "i1", nonce, ()), 1.0, bounds) is not None


async def test_hot_verbs_cost_the_same_however_long_the_queue(store):
    await store.submit_jobs([new_job(priority=priority, complete_by=1e6) for priority in range(GROUPS)])
    await fill(store, range(10, 1_000))
    claim_short = await steps_of(store, claim, "one")
    overdue_short = await steps_of(store, limits.end_overdue, 1.0)
    fleet_short = await steps_of(store, fleet.read)
    await fill(store, range(1_000, 200_000))
    assert await steps_of(store, claim, "two") <= claim_short * 1.1
    assert await steps_of(store, limits.end_overdue, 1.0) <= overdue_short * 1.1
    # Each group had some two hundred jobs, and is counted and asked for its ages up to GROUP_COUNT_MAX.
    assert await steps_of(store, fleet.read) <= fleet_short * (GROUP_COUNT_MAX / 190) * 1.1
    assert claim_short < 2_000
    assert overdue_short < 500


async def test_claims_among_held_jobs_cost_what_is_held_and_not_what_waits(store):
    await store.submit_jobs([new_job(priority=priority, complete_by=1e6) for priority in range(GROUPS)])
    await fill(store, range(10, 2_000))
    short = await steps_of(store, claim_among_held, "one")
    await fill(store, range(2_000, 100_000))
    assert await steps_of(store, claim_among_held, "two") <= short * 1.1


async def plan_of(store, query, values):
    """What it goes through row by row, and what it must sort."""
    plan = await store._writer.do(
        lambda database: database.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
    )
    return [step["detail"] for step in plan if step["detail"].startswith(("SCAN", "USE TEMP"))]


@pytest.mark.parametrize("query", [workers._KNOWN_INSTANCES, records._HOST_FAULTS, attempts._OF_WORKER])
async def test_no_read_of_a_few_rows_goes_through_all(store, query):
    assert [step for step in await plan_of(store, query, ("x",)) if step.startswith("SCAN")] == []


@pytest.mark.parametrize("query", [aliases._OF_TARGETS, projects._OF_MEMBER, projects._MEMBERSHIPS])
async def test_no_read_of_ones_own_goes_through_everybodys(store, query):
    named = {"member": "x", "after": "", "limit": 9}
    values = named if ":member" in query else ("x",) * query.count("?")
    assert await plan_of(store, query, values) in ([], ["SCAN t VIRTUAL TABLE INDEX 1:"])


@pytest.mark.parametrize(
    "which",
    [
        {"owner": "x"},
        {"project": "x"},
        {"project": "x", "created_after": 5.0},
        {"owner": "x", "project": "x"},
        {"owner": "x", "state": JobState.QUEUED},
        {"project": "x", "state": JobState.QUEUED},
    ],
)
async def test_every_part_of_what_is_seen_is_read_in_order(store, which):
    query, asked = fleet._listing(fleet._PLACES, JobFilter(**which), (9.0, "j"))
    assert await plan_of(store, query, asked | {"limit": 9}) == []


async def test_one_owner_does_not_pay_for_the_jobs_of_others(store):
    """Another's 200,000 jobs, and what they spent."""
    sight = Sight("ann", ("p1",))
    bobs = [
        new_job(owner="bob", project="p1", priority=priority, complete_by=1e6) for priority in range(GROUPS)
    ]
    await store.submit_jobs([*bobs, new_job(owner="ann", project="p1", complete_by=1e6)])
    reads = [
        (loads.load, "ann", None),
        (loads.load, "ann", "p1"),
        (loads.spent, "ann", None, 0.0, 1e6),
        (loads.spent, None, "p1", 0.0, 1e6),
        (fleet.list_jobs, JobFilter(seen_by=sight), None, 50),
    ]
    before = [await steps_of(store, *read) for read in reads]
    await fill(store, range(10, 200_000), project="''")
    await store._writer.do(lambda database: database.execute(SPENT_BY_OTHERS))
    after = [await steps_of(store, *read) for read in reads]
    assert all(steps <= was * 1.5 + 50 for was, steps in zip(before, after, strict=True)), (before, after)


SPENT_BY_OTHERS = """
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 50000)
    INSERT INTO spending (owner, project, held_from, held_until, usd_per_hour)
    SELECT 'bob', '', n, n + 1, 1 FROM numbers
"""
