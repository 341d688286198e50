"""A data plane as its operator runs it: a ``dataferry serve`` process with its own configuration."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from dataferry.demo.control_plane import PlaneAddress
from dataferry.demo.processes import ChildProcess, Running, free_port

READY_TIMEOUT_S = 60.0


def toml(settings: Mapping[str, Any]) -> str:
    """Write settings as TOML: tables of values, tables of tables, and lists of tables; deeper ones inline."""
    return "\n".join(_table(name, value) for name, value in settings.items())


def _table(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(_section(f"[[{name}]]", entry) for entry in value)
    nested = {key: entry for key, entry in value.items() if isinstance(entry, dict)}
    lists = {key: entry for key, entry in value.items() if _is_tables(entry)}
    plain = {key: entry for key, entry in value.items() if key not in nested and key not in lists}
    sections = [_section(f"[{name}]", plain)] if plain else []
    sections += [_table(f"{name}.{key}", entry) for key, entry in {**nested, **lists}.items()]
    return "\n".join(sections)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _section(head: str, entries: Mapping[str, Any]) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in entries.items()]
    return "\n".join([head, *lines, ""])


def _value(value: Any) -> str:
    """Write a value; JSON's strings, numbers and booleans are TOML's too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    return json.dumps(value)


class PlaneProcess(Running):
    """One ``dataferry serve`` on loopback, on SQLite, as a context manager.

    It keeps its port, its configuration and its database over ``kill`` and ``start``.

    Args:
        name: What messages call it, e.g. ``provider``; its ``dataplane_id``.
        directory: For its configuration, database, key and log; made if missing.
        settings: Sections of ``dataferry.toml``; ``server``, ``store`` and ``auth`` are completed.
        environment: Variables that it gets beside ``PATH`` and ``HOME``.
        port: Where it listens; None takes a free one.
        arguments: More of its command, e.g. ``--role``.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        settings: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.directory = directory
        self.port = free_port() if port is None else port
        self.api_key = secrets.token_urlsafe(24)
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / "dataferry.toml"
        self.config.write_text(toml(self._complete(settings)))
        self.config.chmod(0o600)
        self.process = ChildProcess(
            name,
            # The command of this very Python, wherever its script was installed.
            [sys.executable, "-m", "dataferry.cli.main", "serve", "--config", str(self.config), *arguments],
            log=directory / "plane.log",
            environment={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(directory),
                **(environment or {}),
            },
        )

    def _complete(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Add where it listens, where it stores, and the operator's key."""
        server = {"port": self.port, "dataplane_id": self.name, **settings.get("server", {})}
        store = {"url": f"sqlite:///{self.database}", **settings.get("store", {})}
        auth = {"api_keys": [{"name": "operator", "key": self.api_key}]}
        return {**settings, "server": server, "store": store, "auth": auth}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.directory / "dataferry.db"

    def address(self, token: str | None) -> PlaneAddress:
        """How a control plane with this token reaches it."""
        return PlaneAddress(url=f"{self.url}/api/v1", token=token)

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it says that it is ready.

        Raises:
            StartError: It ended, or was not ready in time.
        """
        self.process.start()
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until ``/readyz`` answers with 200."""
        self.process.wait_until_http(self.port, "/readyz", timeout_s=READY_TIMEOUT_S, below=300)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self.process.kill()

    def stop(self) -> None:
        """End it politely. Safe to repeat."""
        self.process.stop()

    def flow(self, flow_id: str, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """Return what ``/management/dataflows/{id}`` says.

        Raises:
            httpx.HTTPError: It did not answer, or not with 200.
        """
        answer: dict[str, Any] = self.manage(
            "GET", f"/dataflows/{quote(flow_id, safe='')}", timeout_s=timeout_s
        )
        return answer

    def manage(self, method: str, path: str, *, body: Any = None, timeout_s: float = 5.0) -> Any:
        """Call the management API as the operator.

        Raises:
            httpx.HTTPError: It did not answer, or not with 2xx.
        """
        headers = {"X-Api-Key": self.api_key}
        with httpx.Client(trust_env=False, timeout=timeout_s, headers=headers) as client:
            answer = client.request(method, f"{self.url}/management{path}", json=body)
            answer.raise_for_status()
            return answer.json() if answer.content else None
