"""Cost and waits of a run once more, from its log and its trace alone, with every rule of the world held against it."""

import math
import random
from collections import defaultdict
from statistics import NormalDist

import pytest

CLOSE = 2e-3
PHI_INV = NormalDist().inv_cdf


def draws(seed, median_s, p95_s, fail_p):
    """The recipe that everybody uses: (seconds to ready, fails) of launch 0, 1, 2 …"""
    dice = random.Random("referee-launch-" + str(seed))
    sigma = math.log(p95_s / median_s) / PHI_INV(0.95)
    while True:
        rank, fate, _ = dice.random(), dice.random(), dice.random()
        yield median_s * math.exp(sigma * PHI_INV(rank)), fate < fail_p


def recheck(rows, events, speed=1.0, *, losses=False):
    """Returns (leased seconds, waits by row). Asserts what no log may break."""
    meta, happened = events[0], events[1:]
    assert meta["e"] == "meta"
    assert [one["t"] for one in happened] == sorted(one["t"] for one in happened)
    jobs = _jobs(rows, happened, speed, meta["switch_s"])
    leases = _leases(happened, losses)
    _check_luck(leases, draws(meta["seed"], meta["median_s"], meta["p95_s"], meta["fail_p"]))
    assert _peak(happened) <= meta["max_nodes"]
    return sum(one["end"] - one["launch"] for one in leases.values()), jobs


def _jobs(rows, events, speed, switch_s):
    """Every job arrives as the trace says, runs alone on a ready machine, and ends once."""
    arrived, ready, busy, model, waits, done = set(), set(), {}, {}, {}, set()
    for one in events:
        node, row = one.get("node"), one.get("job")
        if one["e"] == "arrival":
            assert one["t"] == pytest.approx(rows[row].t_s / speed, abs=CLOSE)
            assert one["model"] == rows[row].model
            arrived.add(row)
        elif one["e"] == "ready":
            ready.add(node)
        elif one["e"] == "start":
            assert row in arrived - done
            assert row not in [held[0] for held in busy.values()]
            assert node in ready
            assert node not in busy
            assert one["switch_s"] == (0.0 if model.get(node) == rows[row].model else switch_s)
            model[node], busy[node] = rows[row].model, (row, one["t"] + one["switch_s"])
            waits[row] = busy[node][1] - rows[row].t_s / speed
        elif one["e"] == "finish":
            held, begun = busy.pop(node)
            assert held == row
            assert one["t"] == pytest.approx(begun + rows[row].service_s, abs=CLOSE)
            done.add(row)
        elif one["e"] in ("terminate", "fail"):
            assert one["e"] == "fail" or node not in busy
            busy.pop(node, None)
            ready.discard(node)
    assert arrived == done == set(range(len(rows)))
    return waits


def _leases(events, losses):
    """Each machine is launched once and ends once, and is ready at most once, between."""
    leases = defaultdict(dict)
    for one in events:
        kind = {"terminate": "end", "fail": "end"}.get(one["e"], one["e"])
        if kind not in ("launch", "ready", "end"):
            continue
        lease = leases[one["node"]]
        assert kind not in lease
        assert "end" not in lease
        assert kind == "launch" or "launch" in lease
        lease[kind] = one["t"]
        lease["failed"] = one["e"] == "fail"
        assert losses or not (lease["failed"] and "ready" in lease)
    assert all("end" in one for one in leases.values())
    return leases


def _check_luck(leases, luck):
    """The k-th launch has the k-th draw."""
    for node in sorted(leases):
        lease, (boot_s, fails) = leases[node], next(luck)
        if "ready" in lease:
            assert not fails
            assert lease["ready"] - lease["launch"] == pytest.approx(boot_s, abs=CLOSE)
        elif lease["failed"]:
            assert fails
            assert lease["end"] - lease["launch"] == pytest.approx(boot_s, abs=CLOSE)
        else:
            assert lease["end"] - lease["launch"] <= boot_s + CLOSE


def _peak(events):
    live = peak = 0
    for one in events:
        live += (one["e"] == "launch") - (one["e"] in ("terminate", "fail"))
        peak = max(peak, live)
    return peak
