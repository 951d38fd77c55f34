"""`gpulease users`: users, made where the data lies."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpulease.cli.people.offline import DATA_DEFAULT, Data, day, here, role_named, with_store
from gpulease.cli.terminal import AsJson, err, show_json, show_table

if TYPE_CHECKING:
    from orchestrator.store.people import User
    from orchestrator.store.protocol import Store

PAGE = 500

app = typer.Typer(help="Makes and lists users, in the server's data directory.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Default: the begin of the email.")] = "",
    email: Annotated[str, typer.Option(help="To log in with, and for clients that send one.")] = "",
    role: Annotated[str, typer.Option(help="admin, operator, submitter or viewer.")] = "submitter",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Take a password, of at least 10 letters, from stdin.")
    ] = False,
    data: Data = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Makes a user, and prints the id. `gpulease keys create --user ID` gives them a key."""
    known = role_named(role)
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None

    async def add(store: "Store") -> "User":
        from orchestrator.access.newcomers import Newcomer, add_newcomer
        from orchestrator.access.passwords import Passwords

        newcomer = Newcomer(name, known, email or None, password)
        return await add_newcomer(store, Passwords(), newcomer, by=here(), now=time.time())

    user = with_store(data, add, make=True)
    if as_json:
        show_json(_row(user))
    else:
        typer.echo(user.id)
        err.print(f"Give them a key with `gpulease keys create --user {user.id}`.", markup=False)


@app.command(name="list")
def list_users(data: Data = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Lists the users."""
    rows = [_row(user) for user in with_store(data, _all)]
    if as_json:
        show_json(rows)
        return
    shown = ("id", "name", "email", "role", "active", "created_at")
    show_table(shown, ([row[one] for one in shown] for row in rows), empty="No users.")


async def _all(store: "Store") -> "list[User]":
    users: list[User] = []
    while page := await store.list_users(after=users[-1].id if users else None, limit=PAGE):
        users += page
    return users


def _row(user: "User") -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": user.role,
        "active": user.active,
        "password": user.password_hash is not None,
        "subscription": user.subscription_id,
        "created_at": day(user.created_at),
    }
