"""How these tests run an attempt in memory."""

# ruff: noqa: ARG005 - faults are told more than each needs
from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from tests.unit.engine.memory import CrashError, MemoryLedger, MemorySink, MemorySource, OpenUpload, Witness

from dataferry.domain.objects import Upload
from dataferry.engine.run import run
from dataferry.engine.selection import Selection
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Overwrite, Result, Transfer, Verify

KIB = 1024
PART = 64 * KIB
LIMITS = EngineLimits(
    workers=4,
    part_size_bytes=PART,
    multipart_threshold_bytes=2 * PART,
    attempts=4,
    backoff_s=0.001,
    max_backoff_s=0.01,
)
ONE = replace(LIMITS, workers=1)


def content(size: int, seed: int = 1) -> bytes:
    """Return bytes that no other seed makes."""
    return random.Random(seed).randbytes(size)


class Rig:
    """A source, a sink and a ledger, and attempts between them."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.source = MemorySource(objects)
        self.sink = MemorySink()
        self.ledger = MemoryLedger()
        self.witness = Witness()

    def go(
        self,
        *,
        limits: EngineLimits = LIMITS,
        overwrite: Overwrite = Overwrite.IF_DIFFERENT,
        verify: Verify = Verify.BEST,
        stop: Stop | None = None,
        sink: MemorySink | None = None,
        transfer_id: str = "t",
        selection: Selection | None = None,
        manifest: bool = False,
        earlier: str | None = None,
    ) -> Result:
        """Run one attempt."""
        transfer = Transfer(
            id=transfer_id,
            epoch=self.ledger.begin(transfer_id).epoch,
            source=self.source,
            sink=sink or self.sink,
            limits=limits,
            overwrite=overwrite,
            selection=selection or Selection(),
            verify=verify,
            manifest=manifest,
            earlier=earlier,
        )
        return run(transfer, self.ledger, stop=stop or Stop(), observer=self.witness)

    def crash(
        self,
        operation: str,
        number: int = 0,
        *,
        limits: EngineLimits = ONE,
        verify: Verify = Verify.BEST,
        transfer_id: str = "t",
    ) -> None:
        """Run one attempt that is killed at an operation of source, sink or ledger."""

        def fault(at: str, key: str, at_number: int) -> None:
            if at == operation and (not number or at_number == number):
                raise CrashError

        self.source.fault = self.sink.fault = self.ledger.fault = fault
        try:
            self.go(limits=limits, verify=verify, transfer_id=transfer_id)
        except CrashError:
            return
        finally:
            self.calm()
        raise AssertionError(f"there was no {operation}")

    def calm(self) -> None:
        """Take faults back."""
        for end in (self.source, self.sink, self.ledger):
            end.fault = lambda operation, key, number: None

    @property
    def arrived(self) -> bool:
        """True if the sink has exactly what the source has."""
        return self.sink.objects == {f"in/{name}": data for name, data in self.source.objects.items()}

    def foreign_upload(self, key: str) -> Upload:
        """Open an upload that no ledger knows."""
        upload_id = self.sink.new_id()
        self.sink.uploads[upload_id] = OpenUpload(key, 0, self.source.attributes)
        return Upload(upload_id=upload_id, key=key)


def times(
    count: int, error: Callable[[], Exception], operation: str, key: str = ""
) -> Callable[[str, str, int], None]:
    """Return a fault that raises at the first ``count`` calls of an operation."""
    left = [count]

    def fault(at: str, at_key: str, number: int) -> None:
        if at == operation and key in at_key and left[0] > 0:
            left[0] -= 1
            raise error()

    return fault
