"""Ids in paths and bodies by which rows will be found: refused where a database could not keep them."""

from __future__ import annotations

from pydantic import AfterValidator

from dataferry.domain.keys import MAX_KEY_BYTES, is_key


def _fits(text: str) -> str:
    """Refuse what is longer in bytes; a schema can only tell of characters."""
    if not is_key(text):
        raise ValueError(f"may have at most {MAX_KEY_BYTES} bytes in UTF-8")
    return text


FITS = AfterValidator(_fits)
