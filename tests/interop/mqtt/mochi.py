"""mochi-mqtt, a broker of MQTT 5 with rules and bounds, built from its sources by Go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.servers.mqtt import PASSWORD, USER, Broker

from dataferry.demo.processes import ChildProcess, free_port

MODULE = "github.com/mochi-mqtt/server/v2/cmd/docker@v2.7.9"
BUILD_TIMEOUT_S = 600
RECEIVE_MAXIMUM = 7
READER = ("reader", "password-of-the-reader-0123")
# As numbers: deny, read and write.
DENY, BOTH = 0, 3


def built(directory: Path) -> Path:
    """Build the broker; return its program."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    assert go is not None, "this needs Go: https://go.dev/dl"
    environment = {**os.environ, "GOBIN": str(directory), "GOFLAGS": "-mod=mod"}
    subprocess.run([go, "install", MODULE], env=environment, check=True, timeout=BUILD_TIMEOUT_S)
    return directory / "docker"


class Mochi(Broker):
    """The broker, which speaks MQTT 5.

    Args:
        program: As ``built``.
        directory: For its configuration and log.
        rules: What ``USER`` may do by topic filter; ``READER`` may do everything.
    """

    def __init__(self, program: Path, directory: Path, rules: Mapping[str, int] | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._config = directory / "broker.json"
        self.rule(rules or {"#": BOTH})
        self.process = ChildProcess(
            "mochi",
            [str(program), "-config", str(self._config)],
            log=directory / "broker.log",
            environment={"PATH": os.defpath, "HOME": str(directory)},
        )

    def rule(self, rules: Mapping[str, int]) -> None:
        """Write its configuration, for its next start."""
        users: Sequence[tuple[str, str]] = ((USER, PASSWORD), READER)
        settings: dict[str, Any] = {
            "listeners": [{"type": "tcp", "id": "plain", "address": f"127.0.0.1:{self.port}"}],
            "hooks": {
                "auth": {
                    "ledger": {
                        "auth": [
                            {"username": name, "password": password, "allow": True}
                            for name, password in users
                        ],
                        "acl": [{"username": READER[0]}, {"username": USER, "filters": dict(rules)}],
                    }
                }
            },
            "options": {
                "capabilities": {
                    "receive_maximum": RECEIVE_MAXIMUM,
                    "maximum_clients": 1000,
                    "maximum_client_writes_pending": 1000,
                    "maximum_message_expiry_interval": 86_400,
                    "maximum_session_expiry_interval": 86_400,
                    "maximum_qos": 2,
                    "retain_available": 1,
                    "wildcard_sub_available": 1,
                    "maximum_inflight": 1000,
                }
            },
        }
        self._config.write_text(json.dumps(settings))
