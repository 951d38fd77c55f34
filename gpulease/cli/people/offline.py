"""The store of a data directory, opened by a command itself: for what must be done while no server can be asked."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gpulease.cli.server import needs
from gpulease.cli.terminal import fail
from gpulease.contract.problems import Problem, ProblemError

if TYPE_CHECKING:
    from orchestrator.keys import Role
    from orchestrator.store.people import By, User
    from orchestrator.store.protocol import Store

Done = TypeVar("Done")
Data = Annotated[Path, typer.Option(file_okay=False, help="The server's data directory.")]
DATA_DEFAULT = Path("gpulease-data")


def with_store(data: Path, use: "Callable[[Store], Awaitable[Done]]", *, make: bool = False) -> Done:
    """Opens the store under `data` for one use; a server may run on it meanwhile. `make`: also a new one."""
    with needs("server"):
        from orchestrator.store.sqlite import open_sqlite

    if make:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    elif not data.is_dir():
        fail(f"there is no data directory {data}; name it with --data", 2)

    async def opened() -> Done:
        store = await open_sqlite(data / "gpulease.db")
        try:
            return await use(store)
        finally:
            await store.aclose()

    try:
        return asyncio.run(opened())
    except ProblemError as error:
        fail(_said(error.problem), 2 if error.problem.status == 422 else 1)


def here() -> "By":
    """Whose doing it is, in the audit: whoever may write to the data directory."""
    from orchestrator.store.people import By

    return By("command line")


async def user_named(store: "Store", name: str) -> "User":
    """By id or email.

    Raises:
        ProblemError: 404.
    """
    user = await store.get_user(name) or await store.find_user(name)
    if user is None or not user.id:
        raise ProblemError(404, f"there is no user {name!r}", "see: gpulease users list")
    return user


def role_named(name: str, *also: str) -> "Role":
    """The role, or a fault of the command that names those there are."""
    with needs("server"):
        from orchestrator.keys import ROLES, as_role
    if name not in ROLES:
        raise typer.BadParameter(f"it is one of {', '.join((*ROLES, *also))}", param_hint="--role")
    return as_role(name)


def day(moment: float | None) -> str | None:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds") if moment is not None else None


def _said(problem: Problem) -> str:
    if problem.errors:
        return "; ".join(f"{one.field}: {one.message}" for one in problem.errors)
    return f"{problem.title}: {problem.detail}" if problem.detail else problem.title
