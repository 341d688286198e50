"""Cases about grants that are scoped and end: what an address opens, and what it does not.

For mechanisms that declare ``GRANT`` and whose rig has something that enforces it; else they are skipped.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AccessDeniedError, CredentialsExpiredError, DataFerryError
from dataferry.domain.objects import Attributes, Capability
from dataferry.domain.profile import Direction, Profile
from dataferry.mechanisms.abilities import ExpiringGrants
from dataferry.mechanisms.base import Endpoint, GrantMode
from dataferry.testing.mechanism_rig import (
    MechanismCases,
    MechanismRig,
    find_one,
    needs,
    put,
    put_part,
    read,
    send,
)

TTL_S = 3600
# Clocks of both sides, and the time that a request takes.
GRAIN = timedelta(seconds=60)


class GrantCases(MechanismCases):
    """What a granted address is good for, and for how long."""

    def test_a_granted_address_reads_its_place(self, rig: MechanismRig) -> None:
        """Everything below the place is listed and read; the address tells none of our own secrets."""
        place = self.grantable(rig, {"x": b"one", "sub/y": b"two"})
        address = grant(rig, place, GrantMode.READ)
        source = self.source(rig, rig.mechanism.at_address(address))
        source.probe()
        assert [info.name for info in source.list()] == ["sub/y", "x"]
        reader = self.reader(source)
        assert read(reader, find_one(source, "x")) == b"one"
        text = f"{address.to_wire()} {address!r}"
        assert [secret for secret in rig.secrets if secret in text] == []

    def test_a_granted_address_writes_its_place(self, rig: MechanismRig) -> None:
        """Whole objects and parts arrive; a sink that may only write is no fault."""
        place = self.grantable(rig, {})
        sink = self.sink(rig, rig.mechanism.at_address(grant(rig, place, GrantMode.WRITE)))
        sink.probe()
        writer = self.writer(sink)
        put(writer, sink.place("small", single=False), b"small")
        sink.find([sink.place("small", single=False)])
        if Capability.PARTS in sink.capabilities:
            data = bytes(rig.part_size_bytes + 1)
            key = sink.place("large", single=False)
            upload = writer.create_upload(key, size_bytes=len(data), attributes=Attributes())
            parts = [put_part(writer, upload, data, number, rig.part_size_bytes) for number in (1, 2)]
            writer.list_uploads(key, since=datetime.now(UTC) - GRAIN)
            done = writer.complete(upload, parts, size_bytes=len(data), crc64nvme=None)
            assert done.size_bytes == len(data)
        assert rig.contents(place)["small"] == b"small"

    def test_an_address_for_reading_does_not_write(self, rig: MechanismRig) -> None:
        """Nor does it open an upload."""
        place = self.grantable(rig, {"x": b"one"})
        there = rig.mechanism.at_address(grant(rig, place, GrantMode.READ))
        sink = self.sink(rig, there)
        writer = self.writer(sink)
        with pytest.raises(AccessDeniedError):
            put(writer, sink.place("x", single=False), b"other")
        if Capability.PARTS in sink.capabilities:
            with pytest.raises(AccessDeniedError):
                writer.create_upload(sink.place("y", single=False), size_bytes=9, attributes=Attributes())
        assert rig.contents(place) == {"x": b"one"}

    def test_an_address_for_writing_does_not_read(self, rig: MechanismRig) -> None:
        """Neither what is there nor what there is."""
        place = self.grantable(rig, {"x": b"one"})
        known = find_one(self.source(rig, place), "x")
        source = self.source(rig, rig.mechanism.at_address(grant(rig, place, GrantMode.WRITE)))
        with pytest.raises(AccessDeniedError):
            list(source.list())
        with pytest.raises(AccessDeniedError):
            read(self.reader(source), known)

    @pytest.mark.parametrize("mode", list(GrantMode))
    def test_a_granted_address_opens_nothing_beside_its_place(
        self, rig: MechanismRig, mode: GrantMode
    ) -> None:
        """Its credentials are refused at another place of the same store."""
        place, other = self.grantable(rig, {"x": b"one"}), self.grantable(rig, {"x": b"other"})
        astray = rig.redirected(grant(rig, place, mode), other)
        source, sink = self.source(rig, astray), self.sink(rig, astray)
        with pytest.raises(AccessDeniedError):
            list(source.list())
        with pytest.raises(AccessDeniedError):
            put(self.writer(sink), sink.place("x", single=False), b"changed")
        assert rig.contents(other) == {"x": b"other"}

    def test_a_granted_address_ends(self, rig: MechanismRig) -> None:
        """It says when, within what was asked; from then on all fails for good, and says why."""
        mechanism = rig.mechanism
        place = self.grantable(rig, {"x": b"one"})
        reading, writing = (grant(rig, place, mode) for mode in (GrantMode.READ, GrantMode.WRITE))
        assert isinstance(mechanism, ExpiringGrants)
        ends = mechanism.granted_until(reading)
        assert ends is not None
        assert abs(ends - datetime.now(UTC) - timedelta(seconds=TTL_S)) < GRAIN
        source = self.source(rig, mechanism.at_address(reading))
        info = find_one(source, "x")
        sink = self.sink(rig, mechanism.at_address(writing))
        reader, writer = self.reader(source), self.writer(sink)
        assert read(reader, info) == b"one"
        rig.end_grants()
        for call in (lambda: list(source.list()), lambda: read(reader, info), source.probe):
            with pytest.raises(CredentialsExpiredError) as caught:
                call()
            assert not caught.value.is_temporary
        body = writer.put(sink.place("y", single=False), length_bytes=1, attributes=Attributes())
        with pytest.raises(CredentialsExpiredError):
            send(body, b"y")
        fresh = self.source(rig, mechanism.at_address(grant(rig, place, GrantMode.READ)))
        assert read(self.reader(fresh), find_one(fresh, "x")) == b"one"

    def test_who_may_not_grant_is_told(self, rig: MechanismRig) -> None:
        """Wrong credentials of ours are an error without secrets, and no address."""
        self.grantable(rig, {})
        with pytest.raises(DataFerryError) as caught:
            grant(rig, rig.ungrantable(), GrantMode.READ)
        assert [secret for secret in rig.secrets if secret in f"{caught.value} {caught.value!r}"] == []

    def grantable(self, rig: MechanismRig, objects: dict[str, bytes]) -> Endpoint:
        """Make a place that can be granted, or skip."""
        needs(rig, Capability.GRANT)
        place = rig.grantable(objects)
        if place is None:
            pytest.skip("the rig has nothing that enforces grants")
        return place


def grant(rig: MechanismRig, place: Endpoint, mode: GrantMode) -> DataAddress:
    """Grant a place, and pass the address through a message."""
    profile = _profile(rig, mode)
    granted = rig.mechanism.grant(place, profile, mode, rig.network, ttl_s=TTL_S, purpose="a flow")
    assert granted.endpoint_type == profile.url
    return DataAddress.from_wire(granted.to_wire())


def _profile(rig: MechanismRig, mode: GrantMode) -> Profile:
    wanted = Direction.PULL if mode is GrantMode.READ else Direction.PUSH
    return next(profile for profile in rig.mechanism.profiles if profile.direction is wanted)
