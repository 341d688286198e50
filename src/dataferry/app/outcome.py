"""What a copy may be told, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from dataferry.app.interrupts import EXIT_CODE as INTERRUPTED
from dataferry.app.sizes import parse_size
from dataferry.domain.errors import InputError
from dataferry.domain.limits import MAX_PART_BYTES, MIN_PART_BYTES
from dataferry.engine.selection import Selection
from dataferry.engine.transfer import EngineLimits, Overwrite, Verify


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """What a copy may be told; None is the configuration's or the engine's default.

    Attributes:
        part_size_bytes: Least size of a part.
        multipart_threshold_bytes: Objects larger than this and than a part are sent in parts.
        bandwidth_bytes_per_s: All workers together.
        ledger: Where to remember what has been moved.
        selection: Which objects; a copy with other patterns is another copy.
        manifest: Whether to write at the destination what has arrived.
        errors: File to write the failed objects to, ``-`` for stdout.
    """

    workers: int | None = None
    part_size_bytes: int | None = None
    multipart_threshold_bytes: int | None = None
    bandwidth_bytes_per_s: int | None = None
    overwrite: Overwrite = Overwrite.IF_DIFFERENT
    verify: Verify | None = None
    config: str | None = None
    ledger: Path | None = None
    selection: Selection = field(default_factory=Selection)
    manifest: bool = False
    errors: str | None = None

    @classmethod
    def of(
        cls,
        *,
        workers: int | None,
        part_size: str | None,
        multipart_threshold: str | None,
        bandwidth: str | None,
        overwrite: str,
        config: str | None,
        ledger: str | None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        verify: str | None = None,
        manifest: bool = False,
        errors: str | None = None,
    ) -> Self:
        """Read options as people write them.

        Raises:
            InputError: One of them can't be read.
        """
        if overwrite not in set(Overwrite):
            raise InputError(f"--overwrite {overwrite!r}: write {', '.join(Overwrite)}")
        if verify is not None and verify not in set(Verify):
            raise InputError(f"--verify {verify!r}: write {', '.join(Verify)}")
        return cls(
            workers=workers,
            part_size_bytes=_part_size("--part-size", part_size),
            multipart_threshold_bytes=_part_size("--multipart-threshold", multipart_threshold),
            bandwidth_bytes_per_s=parse_size(bandwidth) if bandwidth else None,
            overwrite=Overwrite(overwrite),
            verify=None if verify is None else Verify(verify),
            config=config,
            ledger=Path(ledger) if ledger else None,
            selection=Selection.of(include, exclude),
            manifest=manifest,
            errors=errors,
        )

    def limits(self, configured: EngineLimits) -> EngineLimits:
        """Return ``configured`` with what is set here over it."""
        return replace(configured, **self._given("workers", "bandwidth_bytes_per_s"), **self.sizes)

    @property
    def sizes(self) -> dict[str, Any]:
        """What is set of how objects are cut, which also comes before what locations say."""
        return self._given("part_size_bytes", "multipart_threshold_bytes")

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def _part_size(option: str, text: str | None) -> int | None:
    """Read a size that a part, or an object in one request, can have.

    Raises:
        InputError: It is none.
    """
    size = parse_size(text) if text else None
    if size is not None and size > MAX_PART_BYTES:
        raise InputError(f"{option} {text}: at most 5G, which is the most that stores take in one request")
    if size is not None and size < MIN_PART_BYTES:
        raise InputError(f"{option} {text}: at least 1M, since each takes a request")
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a copy.

    Attributes:
        state: ``completed``, ``failed`` or ``interrupted``.
        objects, bytes: At the destination, with those that were there already.
        bytes_moved: By this run; they passed through this process.
        bytes_copied: That the store copied by itself in this run.
        failures: Up to twenty of ``(name, kind, error)``.
        failed: How many objects failed.
        advice: What to do next, where there is something.
    """

    state: str
    objects: int = 0
    bytes: int = 0
    seconds: float = 0.0
    objects_skipped: int = 0
    bytes_moved: int = 0
    bytes_copied: int = 0
    bytes_resumed: int = 0
    bytes_retransferred: int = 0
    strategy: str = ""
    verification: str = "none"
    failures: tuple[tuple[str, str, str], ...] = ()
    failed: int = 0
    advice: str | None = None

    @property
    def exit_code(self) -> int:
        """0 only if every object is at the destination."""
        return {"completed": 0, "interrupted": INTERRUPTED}.get(self.state, 1)

    def as_json(self) -> dict[str, Any]:
        """The result line of ``--json``; its keys are a contract."""
        return {
            "state": self.state,
            "objects": self.objects,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "bytes_resumed": self.bytes_resumed,
            "bytes_retransferred": self.bytes_retransferred,
            "strategy": self.strategy,
            "verification": self.verification,
        }
