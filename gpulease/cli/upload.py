"""`gpulease upload`, and how every command sends a file: with a bar, and a word on how to go on when it is stopped."""

from pathlib import Path
from typing import Annotated

import typer

from gpulease.cli.live import sending
from gpulease.cli.terminal import AsJson, client_of, err, show_json
from gpulease.client import Client
from gpulease.contract.jobs import UploadView


def upload(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Any file.")],
    resume: Annotated[
        str | None, typer.Option(metavar="ID", help="Go on with an upload that was broken off.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sends a file and prints its URL, which may stand wherever a job takes a file."""
    with client_of(context) as client:
        sent = send(client, file, resume=resume, as_json=as_json)
    if as_json:
        show_json(sent)
    else:
        typer.echo(sent.url)


def send(client: Client, path: Path, *, resume: str | None = None, as_json: bool = False) -> UploadView:
    """Uploads a file. Ctrl-C stops it, and says how to go on where that can be done.

    Raises:
        ClientError, OSError: see `Client.upload`.
    """
    try:
        with sending(path.name, as_json=as_json) as progress:
            return client.upload(path, resume=resume, progress=progress)
    except KeyboardInterrupt as stopped:
        for note in getattr(stopped, "__notes__", ()):
            err.print(f"gpulease: {note}", markup=False)
        raise typer.Exit(130) from None
