"""Sealing: what must not stand in a row in plain is encrypted with a key that lies outside the database."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dataferry.domain.errors import ConfigError

KEY_BYTES = 32
NONCE_BYTES = 12
VERSION = "v1"


class Sealer:
    """Encrypts texts with AES-256-GCM; ``repr`` shows only the key's id.

    A sealed text is ``v1.<key id>.<base64url of nonce and ciphertext>``. The key id lets a later version keep
    several keys and rotate. Random 96-bit nonces are safe for about 2**32 sealings of one key, far beyond
    what one data plane writes.

    Args:
        key: 32 random bytes.

    Raises:
        ConfigError: The key has another length.

    Source: NIST SP 800-38D, sections 5.2.1 and 8.2.2.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ConfigError(f"the sealing key must have {KEY_BYTES} bytes, not {len(key)}")
        self._cipher = AESGCM(key)
        self.key_id = hashlib.sha256(b"dataferry sealing key id\0" + key).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"Sealer(key_id={self.key_id!r})"

    def seal(self, text: str, *, purpose: str) -> str:
        """Encrypt ``text`` for one place.

        Args:
            text: Anything.
            purpose: Where it will stand, e.g. ``flows.outgoing_address:<id>``; it opens nowhere else, so that
                nobody with access to the database can move one row's secret into another.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, text.encode(), purpose.encode())
        return f"{VERSION}.{self.key_id}.{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, sealed: str, *, purpose: str) -> str:
        """Decrypt what ``seal`` made for the same purpose.

        Raises:
            ConfigError: It was sealed with another key, or for another purpose, or is damaged.
        """
        version, _, rest = sealed.partition(".")
        key_id, _, body = rest.partition(".")
        if version != VERSION or not body:
            raise ConfigError(
                f"{purpose} is not sealed in a form that this version knows; was it edited by hand?"
            )
        if key_id != self.key_id:
            raise ConfigError(
                f"{purpose} was sealed with key {key_id}, but [secrets] key is key {self.key_id}: "
                "put the key file back that this database was made with (a backup needs both), "
                "or start with a new database"
            )
        try:
            raw = base64.b64decode(body, altchars=b"-_", validate=True)
            opened = self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError, binascii.Error) as exc:
            raise ConfigError(
                f"{purpose} cannot be opened: the row is damaged or was moved; restore it from a backup"
            ) from exc
        return opened.decode()


def load_or_create_key(path: str | Path) -> bytes:
    """Read the sealing key, or make one (mode 0600) where there is none.

    Two processes that start together end with the same key: it is written aside and linked into place, which
    only one of them can do.

    Returns:
        32 bytes.

    Raises:
        ConfigError: The file can be read by others, has another length, or can't be read or made.
    """
    file = Path(path)
    try:
        if not file.exists():
            _create_key(file)
        return _read_key(file)
    except OSError as exc:
        raise ConfigError(f"[secrets] key: {file} cannot be used: {exc.strerror or exc}") from exc


def _create_key(file: Path) -> None:
    """Write a fresh key aside and link it into place; a file that appeared meanwhile wins."""
    aside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(secrets.token_bytes(KEY_BYTES))
            handle.flush()
            os.fsync(handle.fileno())
        _link(aside, file)
    finally:
        aside.unlink()


def _link(aside: Path, file: Path) -> None:
    """Give the finished key its name, unless somebody was first."""
    try:
        os.link(aside, file)
    except FileExistsError:
        return


def _read_key(file: Path) -> bytes:
    """Read the key of a file that nobody else can read."""
    with file.open("rb") as handle:
        mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
        key = handle.read(KEY_BYTES + 1)
    if mode & 0o077:
        raise ConfigError(f"[secrets] key: {file} can be read by others (mode {mode:04o}): chmod 600 {file}")
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"[secrets] key: {file} must hold exactly {KEY_BYTES} bytes: "
            f"head -c {KEY_BYTES} /dev/urandom > {file}"
        )
    return key
