"""Logs: one structured line a record, ours and the libraries' alike, with secrets cut out at the very end.

Redaction runs over the finished line, after tracebacks and arguments are part of it: whatever way a secret
took into a record, it does not leave the process.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import structlog

# Libraries that log through their own handlers unless told otherwise.
_WITH_HANDLERS = ("uvicorn", "uvicorn.error", "uvicorn.access")
# Too talkative below a warning: they log each request and each statement, signed headers included.
_TALKATIVE = ("httpx", "httpcore", "botocore", "urllib3", "sqlalchemy", "alembic")
# Terminals obey these, and paths, names and messages of strangers stand in records. Line ends and tabs stay:
# values with a line end are quoted where they are rendered, and tracebacks have theirs.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
# Written by processors of ours, over what a record may have had of that name.
_OURS = frozenset({"level", "logger", "timestamp"})
FILE_BYTES = 10 * 1024 * 1024
OLDER_FILES = 5
_LEVELS = ("debug", "info", "warning", "error", "critical")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger; ``name`` is the room and noun, e.g. ``flows.outbox``."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(f"dataferry.{name}")
    return logger


def configure(
    level: str,
    json: bool,
    redactor: Callable[[str], str],
    *,
    stream: TextIO | None = None,
    file: Path | None = None,
) -> None:
    """Send every log record of this process through one pipeline; replaces what was configured before.

    Args:
        level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``, in any case.
        json: One JSON object a line; else lines for people.
        redactor: Masks secrets in a finished line, e.g. ``SecretValues.redact``.
        stream: Where lines go; standard error if None, so that standard output stays for results.
        file: Where they go too; put aside when it is full. None: nowhere else.

    Raises:
        ValueError: There is no such level.
        OSError: The file can't be written.
    """
    if level.lower() not in _LEVELS:
        raise ValueError(f"log level {level!r}: must be one of {', '.join(_LEVELS)}")
    number = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared_processors()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr if stream is None else stream)]
    if file is not None:
        handlers.append(_PrivateFile(file))
    for handler in handlers:
        handler.setFormatter(_RedactingFormatter(shared, redactor, json=json))
    root = logging.getLogger()
    for old in root.handlers:
        if isinstance(old, _PrivateFile):
            old.close()
    root.handlers[:] = handlers
    root.setLevel(number)
    for name in _WITH_HANDLERS:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Tests configure more than once a process, and a cached logger would keep its first pipeline.
        cache_logger_on_first_use=False,
    )


class _PrivateFile(RotatingFileHandler):
    """A log file that nobody else reads, and that does not fill the disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8")

    def _open(self) -> Any:
        opened = super()._open()
        os.fchmod(opened.fileno(), 0o600)
        return opened


def _shared_processors() -> list[structlog.typing.Processor]:
    """What our records and the libraries' both pass through."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders a record as one line and masks secrets in it."""

    def __init__(
        self, shared: list[structlog.typing.Processor], redactor: Callable[[str], str], *, json: bool
    ) -> None:
        super().__init__(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _Redaction(redactor),
                structlog.processors.JSONRenderer(default=str)
                if json
                else structlog.dev.ConsoleRenderer(colors=False),
            ],
        )
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a record that cannot be rendered must not end what it tells of."""
        return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", self._redactor(super().format(record)))


class _Redaction:
    """Masks the values of a record before they are rendered, where quoting can't hide a secret's spelling."""

    def __init__(self, redactor: Callable[[str], str]) -> None:
        self._redactor = redactor

    def __call__(
        self, _logger: Any, _method: str, record: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Return the record with every text in it masked."""
        return {name: value if name in _OURS else self._masked(value) for name, value in record.items()}

    def _masked(self, value: Any) -> Any:
        """Mask texts at any depth; other objects become text first: their ``repr`` may hold a secret."""
        if isinstance(value, str):
            return self._redactor(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {
                self._redactor(str(name)): self._masked(self._named(str(name), inner))
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._masked(inner) for inner in value]
        return self._redactor(str(value))

    def _named(self, name: str, value: Any) -> Any:
        """Mask a header's value by the header's name, which alone says that it is one."""
        if isinstance(value, str | bytes):
            text = value.decode(errors="replace") if isinstance(value, bytes) else value
            line = self._redactor(f"{name}: {text}")
            return line.removeprefix(f"{name}: ")
        return value
