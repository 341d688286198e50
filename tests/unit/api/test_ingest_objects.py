"""Objects of a push at bad moments: a kill, a lost answer, an end, just before it is written down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from tests.unit.api.api_rig import Plane, message, plane

from dataferry.domain.errors import GoneError, ShortBodyError, UploadGoneError
from dataferry.domain.ledger import ObjectRow, ObjectState
from dataferry.domain.objects import Attributes, PartReceipt, Verification
from dataferry.flows import arriving_parts
from dataferry.flows.arrivals import receive
from dataferry.flows.arriving_parts import PartArrival, PartSpan
from dataferry.flows.ingest import Receiving
from dataferry.flows.recipient import Recipient
from dataferry.mechanisms.checksum import crc64nvme

NONE = Attributes()
BODY = bytes(range(256)) * 40
PART = 4096


@dataclass(frozen=True)
class Push:
    """A push that was prepared, into files."""

    api: Plane
    receiving: Receiving
    root: Path

    def recipient(self, name: str = "x") -> Recipient:
        """One request's."""
        return Recipient(self.api.services.ingest, self.receiving, name)

    def row(self, name: str = "x") -> ObjectRow:
        """What is written down of an object."""
        recipient = self.recipient(name)
        recipient.release()
        assert recipient.row is not None
        return recipient.row


@pytest.fixture
def push(tmp_path: Path) -> Iterator[Push]:
    """On a plane whose threads do not run."""
    with plane(tmp_path) as api:
        zone = {"sink": "disk:{processId}/", "profiles": ["HttpData-PUSH"], "datasets": ["data-1"]}
        assert api.manage("PUT", "/landing-zones/pushed", json=zone).status_code == 200
        answer = api.signal("prepare", message("push-1", profile="HttpData-PUSH"))
        address = answer.json()["dataAddress"]
        flow_id = address["endpoint"].rstrip("/").rpartition("/")[2]
        receiving = api.services.ingest.open(flow_id, address["endpointProperties"][0]["value"])
        yield Push(api, receiving, tmp_path / "files" / "push-1")


def send_parts(push: Push) -> str:
    """Send the body in parts; return the upload's name."""
    upload = arriving_parts.begin(
        push.recipient(), size_bytes=len(BODY), attributes=NONE, only_if_absent=False
    )
    for at in range(0, len(BODY), PART):
        piece = BODY[at : at + PART]
        span = PartSpan(number=at // PART + 1, offset_bytes=at, length_bytes=len(piece))
        arriving = PartArrival(push.recipient(), upload, span)
        arriving.send(memoryview(piece))
        arriving.finish()
    return upload


def complete(push: Push, upload: str) -> str | None:
    """Say that all is sent; return the object's version."""
    done = arriving_parts.finish(
        push.recipient(),
        upload,
        count=-(-len(BODY) // PART),
        size_bytes=len(BODY),
        crc64nvme=crc64nvme(memoryview(BODY), 0),
        only_if_absent=False,
    )
    return done.etag


@pytest.mark.parametrize("length", [len(BODY), None])
def test_what_is_there_is_not_said_to_be_missing(push: Push, length: int | None) -> None:
    """A request that ends badly after its object was made changes nothing."""
    arriving = receive(push.recipient(), length_bytes=length, attributes=NONE, only_if_absent=False)
    arriving.send(memoryview(BODY))
    arriving.finish()
    arriving.fail(ShortBodyError("nobody waits for the answer any more"))

    assert push.row().state is ObjectState.DONE
    assert (push.root / "x").read_bytes() == BODY


def test_nothing_becomes_visible_after_the_end(push: Push) -> None:
    """The flow is looked at once more before the last bytes are passed on, however short ago it was."""
    whole = receive(push.recipient(), length_bytes=len(BODY), attributes=NONE, only_if_absent=False)
    unsized = receive(push.recipient("y"), length_bytes=None, attributes=NONE, only_if_absent=False)
    whole.send(memoryview(BODY)[:-1])
    unsized.send(memoryview(BODY))
    upload = send_parts(push)
    push.api.signal("push-1/terminate", {"messageId": "m-2"})

    with pytest.raises(GoneError):
        whole.send(memoryview(BODY)[-1:])
    with pytest.raises(GoneError):
        unsized.finish()
    with pytest.raises((GoneError, UploadGoneError)):
        complete(push, upload)
    assert not any(path.name in {"x", "y"} for path in push.root.rglob("*"))


def test_a_kill_after_completion_costs_nothing(push: Push) -> None:
    """The sink has made the object, and nobody wrote that down: it is recognised, and not sent again."""
    upload = send_parts(push)
    recipient = push.recipient()
    row = cast("ObjectRow", recipient.row)
    receipts = recipient.ledger.parts(push.receiving.attempt.transfer_id, row.ordinal)
    assert row.upload is not None
    recipient.lent.writer.complete(row.upload, receipts, size_bytes=len(BODY), crc64nvme=None)

    assert complete(push, upload) is not None
    assert push.row().state is ObjectState.DONE
    assert push.row().verification is Verification.SIZE
    assert complete(push, upload) == push.row().etag


def test_another_object_in_its_place_is_not_taken_for_it(push: Push) -> None:
    """The upload is gone, and what is there has another size: the sender is to begin anew."""
    upload = send_parts(push)
    recipient = push.recipient()
    row = cast("ObjectRow", recipient.row)
    assert row.upload is not None
    recipient.lent.writer.abort_upload(row.upload)
    (push.root / "x").write_bytes(b"somebody else's")

    with pytest.raises(UploadGoneError):
        complete(push, upload)
    assert push.row().state is ObjectState.PENDING


def test_parts_that_the_sink_has_lost_are_not_listed(push: Push) -> None:
    """An upload that the store does not know any more has no parts, whatever is written down."""
    upload = send_parts(push)
    assert [part.number for part in arriving_parts.parts(push.recipient(), upload)] == [1, 2, 3]
    recipient = push.recipient()
    assert recipient.row is not None
    assert recipient.row.upload is not None
    recipient.lent.writer.abort_upload(recipient.row.upload)

    with pytest.raises(UploadGoneError):
        arriving_parts.parts(push.recipient(), upload)


def test_a_part_receipt_is_what_the_sink_took(push: Push) -> None:
    """Size and checksum of each part stand in the ledger."""
    send_parts(push)
    parts = push.api.services.store.ledger.parts(push.receiving.attempt.transfer_id, push.row().ordinal)

    assert parts[0] == PartReceipt(
        number=1, size_bytes=PART, etag="", crc64nvme=crc64nvme(memoryview(BODY)[:PART], 0)
    )
