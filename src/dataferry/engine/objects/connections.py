"""A worker's connections: opened when first needed, renewed by a retry, shut from any thread."""

from __future__ import annotations

import contextlib
from threading import Lock

from dataferry.domain.errors import DataFerryError, StoppedError, UnsupportedError
from dataferry.mechanisms.abilities import ReadBack
from dataferry.mechanisms.base import Reader, Sink, Source, Writer


class Connections:
    """One reader, one writer, and a reader of what was written where that is read back.

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
        self._written: Reader | None = None
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

    @property
    def written(self) -> Reader:
        """The reader of what was written, opened now if there is none.

        Raises:
            StoppedError: ``halt`` was called.
            UnsupportedError: The sink can't be read.
        """
        with self._lock:
            self._refuse_if_halted()
            if self._written is None:
                if not isinstance(self._sink, ReadBack):
                    raise UnsupportedError("the destination can't be read back")
                self._written = self._sink.reader()
            return self._written

    def abort(self, *, keep_reader: bool = False) -> None:
        """Make the blocked call fail at once; the next use after ``renew`` works. Any thread."""
        with self._lock:
            for end in (None if keep_reader else self._reader, self._writer, self._written):
                if end is not None:
                    end.abort()

    def halt(self) -> None:
        """Abort, and open none any more. Any thread."""
        with self._lock:
            self._halted = True
        self.abort()

    def renew(self) -> None:
        """Close all; the next use opens fresh ones."""
        with self._lock:
            ends = (self._reader, self._writer, self._written)
            self._reader = self._writer = self._written = None
        for end in ends:
            if end is not None:
                with contextlib.suppress(DataFerryError):
                    end.close()

    close = renew

    def renew_writer(self) -> None:
        """Close the writer only: a stream of the reader goes on."""
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(DataFerryError):
                writer.close()

    def _refuse_if_halted(self) -> None:
        if self._halted:
            raise StoppedError("stopped")
