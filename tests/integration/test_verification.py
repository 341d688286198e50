"""What each pair of stores proves, and which flipped bit is caught at which level."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.servers.authority import Authority, TlsFront
from tests.servers.faulty_s3 import Etags, Fault, FaultyS3
from tests.servers.proxy import Proxy
from tests.unit.engine.memory import Witness

from dataferry.domain.ledger import ObjectState
from dataferry.domain.location import Location
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Result, Transfer, Verify
from dataferry.mechanisms.base import Sink, Source
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network
from dataferry.store.local import LocalLedger, open_local_ledger

MIB = 1024 * 1024
LIMITS = EngineLimits(
    workers=1,  # so that the order of the objects is the plan's
    part_size_bytes=5 * MIB,
    multipart_threshold_bytes=5 * MIB,
    attempts=3,
    backoff_s=0.001,
    max_backoff_s=0.002,
)
SIZES = {"small": 60_000, "whole": 300_000, "parts": 5 * MIB + 70_000}
OBJECTS = {name: random.Random(name).randbytes(size) for name, size in SIZES.items()}
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "verification.md"
# The kinds of the page's table. AWS keeps both; ETags of an MD5's form that are none are the harder case.
KINDS: dict[str, dict[str, Any]] = {
    "CRC-64/NVME": {"etags": Etags.RANDOM},
    "MD5 as ETag": {"keeps_checksums": False},
    "nothing": {"keeps_checksums": False, "etags": Etags.OPAQUE},
    "nothing, random ETags": {"keeps_checksums": False, "etags": Etags.RANDOM},
    "old": {"rejects_checksums": True, "keeps_checksums": False, "etags": Etags.MD5},
}


@dataclass
class Rig:
    """Two places, and what is known of both.

    Attributes:
        scheme: How S3 servers are spoken to.
        way: The ends that are reached by a wire of ours.
        wires: Those wires, by end: ``source`` or ``sink``.
    """

    directory: Path
    stack: ExitStack
    servers: dict[str, FaultyS3] = field(default_factory=dict)
    scheme: str = "http"
    wires: dict[str, Proxy] = field(default_factory=dict)
    way: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.ledger: LocalLedger = self.stack.enter_context(
            closing(open_local_ledger(self.directory / "ledger.db"))
        )
        self.witness = Witness()

    def open(self, end: str, kind: str) -> Any:
        """Open one end on a store of a kind."""
        if kind == "files":
            place = self.directory / end
            place.mkdir(exist_ok=True)
            mechanism, endpoint = Registry().get("file"), f"file://{place}/"
            opened = mechanism.at_url(endpoint)
        else:
            server = self.stack.enter_context(FaultyS3(**KINDS[kind]))
            server.make_bucket("data")
            self.servers[end] = server
            mechanism = Registry().get("s3")
            settings = {
                **self._reached(end, server),
                "access_key_id": server.access_key_id,
                "secret_access_key": server.secret_access_key,
            }
            opened = mechanism.at_location(Location(name=end, mechanism="s3", settings=settings), "data/")
        make = mechanism.open_source if end == "source" else mechanism.open_sink
        return self.stack.enter_context(closing(make(opened, Network())))

    def _reached(self, end: str, server: FaultyS3) -> dict[str, str]:
        """Where a server is spoken to: itself, or by a wire that can be made to spoil bytes."""
        if end not in self.way:
            return {"endpoint_url": server.endpoint_url}
        authority, port = Authority(self.directory), server.port
        if self.scheme == "https":
            port = self.stack.enter_context(TlsFront(port, authority.certificate("localhost"))).port
        wire = self.wires[end] = self.stack.enter_context(Proxy(port))
        return {
            "endpoint_url": f"{self.scheme}://localhost:{wire.port}",
            "ca_file": str(authority.ca_file),
        }

    def copy(self, source: str, sink: str, *names: str, verify: Verify = Verify.BEST) -> Result:
        """Copy objects from a store of one kind to one of another."""
        return self.go(self.fill(source, *names), self.open("sink", sink), verify=verify)

    def fill(self, kind: str, *names: str) -> Source:
        """Make a source with objects."""
        source: Source = self.open("source", kind)
        for name in names or OBJECTS:
            if kind == "files":
                (self.directory / "source" / name).write_bytes(OBJECTS[name])
            else:
                self.servers["source"].put("data", name, OBJECTS[name])
        return source

    def go(self, source: Source, sink: Sink, *, verify: Verify = Verify.BEST) -> Result:
        """Run one attempt."""
        attempt = self.ledger.begin("t")
        transfer = Transfer(
            id="t", epoch=attempt.epoch, source=source, sink=sink, limits=LIMITS, verify=verify
        )
        return run(transfer, self.ledger, stop=Stop(), observer=self.witness)

    def levels(self) -> dict[str, str]:
        """The level of each object, by name."""
        rows = self.ledger.objects("t", state=ObjectState.DONE)
        return {row.source.name: row.verification.word for row in rows}

    def arrived(self, name: str) -> bool:
        """True if the sink holds exactly the source's bytes."""
        if "sink" in self.servers:
            return self.servers["sink"].body("data", name) == OBJECTS[name]
        return (self.directory / "sink" / name).read_bytes() == OBJECTS[name]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A directory and a ledger of the test's own."""
    with ExitStack() as stack:
        yield Rig(tmp_path, stack)


