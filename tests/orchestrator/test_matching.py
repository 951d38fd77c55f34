"""Which instance is whose."""

from orchestrator.fleet.clouds.matching import Memory, by_id, by_tag
from orchestrator.store.rows import Worker
from provider_clients.base import Instance
from scaling.states import WorkerState as W

WINDOW_S = 100.0


def row(name, state=W.READY, *, instance_id=None, creating_at=1000.0, gpu_class="a"):
    return Worker(
        id=name,
        provider="cloud",
        gpu_class=gpu_class,
        state=state,
        usd_per_hour=1.0,
        state_at=0.0,
        intended_at=0.0,
        buy_at=0.0,
        key_hash="",
        instance_id=instance_id,
        creating_at=creating_at,
    )


def machine(name, *, tag="", created_at=1010.0, gpu_class="a"):
    return Instance(name, tag, gpu_class, created_at=created_at)


def matched(instances, rows, known=None, **memory):
    return by_id(instances, rows, Memory(known or {}, WINDOW_S, **memory))


def names(found):
    return (
        {worker: one.id for worker, one in found.rows.items()},
        [one.id for one in found.orphans],
        [one.id for one in found.strangers],
    )


def test_tags_say_whose_it_is():
    listed = [
        machine("i1", tag="me-w1"),
        machine("i2", tag="me-w2"),
        machine("i3", tag="else-w1"),
        machine("i4"),
    ]
    assert names(by_tag(listed, [row("w1")], "me")) == ({"w1": "i1"}, ["i2"], ["i3", "i4"])


def test_without_tags_a_known_instance_is_its_rows():
    rows = [row("w1", instance_id="i1")]
    assert names(matched([machine("i1")], rows, {"i1": "w1"})) == ({"w1": "i1"}, [], [])


def test_an_instance_of_a_row_that_is_gone_is_an_orphan():
    assert names(matched([machine("i1")], [], {"i1": "w1"})) == ({}, ["i1"], [])


def test_an_unknown_one_inside_an_open_window_is_what_that_creation_made():
    for state in (W.CREATING, W.STOPPING):
        assert names(matched([machine("i1")], [row("w1", state)])) == ({"w1": "i1"}, [], [])


def test_a_window_takes_only_what_could_be_its_own():
    rows = [row("w1", W.CREATING)]
    for other in (
        machine("i1", created_at=900.0),
        machine("i1", created_at=1200.0),
        machine("i1", gpu_class="b"),
        machine("i1", created_at=None),
    ):
        assert names(matched([other], rows)) == ({}, [], ["i1"])


def test_a_resolved_creation_has_no_window():
    assert names(matched([machine("i2")], [row("w1", instance_id="i1")], {"i1": "w1"})) == ({}, [], ["i2"])
    assert names(matched([machine("i2")], [row("w1", W.INTENDED, creating_at=None)])) == ({}, [], ["i2"])


def test_each_window_takes_one_the_oldest_first():
    rows = [row("w2", W.CREATING, creating_at=1005.0), row("w1", W.CREATING)]
    assert names(matched([machine("i1"), machine("i2"), machine("i3")], rows)) == (
        {"w1": "i1", "w2": "i2"},
        [],
        ["i3"],
    )


def test_while_a_create_call_is_under_way_nothing_is_taken():
    seen = matched([machine("i1")], [row("w1", W.CREATING)], creating=True)
    assert (*names(seen), seen.open) == ({}, [], ["i1"], True)
    assert names(matched([machine("i1")], [], creating=True, exclusive=True)) == ({}, [], ["i1"])


def test_on_an_exclusive_account_there_are_no_strangers():
    assert names(matched([machine("i1")], [], exclusive=True)) == ({}, ["i1"], [])
