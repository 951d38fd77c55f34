"""The integers by which other systems' clients know what is ours."""

import asyncio

import store_world
from store_world import submit

store = store_world.store


async def test_numbers_count_from_1_within_a_surface_and_a_kind(store):
    given = [await store.alias("farm", "task", target, "ann") for target in ("a", "b", "a")]
    assert given == [1, 2, 1]
    assert await store.alias("farm", "user", "a", "ann") == 1
    assert await store.alias("tasks", "task", "c", "bob") == 1
    assert await store.aliases("farm", "task", ["b", "nope", "a"]) == {"a": 1, "b": 2}
    assert await store.aliases("farm", "task", []) == {}
    assert await store.resolve_alias("farm", "task", 2) == "b"


async def test_a_number_that_nobody_was_given_stands_for_nothing(store):
    for number in (0, -1, 3, 2**70):
        assert await store.resolve_alias("farm", "task", number) is None


async def test_one_number_however_many_ask_at_once(store):
    given = await asyncio.gather(*[store.alias("farm", "task", "a", "ann") for _ in range(20)])
    assert set(given) == {1}


async def test_the_number_of_what_was_forgotten_is_not_given_again(store):
    jobs = [await submit(store) for _ in range(3)]
    for job in jobs:
        await store.alias("farm", "task", job.id, "ann")
        await store.alias("tasks", "task", job.id, "ann")
        await store.cancel_job(job.id, who="a", reason="b", now=5.0)
    await store.forget_job(jobs[2].id, now=6.0)
    await store.purge(finished_before=9.0, now=9.0)
    for surface in ("farm", "tasks"):
        assert await store.aliases(surface, "task", [job.id for job in jobs]) == {}
        assert await store.resolve_alias(surface, "task", 3) is None
        assert await store.alias(surface, "task", "new", "ann") == 4
