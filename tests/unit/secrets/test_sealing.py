"""Sealing, and the key file."""

from __future__ import annotations

import base64
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.domain.errors import ConfigError
from dataferry.secrets.sealing import Sealer, load_or_create_key

SEALER = Sealer(b"k" * 32)


@given(text=st.text(), purpose=st.text())
def test_what_is_sealed_opens(text: str, purpose: str) -> None:
    """Any text opens again for the same purpose, and for no other."""
    sealed = SEALER.seal(text, purpose=purpose)
    assert SEALER.open(sealed, purpose=purpose) == text
    with pytest.raises(ConfigError):
        SEALER.open(sealed, purpose=purpose + "x")


def test_sealing_twice_differs() -> None:
    """Equal secrets can't be told from their rows."""
    assert SEALER.seal("s", purpose="p") != SEALER.seal("s", purpose="p")


def test_another_key_is_named_with_the_way_out() -> None:
    """A row of another key says which key it needs."""
    other = Sealer(b"o" * 32)
    with pytest.raises(ConfigError, match=rf"{SEALER.key_id}.*{other.key_id}.*put the key file back"):
        other.open(SEALER.seal("s3cret-text", purpose="flows.x:1"), purpose="flows.x:1")


@pytest.mark.parametrize("position", [-1, 20, 40])
def test_a_changed_row_is_refused(position: int) -> None:
    """One changed byte anywhere is noticed, and the message shows no content."""
    prefix, key_id, body = SEALER.seal("s3cret-text", purpose="p").split(".")
    raw = bytearray(base64.urlsafe_b64decode(body))
    raw[position % len(raw)] ^= 1
    with pytest.raises(ConfigError, match="damaged") as caught:
        SEALER.open(f"{prefix}.{key_id}.{base64.urlsafe_b64encode(raw).decode()}", purpose="p")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "sealed",
    ["", "plain", "v2.abc.def", f"v1.{SEALER.key_id}.", f"v1.{SEALER.key_id}.%%", f"v1.{SEALER.key_id}.YWJj"],
)
def test_what_is_not_sealed_is_refused(sealed: str) -> None:
    """Plain or mangled text is refused as a fault of the database."""
    with pytest.raises(ConfigError):
        SEALER.open(sealed, purpose="p")


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """The first call makes a private file of 32 bytes, later ones read it."""
    path = tmp_path / "key"
    key = load_or_create_key(path)
    assert (len(key), stat.S_IMODE(path.stat().st_mode)) == (32, 0o600)
    assert load_or_create_key(path) == key
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_processes_that_race_get_the_same_key(tmp_path: Path) -> None:
    """Eight that start together end with one key."""
    keys: list[bytes] = []
    together = threading.Barrier(8)

    def load() -> None:
        together.wait()
        keys.append(load_or_create_key(tmp_path / "key"))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(keys), len(set(keys))) == (8, 1)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The refusal says what to do."""
    path = tmp_path / "key"
    load_or_create_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_or_create_key(path)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33, b"x" * 100_000])
def test_a_key_of_another_length_is_refused(tmp_path: Path, content: bytes) -> None:
    """A cut or foreign file is not used as a key."""
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="exactly 32 bytes"):
        load_or_create_key(path)
    with pytest.raises(ConfigError):
        Sealer(content)


def test_a_key_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A missing directory is named."""
    with pytest.raises(ConfigError, match="nowhere"):
        load_or_create_key(tmp_path / "nowhere" / "key")


def test_a_sealer_shows_no_key() -> None:
    """Its repr names the key's id only."""
    assert repr(SEALER) == f"Sealer(key_id={SEALER.key_id!r})"
