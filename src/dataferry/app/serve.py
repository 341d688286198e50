"""``dataferry serve``: reads the configuration and binds, before anything that takes time is loaded."""

from __future__ import annotations

import socket

from dataferry.app.configuration import load, with_server
from dataferry.app.roles import EVERYTHING, Role, roles_of
from dataferry.app.settings import Settings
from dataferry.app.tls import server_context
from dataferry.domain.errors import ConfigError

BACKLOG = 256


def serve(
    config: str | None, *, host: str | None = None, port: int | None = None, role: str = EVERYTHING
) -> int:
    """Serve until SIGTERM (0) or SIGINT (130); returns the exit code.

    Args:
        config: Path of the configuration; None looks for it.
        host: Instead of ``server.host``.
        port: Instead of ``server.port``; 0 is a free one.
        role: What this process is for.

    Raises:
        ConfigError: The configuration is wrong, the address can't be bound, or the roles do not go together.
        ConflictError: Another process serves the same database.
    """
    roles = roles_of(role)
    settings = with_server(load(config), host=host, port=port, has_control=Role.API in roles)
    tls = server_context(settings.server)
    with _bound(settings) as listener:
        # Half a second of imports: what is wrong so far has been told by now.
        from dataferry.app.server import run

        return run(settings, listener, tls, roles)


def _bound(settings: Settings) -> socket.socket:
    """Bind before anything is built, so that the port is known and a taken one costs nothing."""
    host, port = settings.server.host, settings.server.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # With its protocol by name: else asyncio takes it for none of TCP, and leaves Nagle's delay on.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
