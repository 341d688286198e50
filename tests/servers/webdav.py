"""rclone's WebDAV server: somebody else's, with real PUT, ranges and ETags."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataferry.demo.processes import free_port

START_S = 20.0


@contextmanager
def webdav(directory: Path, user: str, password: str) -> Iterator[str]:
    """Serve a directory; give the URL of its root, without a slash at the end."""
    port = free_port()
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("rclone")),
            *("serve", "webdav", str(directory), "--addr", f"127.0.0.1:{port}"),
            *("--user", user, "--pass", password, "--dir-cache-time", "0", "--config", "/dev/null"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    """Return once it listens."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "rclone ended"
            time.sleep(0.02)  # polls for what can't be waited for
        else:
            return
    raise AssertionError("rclone does not listen")
