"""Logs: one pipeline for our records and the libraries', without secrets."""

from __future__ import annotations

import io
import json
import logging
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from dataferry.telemetry import logs
from dataferry.telemetry.logs import configure, get_logger

SECRET = "hunter2-hunter2"


def _redact(text: str) -> str:
    return text.replace(SECRET, "***")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave logging as it was: it is one for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def stream() -> io.StringIO:
    """Where lines go."""
    return io.StringIO()


def _records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_json_object(stream: io.StringIO) -> None:
    """A line has the event, its values, the logger, the level, the time and what is bound to the context."""
    configure("info", json=True, redactor=_redact, stream=stream)
    structlog.contextvars.bind_contextvars(flow="f1")
    get_logger("flows.outbox").info("callback sent", attempts=2, many=["a"])
    (record,) = _records(stream)
    timestamp = record.pop("timestamp")
    assert timestamp.endswith("Z")
    assert record == {
        "event": "callback sent",
        "attempts": 2,
        "many": ["a"],
        "flow": "f1",
        "logger": "dataferry.flows.outbox",
        "level": "info",
    }


@pytest.mark.parametrize("name", ["uvicorn.error", "uvicorn.access", "somebody.else"])
def test_libraries_come_through_the_same_pipeline(stream: io.StringIO, name: str) -> None:
    """A library's record has the same shape, once, even if the library had a handler of its own."""
    logging.getLogger(name).addHandler(
        logging.StreamHandler(stream) if "uvicorn" in name else logging.NullHandler()
    )
    configure("info", json=True, redactor=_redact, stream=stream)
    logging.getLogger(name).warning("port %d is %s", 80, SECRET)
    (record,) = _records(stream)
    assert (record["event"], record["logger"], record["level"]) == ("port 80 is ***", name, "warning")


def test_levels_hold(stream: io.StringIO) -> None:
    """Below the level nothing is written, and talkative libraries are quiet below a warning."""
    configure("INFO", json=True, redactor=_redact, stream=stream)
    get_logger("x").debug("no")
    logging.getLogger("httpx").info("no")
    logging.getLogger("httpx").warning("yes")
    assert [record["event"] for record in _records(stream)] == ["yes"]
    with pytest.raises(ValueError, match="loud"):
        configure("loud", json=True, redactor=_redact)


@pytest.mark.parametrize("as_json", [True, False])
def test_no_secret_leaves(stream: io.StringIO, *, as_json: bool) -> None:
    """A secret in an event, a value at any depth, a repr, a name, a traceback or a warning is masked."""
    configure("info", json=as_json, redactor=_redact, stream=stream)
    logger = get_logger("x")

    class Holder:
        def __repr__(self) -> str:
            return f"Holder({SECRET})"

    logger.info(
        f"said {SECRET}",  # noqa: G004 - careless on purpose value=SECRET, nested={SECRET: [(SECRET,)]}, held=Holder(), raw=SECRET.encode()
    )
    try:
        raise ValueError(SECRET)  # noqa: TRY301
    except ValueError:
        logger.exception("failed")
        logging.getLogger("uvicorn.error").exception("failed too")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(SECRET, stacklevel=1)
    text = stream.getvalue()
    assert SECRET not in text
    assert text.count("ValueError: ***") == 2
    if as_json:
        assert len(_records(stream)) == 4


def test_a_header_is_masked_by_its_name(stream: io.StringIO) -> None:
    """The redactor sees a header's name with its value, which alone tells that it is a credential."""

    def redactor(text: str) -> str:
        return "Authorization: ***" if text.startswith("Authorization: ") else text

    configure("info", json=True, redactor=redactor, stream=stream)
    get_logger("x").info("sent", headers={"Authorization": "abc", "Host": "h"})
    assert _records(stream)[0]["headers"] == {"Authorization": "***", "Host": "h"}


def test_a_file_gets_the_same_lines_and_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With secrets cut out, for its owner only; when it is full, older ones are kept up to a number."""
    monkeypatch.setattr(logs, "FILE_BYTES", 2000)
    monkeypatch.setattr(logs, "OLDER_FILES", 2)
    path = tmp_path / "logs" / "dataferry.log"
    stream = io.StringIO()
    logs.configure(
        "info", json=False, redactor=lambda text: text.replace("s3cret", "***"), stream=stream, file=path
    )
    try:
        logger = logs.get_logger("test")
        logger.info("hello", token="s3cret")
        assert path.read_text() == stream.getvalue()
        assert "token=***" in path.read_text()
        for number in range(200):
            logger.info("line", number=number)
    finally:
        logs.configure("info", json=False, redactor=lambda text: text)
    kept = sorted(path.parent.iterdir())
    assert [one.name for one in kept] == ["dataferry.log", "dataferry.log.1", "dataferry.log.2"]
    assert {stat.S_IMODE(one.stat().st_mode) for one in kept} == {0o600}
    assert all(one.stat().st_size <= 2000 for one in kept)


@pytest.mark.parametrize("name", ["timestamp", "level", "logger"])
def test_what_the_pipeline_writes_is_its_own(stream: io.StringIO, name: str) -> None:
    """No record brings a value of its own where values are not looked at one by one."""
    configure("info", json=True, redactor=lambda text: text, stream=stream)
    get_logger("api").info("met", **{name: SECRET})

    assert SECRET not in stream.getvalue()
