"""What must hold after a chaos run, each as a name and what breaks it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from money import Line
from world import World

CENT = 0.01
BILLED_USD_MIN = 0.10
SHOWN = 10


@dataclass(frozen=True)
class Outcome:
    """All that is known in the end. `orphans` are the instances that were planted."""

    world: World
    jobs: Mapping[str, dict[str, Any]]
    lines: list[Line]
    orphans: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    name: str
    broken: tuple[str, ...]


def check_all(outcome: Outcome) -> list[Check]:
    rules: dict[str, Callable[[Outcome], Iterator[str]]] = {
        "every job succeeded": _succeeded,
        "one published result a job": _one_result,
        "one webhook id a job": _webhooks,
        "nothing lives at the clouds": _live,
        "nothing is leased": _leased,
        "every instance is in the ledger, once": _accounted,
        "ledger and bill agree to the cent": _to_the_cent,
        "the clouds' rules were kept": _violations,
    }
    return [Check(name, tuple(rule(outcome))) for name, rule in rules.items()]


def _succeeded(outcome: Outcome) -> Iterator[str]:
    for job_id, job in outcome.jobs.items():
        if job["status"] != "succeeded":
            yield f"{job_id} {job['status']}: {job['fault']}, {len(job['attempts'])} attempts"


def _one_result(outcome: Outcome) -> Iterator[str]:
    """By the attempts, by the moves of the job, and by what can be fetched."""
    for job_id, job in outcome.jobs.items():
        won = [one for one in job["attempts"] if one["state"] == "succeeded"]
        if job["status"] == "succeeded" and len(won) != 1:
            yield f"{job_id}: {len(won)} attempts succeeded"
        moves = [one["after"] for one in outcome.world.get(f"/v1/jobs/{job_id}/events")["items"]]
        if moves.count(job["status"]) != 1:
            yield f"{job_id}: it ended {moves.count(job['status'])} times"
        for file in (job["result"] or {}).get("files", ()):
            if not file["key"].startswith(f"jobs/{job_id}/{won[0]['attempt']}/"):
                yield f"{job_id}: {file['key']} is not of the attempt that won"
            size_bytes = len(httpx.get(file["url"], trust_env=False).content)
            if size_bytes != file["size_bytes"]:
                yield f"{job_id}: {file['name']} has {size_bytes} bytes, not {file['size_bytes']}"


def _webhooks(outcome: Outcome) -> Iterator[str]:
    receiver = outcome.world.clouds.receiver
    owner: dict[str, str] = {}
    for job_id, job in outcome.jobs.items():
        ids = set(receiver.taken.get(job_id, ()))
        if len(ids) != 1:
            yield f"{job_id}: webhook ids {sorted(ids) or 'none'}"
        for one in ids:
            if owner.setdefault(one, job_id) != job_id:
                yield f"{one} came for {job_id} and for {owner[one]}"
        told = receiver.statuses.get(job_id)
        if told is not None and (told == "success") != (job["status"] == "succeeded"):
            yield f"{job_id} {job['status']}, but its webhook says {told}"


def _live(outcome: Outcome) -> Iterator[str]:
    yield from outcome.world.clouds.live()


def _leased(outcome: Outcome) -> Iterator[str]:
    for one in outcome.world.leased():
        yield f"{one['id']} of {one['provider']} is {one['state']}"


def _accounted(outcome: Outcome) -> Iterator[str]:
    for line in outcome.lines:
        if line.ledger is None:
            yield f"{line.provider} bills {line.instance}, and the ledger has no such instance"
        elif line.bill is None and line.ledger > 0:
            yield f"{line.worker} is in the ledger for {line.instance}, which {line.provider} bills not or once"
    known = {line.instance for line in outcome.lines if line.ledger is not None}
    yield from (f"the orphan {name} is not in the ledger" for name in outcome.orphans if name not in known)


def _to_the_cent(outcome: Outcome) -> Iterator[str]:
    """Of the sum of all differences, so that two of them cannot make up for each other."""
    off = sum(line.off for line in outcome.lines)
    if off >= CENT:
        wrong = [line for line in outcome.lines if line.off >= CENT / SHOWN]
        for line in sorted(wrong, key=lambda one: -one.off) or outcome.lines:
            worker = line.worker or "nobody"
            yield f"{line.provider} {line.instance} ({worker}): ledger {line.ledger}, bill {line.bill}"
    billed = sum(line.bill or 0.0 for line in outcome.lines)
    if billed < BILLED_USD_MIN:
        yield f"only {billed:.2f} USD were billed, so the cent means little"


def _violations(outcome: Outcome) -> Iterator[str]:
    yield from outcome.world.clouds.salad.violations[:SHOWN]
