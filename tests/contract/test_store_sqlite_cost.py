"""What the hot verbs cost, counted in steps of SQLite's virtual machine: never a function of the queue's length."""

import pytest
from store_world import new_job, ready

from orchestrator.store.protocol import GROUP_COUNT_MAX
from orchestrator.store.sqlite import attempts, claims, fleet, limits, open_sqlite, records, workers
from orchestrator.store.sqlite.claims import Asker

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


async def fill(store, numbers):
    """One queued job for each number, spread over the groups; quicker than submitting them."""
    await store._writer.do(
        lambda database: database.execute(
            """
            WITH RECURSIVE numbers (n) AS (SELECT ? UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
            INSERT INTO jobs (id, group_id, owner, engine, state, created_at, must_start_by, complete_by,
                max_time_s, retries, request_hash, metadata, input)
            SELECT 'copy-' || n, 1 + n % ?, owner, engine, 'queued', n, complete_by + n, complete_by + n,
                max_time_s, retries, request_hash, metadata, input
            FROM jobs CROSS JOIN numbers WHERE jobs.pk = 1
            """,
            (numbers.start, numbers.stop - 1, GROUPS),
        )
    )


def claim(database, nonce):
    assert claims.claim(database, Asker("w1", "i1", nonce, ()), 1.0) is not None


async def test_hot_verbs_cost_the_same_however_long_the_queue(store):
    await store.submit_jobs([new_job(priority=priority, complete_by=1e6) for priority in range(GROUPS)])
    await fill(store, range(10, 1_000))
    claim_short = await steps_of(store, claim, "one")
    overdue_short = await steps_of(store, limits.end_overdue, 1.0)
    fleet_short = await steps_of(store, fleet.read)
    await fill(store, range(1_000, 200_000))
    assert await steps_of(store, claim, "two") <= claim_short * 1.1
    assert await steps_of(store, limits.end_overdue, 1.0) <= overdue_short * 1.1
    # Each group had some two hundred jobs, and is counted up to GROUP_COUNT_MAX.
    assert await steps_of(store, fleet.read) <= fleet_short * (GROUP_COUNT_MAX / 190)
    assert claim_short < 2_000
    assert overdue_short < 500


@pytest.mark.parametrize("query", [workers._KNOWN_INSTANCES, records._HOST_FAULTS, attempts._OF_WORKER])
async def test_no_read_of_a_few_rows_goes_through_all(store, query):
    plan = await store._writer.do(
        lambda database: database.execute(f"EXPLAIN QUERY PLAN {query}", ("x",)).fetchall()
    )
    assert [step["detail"] for step in plan if step["detail"].startswith("SCAN")] == []
