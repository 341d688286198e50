"""What every mechanism makes of faults of the other side, and what it refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    ConfigError,
    ConnectionFailedError,
    CredentialsExpiredError,
    DataFerryError,
    IntegrityError,
    NoSpaceError,
    ProtocolError,
    RetryClass,
    ServerError,
    ShortBodyError,
    SourceChangedError,
    StorageError,
    ThrottledError,
    UnauthorizedError,
    UnsupportedError,
    WrongRangeError,
)
from dataferry.domain.objects import Capability
from dataferry.domain.profile import Direction, Profile
from dataferry.mechanisms.base import GrantMode
from dataferry.testing.mechanism_rig import (
    NO_ATTRIBUTES,
    Fault,
    MechanismCases,
    MechanismRig,
    drain,
    find_one,
    pattern,
    put,
    put_part,
    read,
)

AT_ONCE_S = 5.0

SOURCE_FAULTS: dict[Fault, tuple[type[DataFerryError], ...]] = {
    Fault.SHORT_BODY: (ShortBodyError, ConnectionFailedError),
    Fault.IGNORED_RANGE: (WrongRangeError,),
    Fault.SHIFTED_RANGE: (WrongRangeError,),
    Fault.IGNORED_CONDITION: (SourceChangedError,),
    Fault.THROTTLING: (ThrottledError,),
    Fault.SERVER_ERROR: (ServerError,),
    Fault.EXPIRED_CREDENTIALS: (CredentialsExpiredError, AccessDeniedError, UnauthorizedError),
    Fault.WRONG_CREDENTIALS: (AccessDeniedError, UnauthorizedError),
    Fault.REFUSED_CONNECTION: (ConnectionFailedError,),
}

SINK_FAULTS: dict[Fault, tuple[type[DataFerryError], ...]] = {
    Fault.THROTTLING: (ThrottledError,),
    Fault.SERVER_ERROR: (ServerError,),
    Fault.EXPIRED_CREDENTIALS: (CredentialsExpiredError, AccessDeniedError, UnauthorizedError),
    Fault.WRONG_CREDENTIALS: (AccessDeniedError, UnauthorizedError),
    Fault.REFUSED_CONNECTION: (ConnectionFailedError,),
    Fault.WRONG_CHECKSUM: (IntegrityError,),
    Fault.FULL: (NoSpaceError,),
}

# Trying again with these can help; with the others it can't.
TEMPORARY = {
    Fault.SHORT_BODY,
    Fault.THROTTLING,
    Fault.SERVER_ERROR,
    Fault.REFUSED_CONNECTION,
    Fault.WRONG_CHECKSUM,
}


class FaultCases(MechanismCases):
    """Faults become errors that say whether trying again helps, and show no secret."""

    @pytest.mark.parametrize("fault", SOURCE_FAULTS, ids=str)
    def test_a_fault_of_the_source_is_named(self, rig: MechanismRig, fault: Fault) -> None:
        """A source's fault is the error that says what it is, in the class that says whether to try again."""
        if fault not in rig.source_faults:
            pytest.skip(f"the rig can't bring about {fault}")
        data = pattern(500_000)
        source = self.source(rig, rig.faulty_source(fault, {"x": data}))
        with raises_one_of(rig, fault, SOURCE_FAULTS[fault], of_sink=False):
            info = find_one(source, "x")
            if fault in (Fault.IGNORED_RANGE, Fault.SHIFTED_RANGE):
                read(self.reader(source), info, offset_bytes=1000, length_bytes=1000)
            else:
                read(self.reader(source), info)

    @pytest.mark.parametrize("fault", SINK_FAULTS, ids=str)
    def test_a_fault_of_the_sink_is_named(self, rig: MechanismRig, fault: Fault) -> None:
        """A sink's fault is the error that says what it is, in the class that says whether to try again."""
        if fault not in rig.sink_faults:
            pytest.skip(f"the rig can't bring about {fault}")
        sink = self.sink(rig, rig.faulty_sink(fault))
        with raises_one_of(rig, fault, SINK_FAULTS[fault], of_sink=True):
            put(self.writer(sink), sink.place("x", single=False), pattern(100_000))

    def test_an_error_in_a_success_is_an_error(self, rig: MechanismRig) -> None:
        """A completion that answers 200 with an error in its body has failed."""
        if Fault.ERROR_IN_SUCCESS not in rig.sink_faults:
            pytest.skip("the rig can't bring about an error in a success")
        data = pattern(rig.part_size_bytes + 1)
        sink = self.sink(rig, rig.faulty_sink(Fault.ERROR_IN_SUCCESS))
        writer = self.writer(sink)
        upload = writer.create_upload(
            sink.place("x", single=False), size_bytes=len(data), attributes=NO_ATTRIBUTES
        )
        parts = [put_part(writer, upload, data, number, rig.part_size_bytes) for number in (1, 2)]
        with pytest.raises(StorageError) as caught:
            writer.complete(upload, parts, size_bytes=len(data), crc64nvme=None)
        assert not isinstance(caught.value, ProtocolError)

    def test_abort_ends_a_read_that_waits(self, rig: MechanismRig) -> None:
        """A read that waits for a silent source fails at once when another thread aborts it."""
        if Fault.STALL not in rig.source_faults:
            pytest.skip("the rig can't bring about a stall")
        source = self.source(rig, rig.faulty_source(Fault.STALL, {"x": pattern(500_000)}))
        reader = self.reader(source)
        stream = reader.open(find_one(source, "x"))
        elapsed = fails_after(lambda: drain(stream), reader.abort)
        assert elapsed < AT_ONCE_S

    def test_abort_ends_a_write_that_waits(self, rig: MechanismRig) -> None:
        """A write into a sink that takes nothing fails at once when another thread aborts it."""
        if Fault.STALLED_WRITE not in rig.sink_faults:
            pytest.skip("the rig can't bring about a stalled write")
        sink = self.sink(rig, rig.faulty_sink(Fault.STALLED_WRITE))
        writer = self.writer(sink)
        body = writer.put(
            sink.place("x", single=False), length_bytes=64 * 1024 * 1024, attributes=NO_ATTRIBUTES
        )
        piece = memoryview(bytes(1024 * 1024))

        def send_all() -> None:
            for _ in range(64):
                body.send(piece)
            body.finish()

        elapsed = fails_after(send_all, writer.abort)
        assert elapsed < AT_ONCE_S
        body.cancel()

    def test_undeclared_grants_are_refused_with_advice(self, rig: MechanismRig) -> None:
        """A mechanism that does not declare grants refuses them, and says what to do instead."""
        declared = rig.mechanism.source_capabilities | rig.mechanism.sink_capabilities
        if Capability.GRANT in declared:
            assert rig.mechanism.profiles
            return
        other = Profile(url="https://w3id.org/dspace-sig/profile/x-push", direction=Direction.PUSH)
        for profile in (other, *rig.mechanism.profiles):
            for mode in GrantMode:
                with pytest.raises(UnsupportedError, match=r"http-pull|S3"):
                    rig.mechanism.grant(
                        rig.fresh_sink(), profile, mode, rig.network, ttl_s=60, purpose="a flow"
                    )

    @pytest.mark.parametrize("endpoint", ["", "nonsense", "file:///etc/passwd", "s3://", "http://[", "\0"])
    def test_malformed_addresses_are_refused(self, rig: MechanismRig, endpoint: str) -> None:
        """A DataAddress that names nothing of the mechanism is AddressError, whatever is in it."""
        for kind in ("", "nonsense", rig.mechanism.name):
            with pytest.raises(AddressError):
                rig.mechanism.at_address(DataAddress(endpoint_type=kind, endpoint=endpoint))

    def test_metadata_that_names_nothing_is_none(self, rig: MechanismRig) -> None:
        """Metadata without the mechanism's keys names no place."""
        for end in ("source", "destination"):
            assert rig.mechanism.at_metadata({"other": "x"}, end=end, location=None) is None

    def test_wrong_settings_are_refused(self, rig: MechanismRig) -> None:
        """A location whose settings are wrong is ConfigError."""
        if rig.wrong_location is None:
            pytest.skip("the rig names no wrong location")
        with pytest.raises(ConfigError):
            rig.mechanism.at_location(rig.wrong_location, rig.any_path)

    def test_what_is_declared_is_one_word(self, rig: MechanismRig) -> None:
        """Sources and sinks have the capabilities that their mechanism declares."""
        place = rig.fresh_source({"x": b"1"})
        assert rig.mechanism.source_capabilities == self.source(rig, place).capabilities
        assert rig.mechanism.sink_capabilities == self.sink(rig, rig.fresh_sink()).capabilities


@contextmanager
def raises_one_of(
    rig: MechanismRig, fault: Fault, kinds: tuple[type[DataFerryError], ...], *, of_sink: bool
) -> Iterator[None]:
    """Expect one of some errors, of the right side, in the right retry class, and without a secret in it."""
    with pytest.raises(kinds) as caught:
        yield
    expected = RetryClass.TEMPORARY if fault in TEMPORARY else RetryClass.PERMANENT
    assert (expected, of_sink) == (caught.value.retry, caught.value.of_sink)
    if fault is Fault.THROTTLING:
        assert caught.value.retry_after_s
    for secret in rig.secrets:
        assert secret not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


def fails_after(call: Callable[[], object], abort: Callable[[], None]) -> float:
    """Run ``call`` in a thread, abort it while it waits, and return the seconds from there to its error."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except StorageError as exc:
            failures.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(1.0)
    assert thread.is_alive(), "the call did not wait"
    began = time.monotonic()
    abort()
    thread.join(30)
    elapsed = time.monotonic() - began
    assert not thread.is_alive()
    assert failures
    return elapsed
