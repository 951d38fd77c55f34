"""What a chaos run tells: one dict of plain values, shown as tables or as JSON."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from checks import SHOWN, Check, Outcome
from money import CLOUDS, ORPHAN, totals
from rich.console import Console
from rich.table import Table

LOST_SHOWN = 40


def summary(outcome: Outcome, checks: list[Check], met: Mapping[str, int]) -> dict[str, Any]:
    """Made while the world still runs. `met` are the faults that the clouds brought, by cloud and name."""
    workers = outcome.world.get("/v1/workers", include_gone=True, limit=1000)["items"]
    providers = {one["id"]: one["provider"] for one in workers}
    lines, receiver = outcome.lines, outcome.world.clouds.receiver
    attempts = [one for job in outcome.jobs.values() for one in job["attempts"]]
    won = [one["worker_id"] for one in attempts if one["state"] == "succeeded"]
    money = {}
    for name in CLOUDS:
        ledger, bill = totals(lines, name)
        money[name] = {"ledger_usd": ledger, "bill_usd": bill}
    return {
        "ok": not any(check.broken for check in checks),
        "jobs": len(outcome.jobs),
        "jobs_done_by": Counter(providers.get(one, "?") for one in won),
        "attempts": Counter(one["state"] for one in attempts),
        "lost": list(_lost(outcome, providers)),
        "instances": {name: sum(one.provider == name for one in lines) for name in CLOUDS},
        "faults": {name: count for name, count in sorted(met.items()) if count},
        "orphans_planted": len(outcome.orphans),
        "orphans_swept": sum(one.worker.startswith(ORPHAN) and one.ledger is not None for one in lines),
        "webhooks_refused": receiver.refused,
        "webhooks_taken": sum(map(len, receiver.taken.values())),
        "money": money,
        "off_usd": sum(one.off for one in lines),
        "checks": {check.name: list(check.broken) for check in checks},
    }


def _lost(outcome: Outcome, providers: Mapping[str, str]) -> Iterator[str]:
    """Every attempt that did not win, with why."""
    for job_id, job in outcome.jobs.items():
        for one in job["attempts"]:
            if one["state"] != "succeeded":
                fault = one["fault"] or {}
                why = f"{fault.get('code', '')}: {fault.get('message', '')}"[:140]
                where = f"{providers.get(one['worker_id'], '?')} {one['worker_id']}"
                yield f"job {job_id[:8]}, attempt {one['number']}, {one['state']} on {where}: {why}"


def show(told: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(told, indent=2))
        return
    console = Console(width=130, highlight=False)
    for table in (_counts(told), _money(told), _checks(told)):
        console.print(table)
    for one in told["lost"][:LOST_SHOWN]:
        console.print(one, markup=False)
    verdict = "All checks hold." if told["ok"] else "BROKEN."
    console.print(f"{verdict} {told['wall_s']:.0f} s. Logs: {told['logs']}")


def _counts(told: Mapping[str, Any]) -> Table:
    found = Table("what", "how many", title="Jobs, machines, faults")
    found.add_row("jobs", str(told["jobs"]))
    for title, key in (("done by", "jobs_done_by"), ("attempts", "attempts"), ("instances of", "instances")):
        for name, count in sorted(told[key].items()):
            found.add_row(f"{title} {name}", str(count))
    for name, count in told["faults"].items():
        found.add_row(f"met: {name.replace('_', ' ')}", str(count))
    for key in ("orphans_planted", "orphans_swept", "webhooks_taken", "webhooks_refused"):
        found.add_row(key.replace("_", " "), str(told[key]))
    return found


def _money(told: Mapping[str, Any]) -> Table:
    found = Table("USD", "ledger", "bill", "off", title="Money")
    for name, sums in told["money"].items():
        ledger, bill = sums["ledger_usd"], sums["bill_usd"]
        found.add_row(name, f"{ledger:.6f}", f"{bill:.6f}", f"{ledger - bill:+.6f}")
    found.add_row("all differences, none made up for", "", "", f"{told['off_usd']:.6f}")
    return found


def _checks(told: Mapping[str, Any]) -> Table:
    found = Table("check", "", title="Checks")
    for name, broken in told["checks"].items():
        shown = "\n".join((f"{len(broken)} broken", *broken[:SHOWN])) if broken else "holds"
        found.add_row(name, shown)
    return found
