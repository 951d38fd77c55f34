"""`gpulease audit`: who changed what."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from gpulease.cli.terminal import AsJson, client_of, harmless, show_json, show_table


def audit(
    context: typer.Context,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 3660, help="How far back.")] = 24.0,
    who: Annotated[str | None, typer.Option(help="Such as user:ID.")] = None,
    what: Annotated[str | None, typer.Option(help="Such as key.revoke.")] = None,
    target: Annotated[str | None, typer.Option(help="The id of what was changed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Shows who changed what, and from where, oldest first. For admins."""
    since = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    given = {"who": who, "what": what, "target": target, "since": since}
    with client_of(context) as client:
        found = list(client.audit(**{name: value for name, value in given.items() if value is not None}))
    if as_json:
        show_json(found)
        return
    columns = ("at", "who", "from", "what", "target", "changed")
    show_table(columns, (_row(one) for one in found), empty="Nothing was changed.")


def _row(row: dict[str, Any]) -> list[object]:
    shown = (row["at"], row["who"], row["origin"], row["what"], row["target"], _changed(row))
    return [harmless(str(one)) for one in shown]


def _changed(row: dict[str, Any]) -> str:
    """The fields that differ, and what they are now."""
    before, after = row["before"] or {}, row["after"] or {}
    if not before or not after:
        return ""
    return ", ".join(f"{name}={after[name]}" for name in after if after[name] != before.get(name))
