"""Whether a location can be reached, read and written, at the places that datasets and landing zones name."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dataferry.app.settings import Settings
from dataferry.domain.errors import AddressError, DataFerryError
from dataferry.domain.location import Location, LocationRef
from dataferry.domain.objects import Attributes, Capability
from dataferry.mechanisms.abilities import TriedGrants
from dataferry.mechanisms.base import Endpoint, GrantMode, Mechanism
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network

PROBE = b"written by `dataferry check --write`; safe to delete\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was looked at, and what was found."""

    what: str
    ok: bool
    detail: str

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {"what": self.what, "ok": self.ok, "detail": self.detail}


def tried(what: str, look: Callable[[], str]) -> Finding:
    """Run one look; what we raise on purpose is its finding."""
    try:
        return Finding(what=what, ok=True, detail=look())
    except DataFerryError as error:
        return Finding(what=what, ok=False, detail=str(error))


class Reach:
    """Tries one location.

    Args:
        locate: Returns the location, with its references resolved.
        registry: The mechanisms.
        network: How it is reached.
        name: The location's name.
    """

    def __init__(
        self, locate: Callable[[str], Location], registry: Registry, network: Network, name: str
    ) -> None:
        self._locate = locate
        self._registry = registry
        self._network = network
        self._name = name

    def in_use(self, settings: Settings, *, write: bool) -> Iterator[Finding]:
        """Try every place of it that a dataset or landing zone names."""
        reads, writes = _places(settings, self._name)
        for path in reads:
            yield tried(f"read {self._name}:{path}", lambda path=path: self._unless_open(self._read, path))  # type: ignore[misc]
            yield from self._granted(path, GrantMode.READ)
        for path in writes:
            look = self._write if write else self._reach
            yield tried(
                f"{'write' if write else 'reach'} {self._name}:{path}",
                lambda path=path, look=look: self._unless_open(look, path),  # type: ignore[misc]
            )
            yield from self._granted(path, GrantMode.WRITE)
        if not reads and not writes:
            yield tried(f"location {self._name}", self._unused)

    def _granted(self, path: str, mode: GrantMode) -> Iterator[Finding]:
        """Try to make the grant that a flow would hand out, where somebody must be asked for it."""
        try:
            mechanism, endpoint = self._place(path)
            if not isinstance(mechanism, TriedGrants):
                return
            detail = mechanism.try_grant(endpoint, mode, self._network)
        except AddressError:
            return  # told by the look before
        except DataFerryError as error:
            yield Finding(what=f"grant {self._name}:{path}", ok=False, detail=str(error))
            return
        if detail is not None:
            yield Finding(what=f"grant {self._name}:{path}", ok=True, detail=detail)

    def _place(self, path: str) -> tuple[Mechanism, Endpoint]:
        location = self._locate(self._name)
        mechanism = self._registry.get(location.mechanism)
        return mechanism, mechanism.at_location(location, path)

    def _unused(self) -> str:
        self._locate(self._name)
        return "its settings are read; no dataset or landing zone uses it, so it was not tried"

    def _unless_open(self, look: Callable[[str], str], path: str) -> str:
        """Look, unless nothing is fixed before the first placeholder: then messages decide the place."""
        try:
            return look(path)
        except AddressError:
            if path:
                raise
            return "not tried: the whole path is decided by messages"

    def _read(self, path: str) -> str:
        mechanism, endpoint = self._place(path)
        source = mechanism.open_source(endpoint, self._network)
        try:
            source.probe()
        finally:
            source.close()
        return "can be read"

    def _reach(self, path: str) -> str:
        mechanism, endpoint = self._place(path)
        sink = mechanism.open_sink(endpoint, self._network)
        try:
            sink.probe()
        finally:
            sink.close()
        return "is there (writing is tried with --write)"

    def _write(self, path: str) -> str:
        """Begin an upload, send a part and abort: proves the permissions and leaves nothing behind."""
        directory = path if path.endswith("/") or not path else path.rpartition("/")[0] + "/"
        mechanism, endpoint = self._place(directory)
        sink = mechanism.open_sink(endpoint, self._network)
        try:
            if Capability.PARTS not in sink.capabilities:
                sink.probe()
                return "is there; it takes no uploads that could be aborted, so writing was not tried"
            writer = sink.writer()
            try:
                key = sink.place(f".dataferry-check-{secrets.token_hex(4)}", single=False)
                upload = writer.create_upload(key, size_bytes=len(PROBE), attributes=Attributes())
                try:
                    part = writer.put_part(upload, number=1, offset_bytes=0, length_bytes=len(PROBE))
                    part.send(memoryview(PROBE))
                    part.finish()
                finally:
                    writer.abort_upload(upload)
            finally:
                writer.close()
        finally:
            sink.close()
        return "an upload was begun, a part written, and the upload aborted"


def _places(settings: Settings, name: str) -> tuple[list[str], list[str]]:
    """The paths of a location that are read, and those that are written."""
    reads = [dataset.source for dataset in settings.datasets]
    reads += [zone.source for zone in settings.landing_zones if zone.source]
    writes = [zone.sink for zone in settings.landing_zones if zone.sink]
    return _paths(reads, name), _paths(writes, name)


def _paths(texts: list[str], name: str) -> list[str]:
    """Those of ``texts`` that lie in the location, each once, as far as they are fixed."""
    refs = (LocationRef.parse(text) for text in texts)
    return list(dict.fromkeys(_fixed(ref.path) for ref in refs if ref.location == name))


def _fixed(path: str) -> str:
    """The directory before the first placeholder; the whole path if there is none."""
    before, brace, _ = path.partition("{")
    if not brace:
        return path
    directory, slash, _ = before.rpartition("/")
    return directory + slash
