"""``dataferry orchestrate``: has a list of assets fetched by a running service, and follows it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from dataferry.cli.options import DEFAULT_URL, AsJson, Url
from dataferry.cli.output import entry_name, print_json, printable
from dataferry.domain.errors import ConnectionFailedError, InputError

OVER = {"COMPLETED", "PARTIALLY_COMPLETED", "FAILED", "CANCELLED"}
POLL_S = 0.5
# A service that is being restarted goes on with what it was asked for.
PATIENCE_S = 60.0
MAX_FILE_BYTES = 64 * 1024 * 1024
# What the service takes from this machine while nobody has set another key.
LOCAL_KEY = "password"


def add_to(application: typer.Typer) -> None:
    """Add the command."""
    application.command()(orchestrate)


def orchestrate(
    file: Annotated[str, typer.Argument(help="The request, as JSON; - is stdin.", metavar="FILE")],
    *,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow it to its end, or leave once it is taken in.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say whether it could be carried out.")
    ] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", metavar="KEY", help="Running the command again with it starts nothing again."
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            metavar="KEY",
            help="Key of the orchestrator's clients; better as EDC_API_KEY in `.env` or the environment,"
            " where `ps` does not show it.",
        ),
    ] = None,
) -> None:
    """Have a list of assets fetched, follow it, and print where the files are."""
    from dataferry.app.description import clients_key
    from dataferry.cli.client import OrchestratorClient

    document = _read(file)
    with OrchestratorClient(url, api_key or clients_key(os.environ) or _local_key(url)) as client:
        id_ = client.begin(document, idempotency_key=idempotency_key, dry_run=dry_run)
        if id_ is None:
            _say({"status": "VALID"}, "the request is valid; nothing was started", as_json=as_json)
            return
        if not wait:
            _say({"orchestration_id": id_}, id_, as_json=as_json)
            return
        sys.stderr.write(f"orchestration {id_}\n")
        view = _follow(client, id_)
    if as_json:
        print_json(view)
    else:
        for path in view["storage_paths"]:
            sys.stdout.write(printable(line(path)) + "\n")
    if view["process_status"] != "COMPLETED":
        sys.stderr.write(f"dataferry: {view['process_status']}: {printable(str(view.get('error') or ''))}\n")
        raise typer.Exit(1)


def line(path: dict[str, Any]) -> str:
    """One line about an entry that has ended."""
    if path.get("storage_path"):
        return f"{path['status']}  {path['storage_path']}"
    why = f"  {path['status_code']} {path['error']}" if path.get("error") else ""
    return f"{path['status']}  entry {path['position']} ({entry_name(path)}){why}"


def _say(document: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        sys.stdout.write(text + "\n")


def _read(file: str) -> Any:
    """Read the request.

    Raises:
        InputError: There is no such file, or it is no JSON.
    """
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(MAX_FILE_BYTES)
        else:
            with Path(file).open("rb") as handle:
                raw = handle.read(MAX_FILE_BYTES)
        return json.loads(raw)
    except OSError as exc:
        raise InputError(f"{file}: {exc.strerror or exc}") from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{file} is not JSON: {exc}") from exc


def _local_key(url: str) -> str | None:
    """The key that a service on this machine takes until its operator sets one."""
    return LOCAL_KEY if (urlsplit(url).hostname or "") in {"127.0.0.1", "localhost", "::1"} else None


def _follow(client: Any, id_: str) -> dict[str, Any]:
    """Show bars until all entries have ended; return the orchestration then."""
    from dataferry.cli.bars import Bars

    failing_since: float | None = None
    with Bars(shown=sys.stderr.isatty()) as bars:
        while True:
            try:
                view: dict[str, Any] = client.status(id_)
                failing_since = None
            except ConnectionFailedError:
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > PATIENCE_S:
                    raise
                time.sleep(POLL_S)
                continue
            bars.show(view)
            if view["process_status"] in OVER:
                return view
            time.sleep(POLL_S)
