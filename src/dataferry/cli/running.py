"""``dataferry serve|check|db|demo``: run the service, and see that it can run."""

from __future__ import annotations

from typing import Annotated

import typer

from dataferry.cli.options import AsJson, Config
from dataferry.cli.output import print_findings
from dataferry.domain.errors import UnsupportedError

database = typer.Typer(help="The service's database.", no_args_is_help=True, rich_markup_mode=None)


def add_to(application: typer.Typer) -> None:
    """Add these commands."""
    application.command()(serve)
    application.command()(check)
    application.command()(demo)
    application.add_typer(database, name="db")


def serve(
    *,
    config: Config = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", help="Instead of server.host.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="PORT", min=0, max=65535, help="Instead of server.port; 0 is a free one."
        ),
    ] = None,
    role: Annotated[
        str,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="all; or api,worker (verbs and transfers), and gateway (data by HTTP) in other processes.",
        ),
    ] = "all",
) -> None:
    """Run the data plane: signaling and management API, the transfers, and the gateway."""
    from dataferry.app.serve import serve as run

    code = run(config, host=host, port=port, role=role)
    if code:
        raise typer.Exit(code)


def check(
    *,
    config: Config = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Also begin an upload in each location, and abort it; publish to the broker."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check configuration, key file, database, clock, locations and control planes."""
    from dataferry.app.check import check as run

    print_findings(run(config, write=write), as_json=as_json)


@database.command()
def upgrade(*, config: Config = None) -> None:
    """Bring the database's schema to this version."""
    from dataferry.app.check import upgrade as run

    typer.echo(run(config), err=True)


def demo(
    *,
    directory: Annotated[
        str | None,
        typer.Option(
            "--directory",
            metavar="DIRECTORY",
            help="Where to work; the system's temporary place if not given.",
        ),
    ] = None,
    small: Annotated[
        bool, typer.Option("--small", help="Some seconds and 70 MiB instead of 1.1 GiB.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave logs, databases and objects for a look.")
    ] = False,
) -> None:
    """Show it: two data planes move real data between real S3 servers, and one is killed on the way."""
    from importlib import import_module

    try:
        # By name: the demonstration stands above the commands, since it starts them as a user would.
        run = import_module("dataferry.demo.main").run
    except ModuleNotFoundError as error:
        raise UnsupportedError(f"the demonstration is not installed: {error}") from error
    code = run(directory=directory, small=small, keep=keep)
    if code:
        raise typer.Exit(code)
