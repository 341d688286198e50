"""``dataferry api-keys``: who may use the management API, and for what."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dataferry.cli.options import AsJson, Config
from dataferry.cli.output import as_time, print_json, print_table, printable
from dataferry.domain.errors import DataFerryError
from dataferry.domain.purview import ALL_SCOPES, Scope

group = typer.Typer(
    help="Keys for the management API, in the database.", no_args_is_help=True, rich_markup_mode=None
)

COLUMNS = ("key", "scopes", "for", "created", "expires", "last used", "")


def _names(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell to complete: the names of keys that can be revoked; none if they can't be looked up."""
    from dataferry.app.api_keys import names

    try:
        return [name for name in names(context.params.get("config")) if name.startswith(incomplete)]
    except (DataFerryError, OSError):
        return []


@group.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; events name it as the actor.")],
    *,
    scope: Annotated[
        list[Scope] | None,
        typer.Option("--scope", metavar="SCOPE", help="What it is good for; may be repeated."),
    ] = None,
    all_scopes: Annotated[bool, typer.Option("--all-scopes", help="It is good for everything.")] = False,
    participant: Annotated[
        list[str] | None,
        typer.Option(
            "--participant", metavar="ID", help="It sees this participant's flows only; may be repeated."
        ),
    ] = None,
    control_plane: Annotated[
        list[str] | None,
        typer.Option(
            "--control-plane", metavar="ID", help="It sees this control plane's flows only; may be repeated."
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option("--days", metavar="N", min=1, max=36_500, help="It is good for so many days."),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make a key and print it; it is shown this once."""
    from dataferry.app.api_keys import create as run

    if bool(scope) is all_scopes:
        words = ", ".join(word.value for word in Scope)
        raise typer.BadParameter(f"give --scope ({words}) once or more, or --all-scopes")
    made = run(
        config,
        name,
        scopes=ALL_SCOPES if all_scopes else frozenset(scope or ()),
        participants=participant or (),
        control_planes=control_plane or (),
        days=days,
    )
    if as_json:
        print_json({"key": made.key, **made.told})
    else:
        sys.stdout.write(made.key + "\n")
        sys.stderr.write("Keep it: it is not shown again. Send it as X-Api-Key, or set DATAFERRY_API_KEY.\n")
    if made.is_first:
        sys.stderr.write("It is the first key: from now on the management API takes nobody without one.\n")


@group.command("list")
def list_(
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Also keys that were revoked or have expired.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the keys that are in force: names, scopes and times; the keys themselves are nowhere."""
    from dataferry.app.api_keys import list_keys

    found = list_keys(config, every=every)
    if as_json:
        print_json(found)
        return
    rows = (
        [
            key["name"],
            key["scopes"],
            [*key["participants"], *key["controlPlanes"]] or "all",
            *(as_time(key[name]) for name in ("createdAt", "expiresAt", "lastUsedAt")),
            "configured"
            if key["configured"]
            else "revoked"
            if key["revokedAt"]
            else ""
            if key["inForce"]
            else "expired",
        ]
        for key in found
    )
    print_table(COLUMNS, rows, empty="no API keys: only this machine may use the management API")


@group.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name or id.", autocompletion=_names)],
    *,
    config: Config = None,
) -> None:
    """Revoke a key: from the next request on it opens nothing, and live events that it follows end."""
    from dataferry.app.api_keys import revoke as run

    run(config, name)
    sys.stderr.write(f"API key {printable(name)} is revoked.\n")
