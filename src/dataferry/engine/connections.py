"""A worker's two connections: opened when first needed, renewed by a retry, shut from any thread."""

from __future__ import annotations

import contextlib
from threading import Lock

from dataferry.domain.errors import DataFerryError, StoppedError
from dataferry.mechanisms.base import Reader, Sink, Source, Writer


class Connections:
    """One reader and one writer.

    Args:
        source: Gives readers.
        sink: Gives writers.
    """

    def __init__(self, source: Source, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        self._lock = Lock()
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self._halted = False

    @property
    def reader(self) -> Reader:
        """The reader, opened now if there is none.

        Raises:
            StoppedError: ``halt`` was called.
        """
        with self._lock:
            self._refuse_if_halted()
            if self._reader is None:
                self._reader = self._source.reader()
            return self._reader

    @property
    def writer(self) -> Writer:
        """The writer, opened now if there is none.

        Raises:
            StoppedError: ``halt`` was called.
        """
        with self._lock:
            self._refuse_if_halted()
            if self._writer is None:
                self._writer = self._sink.writer()
            return self._writer

    def abort(self) -> None:
        """Make the blocked call fail at once; the next use after ``renew`` works. Any thread."""
        with self._lock:
            if self._reader is not None:
                self._reader.abort()
            if self._writer is not None:
                self._writer.abort()

    def halt(self) -> None:
        """Abort, and open none any more. Any thread."""
        with self._lock:
            self._halted = True
        self.abort()

    def renew(self) -> None:
        """Close both; the next use opens fresh ones."""
        with self._lock:
            reader, writer, self._reader, self._writer = self._reader, self._writer, None, None
        for end in (reader, writer):
            if end is not None:
                with contextlib.suppress(DataFerryError):
                    end.close()

    close = renew

    def _refuse_if_halted(self) -> None:
        if self._halted:
            raise StoppedError("stopped")
