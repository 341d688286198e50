"""All commands, by name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dataferry.cli import catalogue, flows, running, transfers

application = typer.Typer(
    name="dataferry",
    help="A data plane for dataspaces: moves bulk data fast, and goes on where it was.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@application.callback()
def everything(
    *,
    version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Options of every command."""
    del debug  # `main` takes it out of the arguments; it stands here for `--help`
    if version:
        from dataferry import __version__

        sys.stdout.write(f"dataferry {__version__}\n")
        raise typer.Exit


transfers.add_to(application)
running.add_to(application)
application.add_typer(flows.group, name="flows")
application.add_typer(catalogue.datasets, name="datasets")
application.add_typer(catalogue.locations, name="locations")
application.add_typer(catalogue.landing_zones, name="landing-zones")
application.add_typer(catalogue.mechanisms, name="mechanisms")
application.add_typer(catalogue.control_planes, name="control-planes")
