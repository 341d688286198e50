"""References to secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataferry.domain.errors import ConfigError
from dataferry.secrets.references import is_reference, resolve


def test_a_value_is_itself() -> None:
    """What is no reference is the secret."""
    assert resolve("plain:value") == "plain:value"
    assert not is_reference("plain:value")


def test_a_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """``env:NAME`` is the variable's value; one that is not set or empty is refused by name."""
    monkeypatch.setenv("FERRY_SECRET", "hunter2")
    monkeypatch.setenv("FERRY_EMPTY", "")
    assert resolve("env:FERRY_SECRET") == "hunter2"
    for name in ("FERRY_EMPTY", "FERRY_MISSING"):
        with pytest.raises(ConfigError, match=f"env:{name}"):
            resolve(f"env:{name}")


@pytest.mark.parametrize(
    ("content", "secret"), [(b"s\n", "s"), (b"s\r\n", "s"), (b" s \n\n", " s \n"), (b"s", "s")]
)
def test_a_file_is_read(tmp_path: Path, content: bytes, secret: str) -> None:
    """``file:PATH`` is the content without its last line end."""
    (tmp_path / "s").write_bytes(content)
    assert resolve(f"file:{tmp_path}/s") == secret
    assert is_reference(f"file:{tmp_path}/s")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfes3cret", b"s3cret" * 20_000, None])
def test_an_unusable_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty, binary or huge file is refused by its reference; nothing of it is shown."""
    path = tmp_path / "s"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"file:{path}") as caught:
        resolve(f"file:{path}")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, OSError)
