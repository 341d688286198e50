"""Names of objects that are not text: files may be called by any bytes, and what is moved is named in UTF-8.

In a listing, bytes that are not UTF-8 stand as lone surrogates, as Python reads file names (PEP 383).
Patterns may leave such names out. Whoever takes what they leave refuses it, so that none gets into a
ledger or a message.
"""

from __future__ import annotations

import re

from dataferry.domain.errors import AddressError

_SHOWN_CHARS = 300
_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")


def is_text(name: str) -> bool:
    """False if a name holds bytes that are not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def quoted(name: str) -> str:
    r"""Return a name as messages show it: quoted, shortened, and ``\xff`` for a byte that is not UTF-8."""
    return _BYTE.sub(r"\\x\1", repr(name[:_SHOWN_CHARS]))


def refuse_bytes(name: str) -> None:
    """Refuse a name that is not UTF-8.

    Raises:
        AddressError: It is not, with the way out.
    """
    if not is_text(name):
        raise AddressError(
            f"{quoted(name)} can't be moved: its name is not UTF-8. Rename it, or leave it out: exclude a "
            "pattern with ? for each byte shown as \\x"
        )
