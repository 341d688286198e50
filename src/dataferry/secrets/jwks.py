"""JSON Web Key Sets: the keys of a control plane or of the issuer of its tokens.

Source: RFC 7517, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataferry.domain.errors import InputError

MAX_KEYS = 50
# Where a token names no key, so many are tried.
MAX_TRIED = 10
_KINDS = ("EC", "OKP", "RSA")


@dataclass(frozen=True, slots=True)
class KeySet:
    """Public keys that check signatures; others that stood beside them are left out."""

    keys: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, document: Any) -> KeySet:
        """Read a set.

        Raises:
            InputError: It is none, has too many keys, or none that checks signatures.
        """
        entries = document.get("keys") if isinstance(document, Mapping) else None
        if not isinstance(entries, list) or len(entries) > MAX_KEYS:
            raise InputError(f"this is no JSON Web Key Set of at most {MAX_KEYS} keys")
        keys = tuple(entry for entry in entries if isinstance(entry, Mapping) and _checks(entry))
        if not keys:
            raise InputError("the key set has no public key that checks signatures")
        return cls(keys)

    def named(self, kid: str | None, algorithm: str) -> Sequence[Mapping[str, Any]]:
        """Return the keys that a token may be signed with.

        Args:
            kid: As it says; None says nothing, and then each may be.
            algorithm: As it says; a key that is for another one is none.

        Source: Data Plane Signaling, "OAuth 2 Client Credentials Grant".
        """
        fitting = [key for key in self.keys if key.get("alg") in (None, algorithm)]
        if kid is not None:
            fitting = [key for key in fitting if key.get("kid") == kid]
        return fitting[:MAX_TRIED]


def _checks(key: Mapping[str, Any]) -> bool:
    """Return whether an entry is a public key of a kind that we use, and not for something else."""
    operations = key.get("key_ops")
    for_this = key.get("use") in (None, "sig") and (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    )
    return for_this and key.get("kty") in _KINDS and isinstance(key.get("kid"), str | None)
