"""What must be true of a fleet's world when it has run its course. Each returns what is wrong, in words."""

from typing import Any

from orchestrator.fleet.costs import lease_usd
from scaling.states import TERMINAL_JOBS, AttemptState, JobState

CENT = 0.01


async def judge(world: Any) -> list[str]:
    """Everything that is wrong with it; nothing, as it should be."""
    found = list(world.broken)
    for law in (jobs_ended, one_result_each, nothing_runs, nothing_leased, ledger_is_the_bill):
        found += await law(world)
    return found


async def jobs_ended(world: Any) -> list[str]:
    jobs = {one.id: one for one in await world.jobs()}
    lost = [f"job {one} was accepted and is not there" for one in world.asked if one not in jobs]
    return lost + [f"job {one.id} is {one.state}" for one in jobs.values() if one.state not in TERMINAL_JOBS]


async def one_result_each(world: Any) -> list[str]:
    found = []
    for job in await world.jobs():
        attempts = await world.store.list_attempts(job.id)
        won = [one.id for one in attempts if one.state is AttemptState.SUCCEEDED]
        if len(won) != (job.state is JobState.SUCCEEDED):
            found.append(f"job {job.id} is {job.state}, and these attempts won: {won}")
        elif won and (job.attempt_id != won[0] or job.result.text != f"{job.id}/{won[0]}"):
            found.append(f"job {job.id} shows the result {job.result} of {job.attempt_id}, but {won[0]} won")
    return found


async def nothing_runs(world: Any) -> list[str]:
    fleet = await world.store.read_fleet()
    return [f"attempt {one.id} of {job.id} still runs" for one, job in fleet.attempts]


async def nothing_leased(world: Any) -> list[str]:
    rows = [f"row {one.id} is {one.state}" for one in await world.alive()]
    return rows + [f"{one.instance} is still billed" for one in world.machines.leased()]


async def ledger_is_the_bill(world: Any) -> list[str]:
    """To the cent, orphans included. What strangers cost is theirs, and nobody can know of what was never shown."""
    now = world.clock.now()
    machines = [(cloud, one) for cloud in world.clouds.values() for one in cloud.ours()]
    unseen = {one.spec.worker_id for cloud, one in machines if one.instance.id not in cloud.seen}
    leases = await world.store.list_leases(since=0.0)
    ledger = sum(lease_usd(one, now) for one in leases if one.worker_id not in unseen)
    bill = sum(one.billed_usd(now) for _, one in machines if one.spec.worker_id not in unseen)
    return [] if abs(ledger - bill) < CENT else [f"the ledger says {ledger:.4f} USD, the clouds {bill:.4f}"]


async def paid_and_ideal_usd(world: Any) -> tuple[float, float]:
    """What the clouds bill, and what one machine of the cheapest kind would cost that boots once a burst, does the
    jobs that succeeded one after the other, and is let go at once.
    """
    paid = sum(
        machine.billed_usd(world.clock.now()) for cloud in world.clouds.values() for machine in cloud.ours()
    )
    cheapest = min(world.scenario.clouds, key=lambda one: one.usd_per_hour)
    busy_s = 0.0
    for job in await world.jobs():
        for one in await world.store.list_attempts(job.id):
            if one.state is AttemptState.SUCCEEDED:
                busy_s += (one.slot_freed_at or one.ended_at) - one.started_at
    boots_s = world.scenario.bursts() * cheapest.boot_s
    return paid, (busy_s + boots_s) * cheapest.usd_per_hour / 3600
