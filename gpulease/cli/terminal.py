"""What every command prints with: data on stdout, everything else on stderr."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from gpulease.client import Client

err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=True)

PIPE_WIDTH = 200
"""Where there is no terminal, there is no reason to cut ids short."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def fail(message: str, status: int = 1) -> NoReturn:
    """Ends the program with one clear message. Status 1: it failed; 2: it was asked wrongly."""
    err.print(f"gpulease: {message}", markup=False)
    raise typer.Exit(status)


def client_of(context: typer.Context) -> Client:
    """The client for the server that the options or the environment name."""
    given = context.find_root().params
    try:
        return Client(given.get("url"), given.get("key"))
    except ValueError as error:
        fail(f"{error}; see --url and GPULEASE_URL", 2)


def show_json(value: Any) -> None:
    """One JSON document, indented."""
    typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """What `json` can print: models become objects."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, or the sentence that says why there is none."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*("-" if cell in (None, "") else str(cell) for cell in row))
    if table.row_count:
        Console(highlight=False, width=None if out.is_terminal else PIPE_WIDTH).print(table, markup=False)
    else:
        err.print(empty)


def harmless(text: str) -> str:
    """A terminal obeys what it is shown, and some of it was sent by strangers: an email at a login, a model's name."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def duration(seconds: float | None) -> str:
    """Such as 4.2 s, 3 min, 5.0 h."""
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def usd(amount: float | None) -> str:
    """Small amounts keep three digits that say something."""
    if amount is None:
        return "-"
    return f"${amount:.2f}" if amount >= 1 or amount == 0 else f"${amount:.6f}"


def ago(moment: datetime) -> str:
    return duration((datetime.now(UTC) - moment).total_seconds())
