"""The SQLite store when things go wrong around it: locks, full disks, kills, cancelled callers, closing."""

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from stopwatch import Stopwatch
from store_world import begun, finish, new_job, ready, submit

from orchestrator.store import rows
from orchestrator.store.errors import SchemaTooNew, StoreBusy, StoreClosed, StoreFull
from orchestrator.store.people import AuditFilter
from orchestrator.store.sqlite import open_sqlite
from scaling.states import ATTEMPT_MOVES, JOB_MOVES, WORKER_MOVES

ROOT = Path(__file__).parents[2]
HOLD = """
    import sqlite3, sys, time
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    connection.execute("COMMIT")
"""
SUBMIT_FOREVER = """
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from store_world import submit
    from orchestrator.store.sqlite import open_sqlite

    async def one(store):
        while True:
            print((await submit(store)).id, flush=True)

    async def main():
        store = await open_sqlite(Path(sys.argv[1]))
        await asyncio.gather(*[one(store) for _ in range(8)])

    asyncio.run(main())
"""

CHANGE_FOREVER = """
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from orchestrator.store.people import By, User
    from orchestrator.store.sqlite import open_sqlite

    async def one(store, name):
        by = By(f"user:{name}", "k1", "127.0.0.1")
        await store.add_user(User(name, name, "viewer", 0.0), by=by)
        version = 1
        while True:
            version += 1
            await store.change_user(name, {"session_version": version}, by=by, now=float(version))
            print(name, version, flush=True)

    async def main():
        store = await open_sqlite(Path(sys.argv[1]))
        await asyncio.gather(*[one(store, f"u{number}") for number in range(8)])

    asyncio.run(main())
"""


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)


def held_by_another(path: Path, seconds: float) -> subprocess.Popen[str]:
    holder = run(HOLD, path, seconds)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


@pytest.fixture
async def path(tmp_path):
    return tmp_path / "data" / "a.db"


@pytest.mark.parametrize("seconds", [2.0, pytest.param(20.0, marks=pytest.mark.slow)])
async def test_verbs_wait_for_another_process_and_pages_do_not(path, seconds):
    store = await open_sqlite(path)
    job = await submit(store)
    await ready(store)
    with held_by_another(path, seconds):
        since = time.monotonic()
        with Stopwatch() as took:
            writes = [asyncio.create_task(submit(store)) for _ in range(20)]
            writes.append(asyncio.create_task(begun(store)))
            assert (await store.get_job(job.id)) == job
            assert len((await store.read_fleet()).groups) == 1
        assert took.seconds < seconds / 2
        await asyncio.gather(*writes)
        assert time.monotonic() - since > seconds / 2
    assert len(await store.list_jobs(rows.JobFilter(), before=None, limit=100)) == 21
    await store.aclose()


async def test_a_lock_held_for_too_long_is_busy_and_later_verbs_succeed(path):
    store = await open_sqlite(path, busy_s=0.2)
    with held_by_another(path, 1.5), pytest.raises(StoreBusy):
        await submit(store)
    await submit(store)
    assert len(await store.list_jobs(rows.JobFilter(), before=None, limit=9)) == 1
    await store.aclose()


async def test_a_full_disk_leaves_nothing_half_written(path):
    store = await open_sqlite(path)
    before = await submit(store)
    database = store._writer._database
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages + 20}")
    batches = [[new_job(input={"text": "x" * 5_000}) for _ in range(10)] for _ in range(4)]
    answers = await asyncio.gather(*[store.submit_jobs(one) for one in batches], return_exceptions=True)
    assert {type(one) for one in answers} == {StoreFull}
    assert await store.list_jobs(rows.JobFilter(), before=None, limit=99) == [before]
    assert len(await store.list_events()) == 1
    database.execute("PRAGMA max_page_count = 1000000")
    await store.submit_jobs(batches[0])
    assert len(await store.list_jobs(rows.JobFilter(), before=None, limit=99)) == 11
    await store.aclose()


async def submit_until_full(store):
    acknowledged = []
    try:
        while len(acknowledged) < 10_000:
            acknowledged.append(await submit(store, input={"text": "x" * 3_000}))
    except StoreFull:
        return acknowledged
    raise AssertionError("the disk never filled")


async def test_a_full_disk_does_not_undo_what_was_acknowledged(path):
    store = await open_sqlite(path)
    database = store._writer._database
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages + 60}")
    acknowledged = await submit_until_full(store)
    assert acknowledged
    await store.aclose()
    store = await open_sqlite(path)
    assert [await store.get_job(one.id) for one in acknowledged] == acknowledged
    await store.aclose()


async def test_what_was_acknowledged_survives_kill_9(path):
    with run(SUBMIT_FOREVER, path, Path(__file__).parent) as writer:
        assert writer.stdout is not None
        said = "".join(writer.stdout.readline() for _ in range(200))
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read()
    whole_lines, _, _ = said.rpartition("\n")
    acknowledged = whole_lines.splitlines()
    store = await open_sqlite(path)
    found = {one.id for one in await store.list_jobs(rows.JobFilter(), before=None, limit=100_000)}
    assert set(acknowledged) <= found
    assert len(await store.list_events(limit=100_000)) == len(found)
    await store.aclose()


