"""The behaviour suite on HTTP: a store that knows ranges and conditions, and rclone's WebDAV server."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.servers.http_store import Fault as Injected
from tests.servers.http_store import HttpStore, Kept
from tests.servers.plane import Rig, running
from tests.servers.webdav import webdav

from dataferry.demo.control_plane import message
from dataferry.demo.servers import free_port
from dataferry.domain.address import DataAddress
from dataferry.domain.location import Location, Provenance
from dataferry.domain.objects import Attributes
from dataferry.mechanisms.base import Endpoint
from dataferry.mechanisms.http import MECHANISM
from dataferry.mechanisms.http.address import Place
from dataferry.mechanisms.http.mechanism import HttpMechanism
from dataferry.mechanisms.http.parts import MIN_PART_SIZE_BYTES, PARTS_CAPABILITIES
from dataferry.testing.mechanism_rig import NO_ATTRIBUTES
from dataferry.testing.mechanism_suite import Fault, MechanismRig, MechanismSuite, Quirk
from dataferry.testing.multipart_cases import MultipartCases
from dataferry.testing.writing_cases import WritingCases

TOKEN = "token-of-the-http-store-0123456789"
WRONG_TOKEN = "wrong-token-0123456789abcdef"
MANY: dict[str, Any] = {"times": 1_000}
INJECTIONS: dict[Fault, tuple[str, Injected, dict[str, Any]]] = {
    Fault.SHORT_BODY: ("GET", Injected.TRUNCATE, {}),
    Fault.STALL: ("GET", Injected.STALL, {}),
    Fault.IGNORED_RANGE: ("GET", Injected.IGNORE_RANGE, {}),
    Fault.SHIFTED_RANGE: ("GET", Injected.SHIFT_RANGE, {}),
    Fault.IGNORED_CONDITION: ("GET", Injected.IGNORE_CONDITION, {}),
    Fault.THROTTLING: ("*", Injected.STATUS, MANY | {"status": 429, "retry_after": "1"}),
    Fault.SERVER_ERROR: ("*", Injected.STATUS, MANY | {"status": 500}),
    Fault.EXPIRED_CREDENTIALS: ("*", Injected.STATUS, MANY | {"status": 401}),
    Fault.FULL: ("PUT", Injected.STATUS, {"status": 507}),
    Fault.STALLED_WRITE: ("PUT", Injected.STALL_WRITE, {}),
}
BAD_NAMES = (
    *("", "/", "/x", "//host/x", "x/", "a//b", ".", "a/./b", "nul\0", "a\r\nb", "\udcff", "x" * 3000),
    *("%2e%2e/x", "a/%2E%2E/b", "%252e%252e/x", "..%2fx", "a/..\\x", "..%5cx"),
)


class HttpRig(MechanismRig):
    """A directory of its own on a server, below a location's base URL."""

    mechanism = MECHANISM
    bad_names = BAD_NAMES
    secrets: tuple[str, ...] = (TOKEN, WRONG_TOKEN)
    wrong_location = Location(name="wrong", mechanism="http", settings={"base_ulr": "http://typo/"})
    source_faults = frozenset(
        {*INJECTIONS, Fault.WRONG_CREDENTIALS, Fault.REFUSED_CONNECTION} - {Fault.FULL, Fault.STALLED_WRITE}
    )
    sink_faults = frozenset(
        {
            *(Fault.THROTTLING, Fault.SERVER_ERROR, Fault.EXPIRED_CREDENTIALS, Fault.FULL),
            *(Fault.STALLED_WRITE, Fault.WRONG_CREDENTIALS, Fault.REFUSED_CONNECTION),
        }
    )
    quirks = frozenset({Quirk.NO_USER_METADATA})

    def __init__(self, server: HttpStore) -> None:
        self._server = server
        self._numbers = itertools.count()

    def fresh_source(
        self, objects: Mapping[str, bytes], *, attributes: Attributes = NO_ATTRIBUTES
    ) -> Endpoint:
        """Put objects by the back door."""
        root = self._root()
        for name, data in objects.items():
            self._server.objects[root + name] = Kept(data, _headers(attributes))
        return self._place(root)

    def single(self, source: Endpoint, name: str) -> Endpoint:
        """Name one URL."""
        assert isinstance(source, Place)
        return self._place(source.root + name)

    def fresh_sink(self) -> Endpoint:
        """Name a fresh directory."""
        return self._place(self._root())

    def contents(self, place: Endpoint) -> dict[str, bytes]:
        """Read by the back door."""
        assert isinstance(place, Place)
        objects = self._server.objects
        return {
            key[len(place.root) :]: it.body[:] for key, it in objects.items() if key.startswith(place.root)
        }

    def replace(self, source: Endpoint, name: str, data: bytes) -> None:
        """Put another object by the back door."""
        assert isinstance(source, Place)
        self._server.objects[source.root + name] = Kept(data)

    def missing_root(self) -> Endpoint | None:
        """There are no roots: a URL is an object or is not there."""
        return None

    def source_without_lengths(self, objects: Mapping[str, bytes], *, breaks_off: bool = False) -> Endpoint:
        """Put objects that are sent in chunks."""
        root = self._root()
        for name, data in objects.items():
            self._server.objects[root + name] = Kept(data, is_chunked=True, breaks_off=breaks_off)
        return self._place(root)

    def faulty_source(self, fault: Fault, objects: Mapping[str, bytes]) -> Endpoint:
        """Put objects, and reach them in a way that fails."""
        place = self.fresh_source(objects)
        assert isinstance(place, Place)
        return self._faulty(fault, place.root)

    def faulty_sink(self, fault: Fault) -> Endpoint:
        """Reach a fresh directory in a way that fails."""
        return self._faulty(fault, self._root())

    def _faulty(self, fault: Fault, root: str) -> Endpoint:
        if fault is Fault.WRONG_CREDENTIALS:
            return self._place(root, bearer_token=WRONG_TOKEN)
        if fault is Fault.REFUSED_CONNECTION:
            return self._place(root, base_url=f"http://127.0.0.1:{free_port()}/")
        method, injected, how = INJECTIONS[fault]
        self._server.inject(method, injected, **how)
        return self._place(root)

    def _root(self) -> str:
        return f"/data/place-{next(self._numbers)}/"

    def _place(self, path: str, **settings: str) -> Endpoint:
        here = {"base_url": self._server.url, "bearer_token": TOKEN, **settings}
        return MECHANISM.at_location(Location(name="here", mechanism="http", settings=here), path[1:])


