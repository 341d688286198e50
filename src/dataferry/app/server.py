"""The running service: uvicorn around the application, the threads around both."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import uvicorn

from dataferry import __version__
from dataferry.api.access import BrokenOffError
from dataferry.app.composition import Service, build
from dataferry.app.patience import PatientProtocol
from dataferry.app.roles import ALL_ROLES, Role
from dataferry.app.settings import Settings
from dataferry.app.values import base_url
from dataferry.domain.errors import ConfigError, ConflictError
from dataferry.telemetry.logs import configure

INTERRUPTED = 130
# Requests in flight may end; streams are told to.
GRACE_S = 5
# Connections that idle between requests are dropped; control planes keep theirs for some seconds.
KEEP_ALIVE_S = 30

# New objects that may be part of a cycle until the collector looks at them: a few requests of 500 entries.
COLLECT_AFTER = 10_000


class _NoBrokenOff(logging.Filter):
    """Leaves out uvicorn's traceback of a body that we broke off on purpose: the gateway has said why."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep everything else."""
        return not (record.exc_info and isinstance(record.exc_info[1], BrokenOffError))


class _Server(uvicorn.Server):
    """A uvicorn that says when it is ready, and tells the service when it begins to end."""

    def __init__(
        self, config: uvicorn.Config, *, threads: int, ready: Callable[[], None], ending: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._threads = threads
        self._ready = ready
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        anyio.to_thread.current_default_thread_limiter().total_tokens = self._threads
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Open streams must end before connections can be waited for."""
        self._ending()
        await super().shutdown(sockets)


def run(
    settings: Settings,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    roles: frozenset[Role] = ALL_ROLES,
) -> int:
    """Serve on a bound socket until SIGTERM (0) or SIGINT (130); returns the exit code.

    Args:
        settings: As read.
        listener: Bound.
        tls: What to serve with; None is plain HTTP.
        roles: What this process is for.

    Raises:
        ConfigError: What is configured does not fit.
        ConflictError: Another process serves the same database, from the start or by now.
    """
    port = int(listener.getsockname()[1])
    service = build(settings, port=port, roles=roles)
    try:
        _configure_logs(settings, service)
        # Our own line says when it is ready.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        logging.getLogger("uvicorn.error").addFilter(_NoBrokenOff())
        service.start()
        _collect_rarely()
        return _run(service, settings, listener, tls)
    finally:
        service.close()


def _collect_rarely() -> None:
    """Spare the collector of cycles what is there for good: it would hold all threads up to look at it.

    Schemas, routes and statements are half a million objects; a crowd of requests had them looked through,
    which took longer than the requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])


def _configure_logs(settings: Settings, service: Service) -> None:
    server = settings.server
    file = None if server.log_file is None else Path(server.log_file)
    try:
        configure(server.log_level, server.log_format == "json", service.secrets.redact, file=file)
    except OSError as exc:
        raise ConfigError(f"server.log_file: {file}: {exc.strerror or exc}") from exc


def _run(service: Service, settings: Settings, listener: socket.socket, tls: ssl.SSLContext | None) -> int:
    """Serve on a bound socket."""
    url = base_url(settings, int(listener.getsockname()[1]))

    def ready() -> None:
        doors = f"signaling {settings.server.signaling_path}, management /management, documentation /docs"
        if not service.has_control:
            doors = "gateway: /data, /ingest"
        sys.stderr.write(f"dataferry {__version__} is ready at {url} ({doors})\n")
        sys.stderr.flush()

    class Protocol(PatientProtocol):
        """With the configured bound."""

        max_connections = settings.server.max_connections

    server = _Server(
        uvicorn.Config(
            service.application,
            # By name, whatever else is installed: others have no bounds on heads.
            http=Protocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            ssl_context_factory=None if tls is None else lambda *_: tls,
        ),
        threads=settings.server.request_threads,
        ready=ready,
        ending=service.closing,
    )
    received: list[int] = []

    # uvicorn raises the signal again once it has ended: these take it, so that the rest can end too.
    def note(number: int, _frame: Any) -> None:
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    service.when_replaced(lambda: setattr(server, "should_exit", True))
    if not received:
        server.run(sockets=[listener])
    if service.replaced_by is not None:
        raise ConflictError(service.replaced_by)
    return INTERRUPTED if signal.SIGINT in received else 0
