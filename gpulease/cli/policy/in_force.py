"""`gpulease policy`: the policy in force, shown and changed; what it did is explained, and others are tried."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Annotated, Any

import typer

from gpulease.cli.policy.explain import explain
from gpulease.cli.policy.trying import try_policy
from gpulease.cli.terminal import AsJson, client_of, show_json, show_table
from scaling.policy import Policy

FIELDS = frozenset(one.name for one in fields(Policy))
app = typer.Typer(help="Shows and changes the policy that the fleet is scaled by.", no_args_is_help=True)


app.command()(explain)
app.command(name="try")(try_policy)


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Shows the policy in force."""
    with client_of(context) as client:
        _show(client.policy(), as_json=as_json)


@app.command(name="set")
def set_policy(
    context: typer.Context,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE…",
            help="Such as target_p95_s=60, aim=cheap, limits.workers_max=20 or knobs.min_replicas=1; none unsets.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Changes what is named and leaves the rest. Another policy's name drops the knobs of the one before."""
    asked = [_pair(one) for one in changes]
    with client_of(context) as client:
        _show(client.set_policy(changed(client.policy(), asked)), as_json=as_json)


def changed(policy: dict[str, Any], asked: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The policy with these values. A name that no policy has is left to the server to refuse."""
    given = dict(asked)
    after = dict(policy)
    if given.get("name", policy.get("name")) != policy.get("name"):
        after["knobs"] = {}
    for name, value in asked:
        outer, dot, inner = name.partition(".")
        if not dot:
            after[name] = value
        elif outer not in FIELDS or not isinstance(after.get(outer, {}), dict):
            raise typer.BadParameter(f"the policy has no {name!r}", param_hint="NAME=VALUE")
        else:
            after[outer] = _put(after.get(outer, {}), inner.split("."), value)
    for mapping in ("knobs", "queue_wait_s"):
        if isinstance(held := after.get(mapping), dict):
            after[mapping] = {name: value for name, value in held.items() if value is not None}
    return after


def _put(before: dict[str, Any], names: list[str], value: Any) -> dict[str, Any]:
    """`provider_limits.salad.workers_max` has two names to go."""
    name, *rest = names
    held = before.get(name)
    return {**before, name: _put(held if isinstance(held, dict) else {}, rest, value) if rest else value}


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, None if value.lower() == "none" else value


def _show(policy: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(policy)
        return
    rows = ([name, _shown(value)] for name, value in _flat(policy))
    show_table(("setting", "value"), rows, empty="No policy.")


def _flat(policy: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in policy.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    return "-" if value is None or value == {} else json.dumps(value).strip('"')