class TestHttp(MechanismSuite):
    """A server that keeps to the RFC, and misbehaves on request."""

    @pytest.fixture
    def rig(self) -> Iterator[HttpRig]:
        """Start a server of the test's own."""
        with HttpStore(token=TOKEN) as server:
            yield HttpRig(server)


class WebDavRig(HttpRig):
    """Files behind rclone. A PUT makes no directories there (RFC 4918, 9.7.1): the rig makes them."""

    secrets = ("password-of-webdav-0123456789",)
    source_faults: frozenset[Fault] = frozenset()
    sink_faults: frozenset[Fault] = frozenset()
    quirks = frozenset(
        {
            Quirk.NO_USER_METADATA,
            Quirk.NO_ATTRIBUTES,
            Quirk.NAMES_COLLIDE,
            Quirk.NO_CONDITIONAL_WRITES,
            Quirk.NO_VERSION_OF_WRITES,
            Quirk.LOCKS_BROKEN_WRITES,
        }
    )

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory
        self._url = url
        self._numbers = itertools.count()

    def fresh_source(
        self,
        objects: Mapping[str, bytes],
        *,
        attributes: Attributes = NO_ATTRIBUTES,  # noqa: ARG002 - files have none
    ) -> Endpoint:
        """Write files."""
        root = self._root()
        for name, data in objects.items():
            path = Path(f"{self._directory}{root}{name}")
            if path.is_dir():
                path.rmdir()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return self._place(root)

    def contents(self, place: Endpoint) -> dict[str, bytes]:
        """Read files."""
        assert isinstance(place, Place)
        root = Path(f"{self._directory}{place.root}")
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def replace(self, source: Endpoint, name: str, data: bytes) -> None:
        """Replace a file."""
        assert isinstance(source, Place)
        new = self._directory / "new"
        new.write_bytes(data)
        new.replace(f"{self._directory}{source.root}{name}")

    def _root(self) -> str:
        root = f"/place-{next(self._numbers)}/"
        for name in ("", "b", "d", "plus+/and space", "日本"):
            Path(f"{self._directory}{root}{name}").mkdir(parents=True, exist_ok=True)
        return root

    def _place(self, path: str, **settings: str) -> Endpoint:
        here = {"base_url": self._url, "username": "dav", "password": self.secrets[0], **settings}
        return MECHANISM.at_location(Location(name="here", mechanism="http", settings=here), path[1:])


