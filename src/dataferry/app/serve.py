"""Runs the service: binds, says where, serves until told to stop, and ends in order."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from dataferry import __version__
from dataferry.app.composition import Service, base_url, build
from dataferry.app.configuration import load, with_server
from dataferry.app.settings import Settings
from dataferry.domain.errors import ConfigError
from dataferry.telemetry.logs import configure

INTERRUPTED = 130
BACKLOG = 256
# Requests in flight may end; streams are told to.
GRACE_S = 5
# Connections that send nothing are dropped; control planes keep theirs for some seconds.
KEEP_ALIVE_S = 30


class _Server(uvicorn.Server):
    """A uvicorn that says when it is ready, and tells the service when it begins to end."""

    def __init__(
        self, config: uvicorn.Config, *, ready: Callable[[], None], ending: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Open streams must end before connections can be waited for."""
        self._ending()
        await super().shutdown(sockets)


def serve(config: str | None, *, host: str | None = None, port: int | None = None) -> int:
    """Serve until SIGTERM (0) or SIGINT (130); returns the exit code.

    Args:
        config: Path of the configuration; None looks for it.
        host: Instead of ``server.host``.
        port: Instead of ``server.port``; 0 is a free one.

    Raises:
        ConfigError: The configuration is wrong, or the address can't be bound.
        ConflictError: Another process serves the same database.
    """
    settings = with_server(load(config), host=host, port=port)
    with _bound(settings) as listener:
        bound_port = int(listener.getsockname()[1])
        service = build(settings, port=bound_port)
        try:
            configure(settings.server.log_level, settings.server.log_format == "json", service.secrets.redact)
            service.start()
            return _run(service, settings, listener, bound_port)
        finally:
            service.close()


def _bound(settings: Settings) -> socket.socket:
    """Bind before anything is built, so that the port is known and a taken one costs nothing."""
    host, port = settings.server.host, settings.server.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"server.host = {host!r} is no address of this machine: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{host}:{port} can't be listened on: {error.strerror}; another port is set with server.port,"
            " --port, or --port 0 for a free one"
        ) from error
    return listener


def _run(service: Service, settings: Settings, listener: socket.socket, port: int) -> int:
    """Serve on a bound socket."""
    url = base_url(settings, port)

    def ready() -> None:
        sys.stderr.write(
            f"dataferry {__version__} is ready at {url}"
            f" (signaling {settings.server.signaling_path}, management /management, documentation /docs)\n"
        )
        sys.stderr.flush()

    server = _Server(
        uvicorn.Config(
            service.application,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=BACKLOG,
        ),
        ready=ready,
        ending=service.closing,
    )
    received: list[int] = []

    # uvicorn raises the signal again once it has ended: these take it, so that the rest can end too.
    def note(number: int, _frame: Any) -> None:
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    if not received:
        server.run(sockets=[listener])
    return INTERRUPTED if signal.SIGINT in received else 0
