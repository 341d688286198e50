"""What strangers name can't make a terminal obey, nor write lines of its own."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from dataferry.telemetry.logs import configure, get_logger

HOSTILE = "\x1b[31mred\x9b0m\u202etxt\nFAKE line"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where lines go; logging is left as it was: it is one for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("json", [True, False])
def test_a_hostile_value_stays_in_its_line(stream: io.StringIO, *, json: bool) -> None:
    """Escapes are not written, and a line end in a value begins no line."""
    configure("info", json=json, redactor=str, stream=stream)
    get_logger("api").info("request", path=HOSTILE)
    get_logger("api").info("request", path="\x1b[31mred")
    written = stream.getvalue()
    assert [char for char in written if not char.isprintable() and char != "\n"] == []
    assert not any(line.startswith("FAKE") for line in written.splitlines())
    assert "red" in written
