"""`gpulease keys`: API keys, made where the data lies, so that the first one needs no server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gpulease.cli.server import needs
from gpulease.cli.terminal import AsJson, err, fail, show_json, show_table

if TYPE_CHECKING:
    from orchestrator.store.protocol import Store

Done = TypeVar("Done")
Data = Annotated[Path, typer.Option(file_okay=False, help="The server's data directory.")]
DATA_DEFAULT = Path("gpulease-data")
WORKER = "worker"

app = typer.Typer(help="Makes and lists API keys, in the server's data directory.", no_args_is_help=True)


@app.command()
def create(
    role: Annotated[str, typer.Option(help="admin, operator, submitter, viewer, or worker.")] = "submitter",
    name: Annotated[str, typer.Option(help="Whose key it is.")] = "",
    worker_id: Annotated[str, typer.Option(help="Of which machine, for the role worker.")] = "",
    data: Data = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Makes a key and prints it, this once. From the first key on, the server asks everybody for one.

    The key of a worker is an owner's, for `gpulease worker`: it enrols the machine of that id, and no other.
    """
    with needs("server"):
        from orchestrator.keys import ROLES, create_key
    if role == WORKER or worker_id:
        _show_worker_key(role, worker_id, data, as_json)
        return
    known = next((one for one in ROLES if one == role), None)
    if known is None:
        raise typer.BadParameter(f"it is one of {', '.join((*ROLES, WORKER))}", param_hint="--role")
    secret = _with_store(
        data, lambda store: create_key(store, name=name or known, role=known, now=time.time())
    )
    if as_json:
        show_json({"key": secret, "role": role, "name": name or role})
    else:
        typer.echo(secret)
        err.print(
            "Keep it: it cannot be shown again. Use it with --key, GPULEASE_API_KEY, or as a Bearer token."
        )


def _show_worker_key(role: str, worker_id: str, data: Path, as_json: bool) -> None:
    """It is derived from the deployment's secret, and so the same each time."""
    from orchestrator.keys import owner_key, read_secret

    if role != WORKER or not worker_id:
        raise typer.BadParameter("give both --role worker and --worker-id", param_hint="--worker-id")
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = owner_key(read_secret(data / "deployment.key"), worker_id)
    if as_json:
        show_json({"key": secret, "role": WORKER, "worker_id": worker_id})
    else:
        typer.echo(secret)
        err.print(f"For `gpulease worker --orchestrator URL --worker-id {worker_id} --key …`.", markup=False)


@app.command(name="list")
def list_keys(data: Data = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Lists the keys, without their secrets."""
    if not data.is_dir():
        fail(f"there is no data directory {data}; name it with --data", 2)
    rows = [
        {
            "id": key.id,
            "name": key.name,
            "role": key.role,
            "created_at": datetime.fromtimestamp(key.created_at, UTC).isoformat(timespec="seconds"),
            "revoked": key.revoked_at is not None,
        }
        for key in _with_store(data, lambda store: store.list_keys())
    ]
    if as_json:
        show_json(rows)
    else:
        show_table(
            ("id", "name", "role", "created", "revoked"),
            (list(row.values()) for row in rows),
            empty="No keys.",
        )


def _with_store(data: Path, use: "Callable[[Store], Awaitable[Done]]") -> Done:
    """Opens the store under `data`, which is made if need be, for one use."""
    with needs("server"):
        from orchestrator.store.sqlite import open_sqlite

    data.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def opened() -> Done:
        store = await open_sqlite(data / "gpulease.db")
        try:
            return await use(store)
        finally:
            await store.aclose()

    return asyncio.run(opened())
