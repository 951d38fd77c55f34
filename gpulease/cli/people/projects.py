"""`gpulease projects`: what several users share, and who is in it."""

from typing import Annotated

import typer

from gpulease.cli.terminal import AsJson, client_of, err, show_json, show_table

ProjectId = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's id.")]
app = typer.Typer(help="Lists and makes projects, and lets users in.", no_args_is_help=True)


@app.command(name="list")
def list_projects(context: typer.Context, as_json: AsJson = False) -> None:
    """Lists the projects that you are in; to operators, all."""
    with client_of(context) as client:
        found = list(client.projects())
    if as_json:
        show_json(found)
        return
    shown = ("id", "name", "owner", "created_at")
    show_table(shown, ([row[one] for one in shown] for row in found), empty="No projects.")


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is called.")],
    as_json: AsJson = False,
) -> None:
    """Makes a project of yours, and prints its id."""
    with client_of(context) as client:
        made = client.create_project(name)
    if as_json:
        show_json(made)
    else:
        typer.echo(made["id"])
        err.print(f"Let others in with `gpulease projects members {made['id']} --add USER`.", markup=False)


@app.command()
def members(
    context: typer.Context,
    project_id: ProjectId,
    add: Annotated[str | None, typer.Option(metavar="USER", help="Let this user in.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="They may also submit and cancel, not only look.")
    ] = False,
    remove: Annotated[str | None, typer.Option(metavar="USER", help="Let this user out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Lists who is in a project, after letting somebody in or out."""
    if write and add is None:
        raise typer.BadParameter("it goes with --add", param_hint="--write")
    with client_of(context) as client:
        if add is not None:
            client.put_member(project_id, add, write=write)
        if remove is not None:
            client.remove_member(project_id, remove)
        found = list(client.members(project_id))
    if as_json:
        show_json(found)
        return
    shown = ("user", "name", "right")
    show_table(shown, ([row[one] for one in shown] for row in found), empty="Nobody is in it.")
