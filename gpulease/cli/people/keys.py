"""`gpulease keys`: API keys, made where the data lies, so that the first one needs no server."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpulease.cli.people.offline import DATA_DEFAULT, Data, day, here, role_named, user_named, with_store
from gpulease.cli.server import needs
from gpulease.cli.terminal import AsJson, err, show_json, show_table
from gpulease.contract.problems import ProblemError

if TYPE_CHECKING:
    from orchestrator.access.issue import Issued, NewKey
    from orchestrator.store.people import ApiKey, User
    from orchestrator.store.protocol import Store

WORKER = "worker"
DAY_S = 86_400.0
KeyId = Annotated[str, typer.Argument(help="A key's id, or the letters that it begins with, from the list.")]

app = typer.Typer(
    help="Makes, lists and ends API keys, in the server's data directory.", no_args_is_help=True
)


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose key, and what it should be called and do, as the command was told."""

    role: str
    name: str
    user: str
    scopes: tuple[str, ...]
    expires_in: float | None
    secret: str | None


@app.command()
def create(
    role: Annotated[
        str,
        typer.Option(
            help="admin, operator, submitter, viewer, or worker. Default: the user's, or submitter."
        ),
    ] = "",
    name: Annotated[str, typer.Option(help="What the key is called.")] = "",
    user: Annotated[
        str, typer.Option(help="Whose: an id or email. Default: a new user of that name and role.")
    ] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="Narrows the role, such as jobs:read. May be given several times."),
    ] = None,
    expires_in: Annotated[
        float | None, typer.Option(min=0.001, help="Days. Default: it does not end.")
    ] = None,
    secret_stdin: Annotated[
        bool, typer.Option("--secret-stdin", help="Take this secret, of at least 16 letters, from stdin.")
    ] = False,
    worker_id: Annotated[str, typer.Option(help="Of which machine, for the role worker.")] = "",
    data: Data = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Makes a key and prints it, this once. From the first key on, the server asks everybody for one.

    The key of a worker is an owner's, for `gpulease worker`: it enrols the machine of that id, and no other.
    """
    if role == WORKER or worker_id:
        _show_worker_key(role, worker_id, data, as_json)
        return
    if role:
        role_named(role, WORKER)
    secret = sys.stdin.readline().strip() if secret_stdin else None
    wish = Wish(role, name, user, tuple(scope or ()), expires_in, secret)
    _show_once(with_store(data, lambda store: _create(store, wish), make=True), as_json)


async def _create(store: "Store", wish: Wish) -> "Issued":
    from orchestrator.access.issue import create_key

    now = time.time()
    user, is_new = await _owner(store, wish, now)
    if is_new:
        await store.add_user(user, by=here())
    return await create_key(store, user, _asked(wish, user, now), by=here(), now=now)


async def _owner(store: "Store", wish: Wish, now: float) -> "tuple[User, bool]":
    """Whose key it becomes, and whether they are new and not stored yet."""
    from orchestrator.access.issue import check_new
    from orchestrator.access.newcomers import Newcomer, user_of

    if wish.user:
        return await user_named(store, wish.user), False
    role = role_named(wish.role or "submitter")
    user = user_of(Newcomer(wish.name or role, role), now)
    check_new(user, _asked(wish, user, now), now)
    return user, True


def _asked(wish: Wish, user: "User", now: float) -> "NewKey":
    from orchestrator.access.issue import NewKey

    role = role_named(wish.role or user.role)
    expires_at = None if wish.expires_in is None else now + wish.expires_in * DAY_S
    return NewKey(wish.name or role, role, wish.scopes, expires_at, wish.secret)


def _show_once(issued: "Issued", as_json: bool) -> None:
    key = issued.key
    if as_json:
        show_json({"key": issued.secret, **_row(key)})
        return
    typer.echo(issued.secret)
    err.print("Keep it: it cannot be shown again. Use it with --key, GPULEASE_API_KEY, or as a Bearer token.")


def _show_worker_key(role: str, worker_id: str, data: Path, as_json: bool) -> None:
    """It is derived from the deployment's secret, and so the same each time."""
    with needs("server"):
        from orchestrator.keys import owner_key, read_secret
        from orchestrator.settings import SettingsError

    if role != WORKER or not worker_id:
        raise typer.BadParameter("give both --role worker and --worker-id", param_hint="--worker-id")
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        secret = owner_key(read_secret(data / "deployment.key"), worker_id)
    except SettingsError as error:
        raise typer.BadParameter(str(error), param_hint="--data") from None
    if as_json:
        show_json({"key": secret, "role": WORKER, "worker_id": worker_id})
    else:
        typer.echo(secret)
        err.print(f"For `gpulease worker --orchestrator URL --worker-id {worker_id} --key …`.", markup=False)


@app.command(name="list")
def list_keys(
    user: Annotated[str, typer.Option(help="Only this user's: an id or email.")] = "",
    data: Data = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Lists the keys, without their secrets."""

    async def read(store: "Store") -> "list[ApiKey]":
        return await store.list_keys((await user_named(store, user)).id if user else None)

    rows = [_row(key) for key in with_store(data, read)]
    if as_json:
        show_json(rows)
        return
    shown = ("id", "name", "role", "prefix", "user", "last_used_at", "expires_at", "revoked")
    show_table(shown, ([row[one] for one in shown] for row in rows), empty="No keys.")


@app.command()
def revoke(key: KeyId, data: Data = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Ends a key: from now on it is refused, by a running server too."""

    async def end(store: "Store") -> "ApiKey":
        from orchestrator.access.issue import revoke_key

        return await revoke_key(store, await _find(store, key), by=here(), now=time.time())

    ended = with_store(data, end)
    if as_json:
        show_json(_row(ended))
    else:
        err.print(f"{ended.name} ({ended.id}) is revoked.", markup=False)


@app.command()
def rotate(
    key: KeyId,
    grace: Annotated[float, typer.Option(min=0, help="Hours the old secret goes on. 0: it ends now.")] = 24.0,
    data: Data = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Gives a key a new secret, and prints it, this once."""

    async def renew(store: "Store") -> "Issued":
        from orchestrator.access.issue import rotate_key

        found = await _find(store, key)
        return await rotate_key(store, found, grace_s=grace * 3600, by=here(), now=time.time())

    _show_once(with_store(data, renew), as_json)


async def _find(store: "Store", name: str) -> "ApiKey":
    found = [key for key in await store.list_keys() if name in (key.id, key.prefix)]
    if len(found) != 1:
        raise ProblemError(404, f"there is no key {name!r}", "see: gpulease keys list")
    return found[0]


def _row(key: "ApiKey") -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "prefix": key.prefix,
        "user": key.owner,
        "scopes": list(key.scopes),
        "created_at": day(key.created_at),
        "last_used_at": day(key.last_used_at),
        "expires_at": day(key.expires_at),
        "revoked": key.revoked_at is not None,
    }