class TestHttpOnWebDav(MechanismSuite):
    """A real server from somebody else."""

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[WebDavRig]:
        """Start one on a directory of the test's own."""
        with webdav(tmp_path, "dav", WebDavRig.secrets[0]) as url:
            yield WebDavRig(tmp_path, url)


class NegotiatedHttp(HttpMechanism):
    """The mechanism, as it is towards another plane's gateway."""

    sink_capabilities = PARTS_CAPABILITIES


class IngestRig(HttpRig):
    """The gateway of a real plane: each fresh sink is a push that it has prepared, to a directory."""

    mechanism = NegotiatedHttp()
    part_size_bytes = MIN_PART_SIZE_BYTES
    source_faults: frozenset[Fault] = frozenset()
    sink_faults: frozenset[Fault] = frozenset()
    quirks = frozenset({Quirk.NO_USER_METADATA, Quirk.NAMES_COLLIDE, Quirk.WRITE_ONLY})
    secrets: tuple[str, ...] = ()

    def __init__(self, plane: Rig, root: Path, store: HttpStore) -> None:
        super().__init__(store)
        self._plane = plane
        self._root_directory = root
        self._tokens: list[str] = []

    def fresh_sink(self) -> Endpoint:
        """Prepare a push."""
        process_id = f"push-{next(self._numbers)}-{os.urandom(3).hex()}"
        told = message(process_id, "any", "HttpData-PUSH")
        reply = self._plane.control_plane.prepare(self._plane.address, told)
        place = MECHANISM.at_address(DataAddress.from_wire(reply.body["dataAddress"]))
        # Where nothing is but loopback: the operator's word, as the guard would refuse what a message says.
        return replace(place, provenance=Provenance.OPERATOR)

    def single(self, source: Endpoint, name: str) -> Endpoint:
        """Name one object of a push."""
        assert isinstance(source, Place)
        url = replace(source.url, path=source.root + quote(name))
        return replace(source, url=url)

    def contents(self, place: Endpoint) -> dict[str, bytes]:
        """Read the directory where the push lands."""
        assert isinstance(place, Place)
        flow = self._plane.plane.flow(place.root.split("/")[2])
        root = self._root_directory / flow["processId"]
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and not path.name.endswith(".dataferry-part")
        }


@pytest.fixture(scope="module")
def ingesting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Path]]:
    """A consumer's plane."""
    root = tmp_path_factory.mktemp("landed")
    made = Rig(
        tmp_path_factory.mktemp("plane"),
        locations={"files": {"type": "file", "root": str(root)}},
        more={
            "server": {"allow_http_on_loopback": True},
            "landing_zones": [{"name": "in", "sink": "files:{processId}/"}],
        },
    )
    with running(made):
        yield made, root


class TestHttpInParts(WritingCases, MultipartCases):
    """What a plane agrees with another one, against a plane."""

    @pytest.fixture
    def rig(self, ingesting: tuple[Rig, Path]) -> Iterator[IngestRig]:
        """Its gateway."""
        with HttpStore(token=TOKEN) as store:
            yield IngestRig(*ingesting, store)


def _headers(attributes: Attributes) -> dict[str, str]:
    """Write attributes as reply headers."""
    named = {
        "Content-Type": attributes.content_type,
        "Cache-Control": attributes.cache_control,
        "Content-Disposition": attributes.content_disposition,
        "Content-Language": attributes.content_language,
    }
    return {name: value for name, value in named.items() if value}
