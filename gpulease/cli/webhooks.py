"""`gpulease webhooks`: what was told of jobs, and to whom; sent again; and the secret that signs it."""

from typing import Annotated, Any

import typer

from gpulease.cli.terminal import AsJson, client_of, err, out, show_json, show_table

Number = Annotated[int, typer.Argument(min=1, metavar="DELIVERY", help="The delivery's number.")]
MaybeNumber = Annotated[
    int | None, typer.Argument(min=1, metavar="[DELIVERY]", help="One delivery's number.")
]
JobId = Annotated[str | None, typer.Option("--job", help="Only those of this job.")]
Owner = Annotated[str | None, typer.Option(help="Only those of this user; for operators.")]
app = typer.Typer(
    help="Lists and replays webhooks, and shows the secret that signs them.", no_args_is_help=True
)


@app.command(name="list")
def list_deliveries(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="pending, arrived or failed.")] = None,
    job_id: JobId = None,
    owner: Owner = None,
    as_json: AsJson = False,
) -> None:
    """Lists deliveries, oldest first. `failed` are those that were given up."""
    with client_of(context) as client:
        found = list(client.deliveries(**_given(state=state, job_id=job_id, owner=owner)))
    if as_json:
        show_json(found)
        return
    columns = ("id", "job", "state", "tries", "url", "why not")
    show_table(columns, (_row(one) for one in found), empty="No webhooks.")


@app.command()
def show(context: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Shows one delivery with all its tries."""
    with client_of(context) as client:
        found = client.delivery(number)
    if as_json:
        show_json(found)
        return
    for name in (
        "webhook_id",
        "job_id",
        "url",
        "state",
        "created_at",
        "next_try_at",
        "ended_at",
        "last_error",
    ):
        if found[name] is not None:
            out.print(f"{name}: {_line(found[name])}", markup=False)
    tries = ([one["at"], one["status"], _line(one["error"] or "arrived")] for one in found["history"])
    show_table(("tried at", "HTTP", "what came of it"), tries, empty="It was not tried yet.")


@app.command()
def replay(
    context: typer.Context,
    number: MaybeNumber = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that were given up.")] = False,
    since: Annotated[
        str | None, typer.Option(help="With --failed: only those made since, as 2026-01-31T12:00:00Z.")
    ] = None,
    job_id: JobId = None,
    owner: Owner = None,
    as_json: AsJson = False,
) -> None:
    """Sends one again, or with --failed all that were given up. Receivers see the ids that they know already."""
    which = _given(since=since, job_id=job_id, owner=owner)
    if failed == (number is not None) or (which and not failed):
        raise typer.BadParameter(
            "give either a number, or --failed with what narrows it", param_hint="--failed"
        )
    with client_of(context) as client:
        if number is not None:
            done = client.replay(number)
        else:
            done = client.replay_failed(**which)
            while done["more"]:
                again = client.replay_failed(**which)
                done = {"count": done["count"] + again["count"], "more": again["more"] and again["count"] > 0}
    if as_json:
        show_json(done)
    else:
        err.print("It is sent again." if number is not None else f"{done['count']} are sent again.")


@app.command()
def secret(context: typer.Context, as_json: AsJson = False) -> None:
    """Prints your secret, with which a receiver checks signatures."""
    with client_of(context) as client:
        _show_secret(client.webhook_secret(), as_json)


@app.command()
def rotate(context: typer.Context, as_json: AsJson = False) -> None:
    """Makes a new secret, and prints it. For 24 hours the one before signs too."""
    with client_of(context) as client:
        _show_secret(client.rotate_webhook_secret(), as_json)


def _show_secret(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    typer.echo(found["secret"])
    if found["previous_until"] is not None:
        err.print(f"The one before signs too, until {found['previous_until']}.", markup=False)


def _given(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _row(one: dict[str, Any]) -> list[object]:
    return [
        one["id"],
        one["job_id"],
        one["state"],
        one["tries"],
        _line(one["url"]),
        _line(one["last_error"] or ""),
    ]


def _line(text: object) -> str:
    """A terminal obeys what it is shown, and a receiver chose some of it: where a redirect leads, say."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))