def rows(heading: str) -> list[list[str]]:
    """The rows of a table of the page, as cells without quotes."""
    text = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (.+) \|$", text, flags=re.MULTILINE)[1:]
    return [[cell.strip(" `") for cell in line.split("|")] for line in lines if not line.startswith("-")]


PAIRS = rows("What a pair gives")
assert len(PAIRS) > 8, "the page has no table of pairs"


@pytest.mark.parametrize("row", PAIRS, ids=lambda row: f"{row[0]} to {row[1]}")
def test_a_pair_gives_what_the_page_says(rig: Rig, row: list[str]) -> None:
    """The level of a small object, of one sent whole and of one in parts, as users read it."""
    source, sink, *expected = row
    result = rig.copy(source, sink)
    assert dict(zip(SIZES, expected, strict=True)) == rig.levels()
    assert all(rig.arrived(name) for name in OBJECTS)
    assert result.verification == min(rig.ledger.objects("t"), key=lambda it: it.verification).verification
    assert result.bytes_retransferred == 0


READ, WIRE, STORED = "read", "wire", "stored"
FLIPS: dict[str, Callable[[Rig, str], None]] = {
    READ: lambda rig, _: rig.servers["source"].inject("GetObject", Fault.FLIP_SENT),
    WIRE: lambda rig, call: rig.servers["sink"].inject(call, Fault.CORRUPT),
    STORED: lambda rig, call: rig.servers["sink"].inject(call, Fault.FLIP_STORED),
}
CALLS = {"small": "PutObject", "whole": "PutObject", "parts": "UploadPart"}
CRC, MD5, NOTHING, RANDOM = list(KINDS)[:4]
CAUGHT = [
    *[(CRC, CRC, name, flip, "end_to_end") for name in SIZES for flip in (READ, WIRE)],
    *[(MD5, MD5, name, flip, "end_to_end") for name in ("small", "whole") for flip in (READ, WIRE)],
    *[(NOTHING, CRC, name, WIRE, "destination") for name in SIZES],
    *[(NOTHING, MD5, "small", WIRE, "destination")],
]


def flipped(rig: Rig, source: str, sink: str, name: str, flip: str, verify: Verify = Verify.BEST) -> Result:
    """Copy one object, of which one bit changes once."""
    ends = rig.fill(source, name), rig.open("sink", sink)
    FLIPS[flip](rig, CALLS[name])
    return rig.go(*ends, verify=verify)


@pytest.mark.parametrize(("source", "sink", "name", "flip", "level"), CAUGHT)
def test_a_level_catches_what_it_claims(
    rig: Rig, source: str, sink: str, name: str, flip: str, level: str
) -> None:
    """The bytes are sent again, and what is there in the end is what the source has."""
    result = flipped(rig, source, sink, name, flip)
    assert rig.arrived(name)
    assert {name: level} == rig.levels()
    assert result.objects_failed == 0
    assert {"retry", "object_restarted"} & set(rig.witness.kinds())


