"""How long an id may be by which rows are found: on every database alike.

SQLite takes any length. PostgreSQL holds columns to theirs, in characters, and an entry of an index to some
2,700 bytes; one of an index of flows has three ids. Ids in use are UUIDs, URNs, DIDs and URLs, much shorter.
"""

from __future__ import annotations

MAX_KEY_BYTES = 300
# Operators choose those of participant contexts, in characters.
MAX_CONTEXT_CHARS = 200


def is_key(text: str) -> bool:
    """Return whether a text may be an id by which rows are found; its bytes are those of UTF-8."""
    return 0 < len(text.encode("utf-8", "surrogatepass")) <= MAX_KEY_BYTES
