"""Options that several commands have, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file. Default: $DATAFERRY_CONFIG, ./dataferry.toml.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Url = Annotated[
    str,
    typer.Option("--url", envvar="DATAFERRY_URL", metavar="URL", help="Where `dataferry serve` listens."),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="DATAFERRY_API_KEY",
        metavar="KEY",
        help="API key; better in the environment, where `ps` does not show it.",
    ),
]
DEFAULT_URL = "http://127.0.0.1:8080"
