"""What plans see of a worker between the end of its engine's work and the report that its job is done."""

import random

import quota_town
from quota_town import START

from gpulease.contract.jobs import Phase
from orchestrator.fleet.clouds.market import Market
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.observe import Observer
from orchestrator.store.rows import Held, Progress
from scaling.health import claims
from scaling.policy import Policy

town = quota_town.town


async def test_a_worker_that_hands_in_a_long_job_has_not_been_idle_since_the_one_before(town):
    """Its slot is free, its claim is to come, and its last finish lies long back: it asks for jobs all the same."""
    dispatcher = Dispatcher(town.store, town.clock, lambda _: None)
    market = Market({}, town.clock)
    observer = Observer(town.store, town.clock, market, dispatcher, random.Random(0), START, town.book)
    await town.worker("w1", capacity=1)
    await town.queue(1)
    claimed = await town.claim("w1")
    town.clock.advance(100.0)
    held = Held(claimed.attempt.id, "w1", "incarnation")
    handing_in = Progress(Phase.UPLOADING, 0.96)
    await town.store.report_progress(held, handing_in, now=town.clock.now())
    town.clock.advance(2.0)
    seen = (await observer.observe())[0].workers[0]
    assert (seen.running, seen.uploading, seen.idle_s) == ((), 1, 2.0)
    assert seen.busy
    assert claims(seen, Policy())