@pytest.mark.parametrize(
    ("source", "sink", "name", "flip", "level"),
    [
        # Nobody but the source knows what was to be read.
        *[(NOTHING, CRC, name, READ, "destination") for name in SIZES],
        # A store that keeps nothing says nothing.
        *[(CRC, NOTHING, name, flip, "transport") for name in SIZES for flip in (WIRE, STORED)],
        (MD5, MD5, "parts", WIRE, "transport"),
        (NOTHING, MD5, "whole", WIRE, "transport"),
        # A stored checksum is the store's word: it was taken before the bit changed.
        *[(CRC, CRC, name, STORED, "end_to_end") for name in SIZES],
        (MD5, MD5, "small", STORED, "end_to_end"),
    ],
)
def test_a_level_does_not_cover_what_the_page_says(
    rig: Rig, source: str, sink: str, name: str, flip: str, level: str
) -> None:
    """The flipped bit passes, and no level that would have caught it is claimed."""
    flipped(rig, source, sink, name, flip)
    assert not rig.arrived(name)
    assert {name: level} == rig.levels()


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("end", ["source", "sink"])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_only_tls_notices_a_byte_that_changes_on_the_wire(rig: Rig, scheme: str, end: str, name: str) -> None:
    """What ``transport`` claims: by https it is sent again, by http it passes where no checksum is kept."""
    rig.scheme, rig.way = scheme, (end,)
    ends = rig.fill(NOTHING, name), rig.open("sink", NOTHING)
    faults, at = rig.wires[end].faults, min(SIZES[name], LIMITS.part_size_bytes) * 2 // 3
    faults.flip_up_at_byte, faults.flip_down_at_byte = (at, None) if end == "sink" else (None, at)
    result = rig.go(*ends)
    assert (faults.flip_up_at_byte, faults.flip_down_at_byte) == (None, None), "nothing was flipped"
    assert (result.objects, result.objects_failed) == (1, 0)
    assert {name: "transport"} == rig.levels()
    is_noticed = scheme == "https"
    assert rig.arrived(name) == is_noticed
    assert ("retry" in rig.witness.kinds()) == is_noticed


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("flip", [WIRE, STORED])
@pytest.mark.parametrize("sink", [CRC, MD5, NOTHING, RANDOM])
def test_reading_back_catches_what_no_checksum_does(rig: Rig, sink: str, flip: str, name: str) -> None:
    """Whatever the destination keeps, what it gives out is what was sent."""
    flipped(rig, NOTHING, sink, name, flip, Verify.READBACK)
    assert rig.arrived(name)
    assert {name: "destination"} == rig.levels()


def test_reading_back_proves_more_with_the_sources_word(rig: Rig) -> None:
    """A source that keeps a checksum is the other end: of every size, or of small objects with MD5s."""
    rig.copy(CRC, NOTHING, verify=Verify.READBACK)
    assert set(rig.levels().values()) == {"end_to_end"}


def test_reading_back_proves_small_objects_with_a_sources_md5(rig: Rig) -> None:
    """Larger ones are not summed up a second time."""
    rig.copy(MD5, NOTHING, verify=Verify.READBACK)
    assert rig.levels() == {"small": "end_to_end", "whole": "destination", "parts": "destination"}


def test_what_is_spoiled_on_the_wire_never_becomes_visible(rig: Rig) -> None:
    """A small object carries its checksum in its head, and the server compares before it stores."""
    ends = rig.fill(NOTHING, "small"), rig.open("sink", CRC)
    seen: list[bool] = []
    sink = rig.servers["sink"]
    sink.watch = lambda _call, _moment: seen.append("small" in sink.buckets["data"])
    sink.inject("PutObject", Fault.CORRUPT, times=3)
    result = rig.go(*ends)
    assert (result.objects, result.objects_failed) == (0, 1)
    assert True not in seen
    assert sink.body("data", "small") is None


@pytest.mark.parametrize("name", ["small", "whole"])
def test_a_bad_read_never_becomes_visible(rig: Rig, name: str) -> None:
    """What the source's own checksum does not fit is dropped before its last bytes are sent."""
    ends = rig.fill(CRC, name), rig.open("sink", NOTHING)
    rig.servers["source"].inject("GetObject", Fault.FLIP_SENT, times=3)
    result = rig.go(*ends)
    assert result.objects_failed == 1
    assert rig.servers["sink"].body("data", name) is None


def test_etags_that_only_look_like_md5s_cost_one_more_look(rig: Rig) -> None:
    """They prove nothing; after the first object nothing is read or sent again for them."""
    source, sink = rig.open("source", RANDOM), rig.open("sink", RANDOM)
    for number in range(20):
        rig.servers["source"].put("data", f"{number:02}", OBJECTS["small"][number:])
    result = rig.go(source, sink)
    assert set(rig.levels().values()) == {"transport"}
    assert result.objects == 20
    assert rig.servers["sink"].count("PutObject") <= 20 + LIMITS.workers


def test_old_servers_are_asked_once(rig: Rig) -> None:
    """A server that refuses a checksum in the head gets the object without one, and no other with one."""
    source, sink = rig.fill("files"), rig.open("sink", "old")
    for number in range(10):
        (rig.directory / "source" / f"{number}").write_bytes(b"x" * number)
    result = rig.go(source, sink)
    assert (result.objects, result.objects_failed) == (13, 0)
    asked = [
        headers
        for call, _, headers in rig.servers["sink"].requests
        if call == "PutObject" and "x-amz-checksum-crc64nvme" in headers
    ]
    assert len(asked) <= LIMITS.workers


def test_the_first_object_of_a_store_is_no_exception(rig: Rig) -> None:
    """A single object between stores with MD5s is proved as every other is."""
    rig.copy(MD5, MD5, "whole")
    assert rig.levels() == {"whole": "end_to_end"}
