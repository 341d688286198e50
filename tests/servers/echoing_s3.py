"""An S3 server that answers every request with an error that quotes its caller's credentials."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from xml.sax.saxutils import escape


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _quote(self) -> None:
        server = self.server
        assert isinstance(server, EchoingS3)
        server.heads.append(str(self.headers))
        token = self.headers.get("x-amz-security-token", "")
        caller = self.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0]
        words = escape(f"{caller} {server.secrets.get(caller)} {token}")
        body = f"<Error><Code>{server.code}</Code><Message>{words}</Message></Error>".encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _quote  # noqa: N815 - the base class looks for these


class EchoingS3(ThreadingHTTPServer):
    """The server, as a context manager.

    Args:
        secrets: The secret of each access key: a store knows those of its callers.
        code: Of its errors.
    """

    daemon_threads = True

    def __init__(self, secrets: Mapping[str, str], *, code: str = "Weird") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secrets = secrets
        self.code = code
        self.heads: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="echoing-s3")

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
