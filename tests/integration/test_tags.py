"""Tags on their way from store to store, and what is said where an end refuses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.servers.faulty_s3 import Fault, FaultyS3
from tests.unit.engine.memory import Witness

from dataferry.domain.errors import CredentialsExpiredError
from dataferry.domain.location import Location
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Result, Transfer
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.net.connections import Network
from dataferry.store.local import open_local_ledger

MIB = 1024 * 1024
BODIES = {"big": bytes(6 * MIB), "one": b"1", "two": b"2"}
LIMITS = EngineLimits(
    workers=1,
    part_size_bytes=5 * MIB,
    multipart_threshold_bytes=5 * MIB,
    attempts=2,
    backoff_s=0.01,
    max_backoff_s=0.02,
)


@pytest.fixture
def servers() -> Iterator[tuple[FaultyS3, FaultyS3]]:
    """Two servers: one whose objects have tags, and one to copy them to."""
    with FaultyS3() as source, FaultyS3() as target:
        source.make_bucket("source")
        target.make_bucket("target")
        for key, body in BODIES.items():
            source.put("source", key, body, x_amz_tagging=f"plant=north&of={key}")
        source.put("source", "plain", b"no tags")
        yield source, target


def go(servers: tuple[FaultyS3, FaultyS3], directory: Path, **settings: Any) -> tuple[Result, list[str]]:
    """Copy all of the one to the other; return what was said about tags."""
    witness = Witness()
    with ExitStack() as stack:
        places = [
            MECHANISM.at_location(
                Location(
                    name="it",
                    mechanism="s3",
                    settings={
                        "endpoint_url": server.endpoint_url,
                        "access_key_id": server.access_key_id,
                        "secret_access_key": server.secret_access_key,
                        "exclusive": True,
                        **(settings if server is servers[1] else {}),
                    },
                ),
                path,
            )
            for server, path in zip(servers, ("source/", "target/"), strict=True)
        ]
        source = stack.enter_context(closing(MECHANISM.open_source(places[0], Network())))
        sink = stack.enter_context(closing(MECHANISM.open_sink(places[1], Network())))
        ledger = stack.enter_context(closing(open_local_ledger(directory / "ledger.db")))
        attempt = ledger.begin("t")
        transfer = Transfer(id="t", epoch=attempt.epoch, source=source, sink=sink, limits=LIMITS)
        result = run(transfer, ledger, stop=Stop(), observer=witness)
    return result, [message for kind, message in witness.notes if kind == "tags_not_kept"]


def tags(server: FaultyS3) -> dict[str, str | None]:
    """The tags of what arrived, as they were sent."""
    return {key: it.headers.get("x-amz-tagging") for key, it in server.buckets["target"].items()}


def test_tags_are_asked_for_only_where_there_are_some(
    servers: tuple[FaultyS3, FaultyS3], tmp_path: Path
) -> None:
    """Objects of either size keep them, one request each; an object without costs none."""
    result, said = go(servers, tmp_path)
    assert (result.is_complete, said) == (True, [])
    assert tags(servers[1]) == {key: f"plant=north&of={key}" for key in BODIES} | {"plain": None}
    assert servers[0].count("GetObjectTagging") == len(BODIES)


def test_a_source_that_does_not_tell_tags_is_copied_without(
    servers: tuple[FaultyS3, FaultyS3], tmp_path: Path
) -> None:
    """Every object arrives, and it is said which had tags: the first with the reason, then how many."""
    servers[0].inject("GetObjectTagging", Fault.ERROR, times=2, status=403, code="AccessDenied")
    result, said = go(servers, tmp_path)
    assert result.is_complete
    assert list(tags(servers[1]).values()).count(None) == 3
    assert len(said) == 2
    assert "arrived without its tags" in said[0]
    assert "AccessDenied" in said[0]
    assert said[1] == "2 objects arrived without their tags"


def test_a_destination_that_takes_no_tags_gets_the_objects_without(
    servers: tuple[FaultyS3, FaultyS3], tmp_path: Path
) -> None:
    """After the first refusal tags are neither asked for nor sent, and it is said."""
    servers[1].refuses_tags = True
    result, said = go(servers, tmp_path)
    assert result.is_complete
    assert set(tags(servers[1]).values()) == {None}
    assert servers[0].count("GetObjectTagging") == 1
    assert said[-1] == "3 objects arrived without their tags"


def test_a_refusal_that_is_not_about_tags_is_told_as_what_it_is(
    servers: tuple[FaultyS3, FaultyS3], tmp_path: Path
) -> None:
    """Who may not write at all is told that, and nothing about tags."""
    for call in ("PutObject", "CreateMultipartUpload"):
        servers[1].inject(call, Fault.ERROR, times=100, status=403, code="AccessDenied")
    result, said = go(servers, tmp_path)
    assert (result.objects_failed, said) == (4, [])
    assert getattr(result.first_error, "kind", "") == "access_denied"


def test_a_location_can_do_without_tags(servers: tuple[FaultyS3, FaultyS3], tmp_path: Path) -> None:
    """``tags = false`` at either end: nothing is asked, and nothing said, for it was wanted so."""
    result, said = go(servers, tmp_path, tags=False)
    assert (result.is_complete, said) == (True, [])
    assert set(tags(servers[1]).values()) == {None}
    assert servers[0].count("GetObjectTagging") == 0


def test_objects_are_stored_as_the_location_says(servers: tuple[FaultyS3, FaultyS3], tmp_path: Path) -> None:
    """Storage class and encryption stand in the request that creates an object, whichever it is."""
    wanted = {
        "storage_class": "STANDARD_IA",
        "server_side_encryption": "aws:kms",
        "sse_kms_key_id": "alias/ours",
        "bucket_key_enabled": True,
    }
    assert go(servers, tmp_path, **wanted)[0].is_complete
    sealed = "x-amz-server-side-encryption"
    for stored in servers[1].buckets["target"].values():
        assert {name: it for name, it in stored.headers.items() if name.startswith("x-amz-s")} == {
            "x-amz-storage-class": "STANDARD_IA",
            sealed: "aws:kms",
            f"{sealed}-aws-kms-key-id": "alias/ours",
            f"{sealed}-bucket-key-enabled": "true",
        }


@pytest.mark.parametrize(("call", "number"), [("GetObjectTagging", 0), ("PutObject", 1)])
def test_credentials_that_have_expired_are_no_refusal_of_tags(
    servers: tuple[FaultyS3, FaultyS3], tmp_path: Path, call: str, number: int
) -> None:
    """The attempt ends: an object without its tags would look finished for ever."""
    servers[number].inject(call, Fault.ERROR, times=1_000, status=400, code="ExpiredToken")
    with pytest.raises(CredentialsExpiredError):
        go(servers, tmp_path)
    assert {key for key, sent in tags(servers[1]).items() if sent is None} <= {"plain"}
