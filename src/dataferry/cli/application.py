"""All commands, by name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dataferry.cli import api_keys, catalogue, flows, orchestrate, running, transfers

application = typer.Typer(
    name="dataferry",
    help="A data plane for dataspaces: moves bulk data fast, and goes on where it was.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(*, asked: bool) -> None:
    """Print the version before anything else is looked at."""
    if asked:
        from dataferry import __version__

        sys.stdout.write(f"dataferry {__version__}\n")
        raise typer.Exit


@application.callback()
def everything(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            is_eager=True,
            callback=lambda asked: _version(asked=asked),
            help="Print the version and exit.",
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Options of every command."""
    del version, debug  # the first has its callback, `main` takes out the second; here they are for `--help`


transfers.add_to(application)
running.add_to(application)
orchestrate.add_to(application)
application.add_typer(flows.group, name="flows")
application.add_typer(catalogue.datasets, name="datasets")
application.add_typer(catalogue.locations, name="locations")
application.add_typer(catalogue.landing_zones, name="landing-zones")
application.add_typer(catalogue.mechanisms, name="mechanisms")
application.add_typer(catalogue.control_planes, name="control-planes")
application.add_typer(api_keys.group, name="api-keys")