async def test_a_change_and_its_audit_row_survive_kill_9_together(path):
    with run(CHANGE_FOREVER, path, Path(__file__).parent) as writer:
        assert writer.stdout is not None
        said = "".join(writer.stdout.readline() for _ in range(200))
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read()
    whole_lines, _, _ = said.rpartition("\n")
    acknowledged = {name: int(version) for name, version in map(str.split, whole_lines.splitlines())}
    store = await open_sqlite(path)
    for user in await store.list_users():
        assert user.session_version >= acknowledged[user.id]
        rows_of = await store.list_audit(AuditFilter(who=f"user:{user.id}"), limit=100_000)
        versions = [row.after["session_version"] for row in rows_of]
        assert versions == list(range(1, user.session_version + 1))
    await store.aclose()


async def test_a_cancelled_caller_does_not_break_the_writer(path):
    store = await open_sqlite(path)
    for _ in range(5):
        tasks = [asyncio.create_task(submit(store)) for _ in range(20)]
        await asyncio.sleep(0.001)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert not any(isinstance(one, BaseException) for one in answers[1::2])
    jobs = await store.list_jobs(rows.JobFilter(), before=None, limit=1000)
    assert 50 <= len(jobs) <= 100
    assert len(await store.list_events(limit=1000)) == len(jobs)
    await store.aclose()


async def test_a_bug_in_one_verb_is_its_own(path):
    store = await open_sqlite(path)

    def half(database):
        database.execute("INSERT INTO settings VALUES ('half', '1', 0, 'x')")
        raise ZeroDivisionError

    writes = [store._writer.do(half), submit(store), store._writer.do(half), submit(store)]
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(one) for one in answers] == [ZeroDivisionError, rows.Job, ZeroDivisionError, rows.Job]
    assert await store.read_setting("half") is None
    await store.aclose()


async def test_closing_does_what_waits_and_refuses_what_comes_after(path):
    store = await open_sqlite(path)
    tasks = [asyncio.create_task(submit(store)) for _ in range(600)]
    await asyncio.sleep(0)
    await store.aclose()
    await store.aclose()
    jobs = await asyncio.gather(*tasks)
    with pytest.raises(StoreClosed):
        await submit(store)
    with pytest.raises(StoreClosed):
        await store.get_job("any")
    again = await open_sqlite(path)
    assert len(await again.list_jobs(rows.JobFilter(), before=None, limit=1000)) == len(jobs)
    await again.aclose()


async def test_everything_is_there_after_a_restart(path):
    store = await open_sqlite(path)
    job = await submit(store, notify_url="https://example.org")
    await ready(store)
    held = await begun(store)
    await store.aclose()
    store = await open_sqlite(path)
    assert await finish(store, held) is rows.Verdict.APPLIED
    await store.aclose()
    store = await open_sqlite(path)
    assert await finish(store, held) is rows.Verdict.REPEATED
    assert len(await store.list_deliveries(job.id)) == 1
    await store.aclose()


async def test_an_attempt_id_is_never_used_twice(path):
    store = await open_sqlite(path)
    await ready(store)
    await submit(store)
    first = await begun(store)
    await finish(store, first, at=2.0)
    await store.purge(finished_before=9.0, now=9.0)
    await submit(store)
    assert (await begun(store)).attempt_id > first.attempt_id
    await store.aclose()


async def test_a_claim_undone_by_a_power_cut_leaves_its_id_unused(path, tmp_path):
    store = await open_sqlite(path)
    await ready(store, capacity=3)
    for _ in range(3):
        await submit(store)
    await finish(store, await begun(store))
    shutil.copytree(path.parent, tmp_path / "on-disk")
    zombie = await begun(store)
    await store.aclose()
    store = await open_sqlite(tmp_path / "on-disk" / path.name)
    assert (await begun(store)).attempt_id != zombie.attempt_id
    assert await finish(store, zombie) is rows.Verdict.STALE
    await store.aclose()


async def test_only_its_owner_may_read_the_database(path):
    store = await open_sqlite(path)
    await submit(store)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.aclose()


async def test_two_programs_may_open_a_new_database_at_once(path):
    stores = await asyncio.gather(*[open_sqlite(path) for _ in range(4)])
    for store in stores:
        await submit(store)
    assert len(await stores[0].list_jobs(rows.JobFilter(), before=None, limit=9)) == 4
    for store in stores:
        await store.aclose()


async def test_a_database_of_a_newer_version_is_refused(path):
    await (await open_sqlite(path)).aclose()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('orchestrator', '9999_x', '')"
        )
    connection.close()
    with pytest.raises(SchemaTooNew, match="9999_x"):
        await open_sqlite(path)


@pytest.mark.parametrize(
    ("table", "moves"), [("jobs", JOB_MOVES), ("attempts", ATTEMPT_MOVES), ("workers", WORKER_MOVES)]
)
async def test_the_schema_itself_refuses_illegal_moves(path, table, moves):
    await (await open_sqlite(path)).aclose()
    connection = sqlite3.connect(path, isolation_level=None)
    [sql] = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (f"{table}_moves",)).fetchone()
    for before in moves:
        for after in moves:
            legal = f"(OLD.state = '{before}' AND NEW.state = '{after}')" in sql
            assert legal == (after in moves[before])
    [sql] = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    assert f"CHECK (state IN ({', '.join(repr(str(one)) for one in moves)}))" in sql
    connection.close()


async def test_an_illegal_move_is_refused_whoever_writes_it(path):
    store = await open_sqlite(path)
    job = await submit(store)
    await store.cancel_job(job.id, who="a", reason="b", now=1.0)
    with (
        sqlite3.connect(path) as connection,
        pytest.raises(sqlite3.IntegrityError, match="illegal move of jobs"),
    ):
        connection.execute("UPDATE jobs SET state = 'queued', finished_at = NULL, fault = NULL")
    connection.close()
    await store.aclose()
