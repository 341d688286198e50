"""What files are called: ``file_{transferId}_{timestamp}_{6 hex}.{ext}``."""

from __future__ import annotations

import mimetypes
import re
from datetime import UTC, datetime

from dataferry.domain.location import LocationRef

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}")
MAX_ID_CHARS = 100
# What the system's table does not know, or knows by a rarer name than users do.
_USUAL = {
    "application/json": ".json",
    "application/ld+json": ".jsonld",
    "application/x-ndjson": ".ndjson",
    "application/jsonl": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
    "application/gzip": ".gz",
    "application/xml": ".xml",
    "text/xml": ".xml",
    "text/csv": ".csv",
    "text/plain": ".txt",
    "image/jpeg": ".jpg",
    "application/octet-stream": ".bin",
}


def file_name(transfer_id: str, now: datetime, tail: str, *, content_type: str | None, source: str) -> str:
    """Return a file's name.

    Args:
        transfer_id: Of the transfer process; what is no plain letter in it is replaced.
        now: When.
        tail: Six hexadecimal digits that tell two files of one second apart.
        content_type: As the source says it; decides the extension.
        source: What the source calls the object; decides where the content type does not.
    """
    return base_name(transfer_id, now, tail) + extension(content_type, source)


def base_name(transfer_id: str, now: datetime, tail: str) -> str:
    """Return the name without its extension: also that of a directory, where the data is several objects."""
    safe = _UNSAFE.sub("-", transfer_id)[:MAX_ID_CHARS]
    return f"file_{safe}_{now.astimezone(UTC):%Y%m%d%H%M%S}_{tail}"


def below(destination: str, name: str) -> str:
    """Return the ``location:path`` of something in a destination; one that names a file is that file.

    Args:
        destination: ``location:path``, a directory if it ends with ``/`` or is a whole location.
        name: Of what is stored; ends with ``/`` where it may be several objects.
    """
    ref = LocationRef.parse(destination)
    path = ref.path + name if not ref.path or ref.path.endswith("/") else ref.path
    return str(LocationRef(location=ref.location, path=path))


def extension(content_type: str | None, source: str) -> str:
    """Return the extension with its dot; ``.bin`` where nothing tells it."""
    plain = (content_type or "").partition(";")[0].strip().lower()
    known = _USUAL.get(plain) or mimetypes.guess_extension(plain, strict=False)
    if plain.endswith("+json") and known is None:
        known = ".json"
    if known and known != ".bin":
        return known
    found = re.search(rf"{_EXTENSION.pattern}$", source)
    return found[0].lower() if found else ".bin"
