"""moto's S3 server as a process: it enforces conditional requests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from dataferry.demo.processes import ChildProcess, free_port


class MotoServer:
    """moto on a free port of loopback; takes any credentials, keeps objects in memory.

    Args:
        directory: Where its log goes.
    """

    def __init__(self, directory: Path) -> None:
        self.access_key_id = "AKIAMOTOTESTKEY00001"
        self.secret_access_key = "moto-secret-access-key-0123456789abcdef"
        self.port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        # Its HTTP server speaks HTTP/1.0; that is what clients of odd servers meet too.
        self._process = ChildProcess(
            "moto", command, log=directory / "moto.log", environment={"PATH": os.environ["PATH"]}
        )

    def __enter__(self) -> Self:
        self._process.start()
        self._process.wait_until_http(self.port, "/moto-api/")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"
