"""Where the conformance kit says that its data goes, and its callbacks: one address for both.

The kit names its own callback server as the endpoint to push to, and that server answers 404 to everything
but the callbacks of the test that runs. So the address that it names is this server: it takes the data, and
hands on what is meant for the kit. It also takes the plane's registration, for which the kit has no endpoint.
"""

from __future__ import annotations

from tests.interop.tck.relay import Exchange, Relay, RelayHandler

FORWARDED = ("/transfers/", "/.well-known/did.json")
REGISTRATION = "/dataplanes"
PIECE_BYTES = 256 * 1024


class ForwardingSink(Relay):
    """Takes data and registrations, and forwards everything else to the kit's callback server.

    Args:
        kit_port: Where that listens, on loopback.
    """

    def __init__(self, kit_port: int) -> None:
        super().__init__(kit_port)
        self._received: list[int] = []

    def handler(self) -> type[RelayHandler]:
        """What serves a connection."""
        return _SinkHandler

    @property
    def received(self) -> list[int]:
        """The size of each object that arrived whole, bytes."""
        with self._lock:
            return list(self._received)

    def take(self, size_bytes: int) -> None:
        """Note an object that arrived whole."""
        with self._lock:
            self._received.append(size_bytes)


class _SinkHandler(RelayHandler):
    """One connection."""

    relay: ForwardingSink

    def do_HEAD(self) -> None:  # noqa: N802 - http.server's name
        """Nothing lies here."""
        self.reply(404, {}, b"")

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        """A callback for the kit, or data."""
        if self.path.startswith(FORWARDED):
            self.forward()
        else:
            self._take()

    def do_PUT(self) -> None:  # noqa: N802 - http.server's name
        """A registration, or data."""
        if self.path == REGISTRATION:
            exchange = Exchange(method="PUT", path=self.path, request=self.message(), status=200, answer=b"")
            self.relay.note(exchange)
            self.reply(200, {}, b"")
        else:
            self._take()

    def _take(self) -> None:
        """Read an object away; one that breaks off is none."""
        left = self.length
        while left > 0:
            piece = self.rfile.read(min(left, PIECE_BYTES))
            if not piece:
                self.close_connection = True
                return
            left -= len(piece)
        self.relay.take(self.length)
        self.reply(201, {}, b"")
