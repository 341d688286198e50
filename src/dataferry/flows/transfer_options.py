"""How a transfer is to run: what the operator configured, and what a message may ask within that.

The keys of ``metadata`` are read here and nowhere else. Whoever sends a message may make its own flow gentler
or stricter, never the plane's bounds wider: a value that is none is refused before a flow exists; one beyond
a bound is taken as that bound, and an event says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from dataferry.domain.errors import InputError
from dataferry.domain.limits import MIB, LocationLimits
from dataferry.engine.selection import Selection
from dataferry.engine.transfer import EngineLimits, Overwrite, Verify

# Of a part that a message asks for; smaller ones cost the stores a request each for little.
MIN_ASKED_PART_BYTES = 5 * MIB
# Whole numbers above this are not the same in every JSON.
_MAX_NUMBER = 2**53
# Of what a flow says that it belongs to.
_MAX_CORRELATION_CHARS = 300
_Word = TypeVar("_Word", bound=StrEnum)
_DIGITS = re.compile(r"[0-9]{1,16}")
# From what may lose the most to what may lose nothing, and from the weaker proof to the stronger.
_RISKS = (Overwrite.ALWAYS, Overwrite.IF_DIFFERENT, Overwrite.NEVER)
_PROOFS = (Verify.BEST, Verify.READBACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedOptions:
    """What a message's ``metadata`` asks; None asks nothing.

    Attributes:
        selection: Which objects; within what the place that is read offers.
        manifest: Whether to write at the destination what has arrived.
    """

    workers: int | None = None
    part_size_bytes: int | None = None
    multipart_threshold_bytes: int | None = None
    bandwidth_bytes_per_s: int | None = None
    overwrite: Overwrite | None = None
    verify: Verify | None = None
    selection: Selection = field(default_factory=Selection)
    manifest: bool = False

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> AskedOptions:
        """Read the keys that are there; null is as absent.

        Raises:
            InputError: A value is none that its key can have.
        """
        return cls(
            workers=_number(metadata, "workers"),
            part_size_bytes=_number(metadata, "partSizeBytes"),
            multipart_threshold_bytes=_number(metadata, "multipartThresholdBytes"),
            bandwidth_bytes_per_s=_number(metadata, "bandwidthBytesPerSecond"),
            overwrite=_word(metadata, "overwrite", Overwrite),
            verify=_word(metadata, "verify", Verify),
            selection=Selection.of(_patterns(metadata, "include"), _patterns(metadata, "exclude")),
            manifest=_flag(metadata, "manifest"),
        )


def correlation_of(metadata: Mapping[str, Any]) -> str | None:
    """Return what a flow says that it belongs to, for who looks for it; None if it says nothing.

    Raises:
        InputError: It is no short text.
    """
    value = metadata.get("correlationId")
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_CORRELATION_CHARS or not value.isprintable():
        raise InputError(
            f"metadata: correlationId must be text of at most {_MAX_CORRELATION_CHARS} characters"
        )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOptions:
    """How a transfer runs.

    Attributes:
        lowered: A sentence for each thing that was asked for and is not done as asked.
    """

    limits: EngineLimits
    overwrite: Overwrite = Overwrite.IF_DIFFERENT
    verify: Verify = Verify.BEST
    selection: Selection = field(default_factory=Selection)
    manifest: bool = False
    lowered: tuple[str, ...] = ()

    def asked(self, asked: AskedOptions, *, max_part_size_bytes: int) -> TransferOptions:
        """Return these options with what a message asks, within what these allow.

        Args:
            asked: From its ``metadata``.
            max_part_size_bytes: Largest part and threshold that may be asked for; what the operator
                configured may always be.
        """
        within = _Within()
        limits = self.limits
        part, threshold = limits.part_size_bytes, limits.multipart_threshold_bytes
        return TransferOptions(
            limits=replace(
                limits,
                workers=within.most("workers", asked.workers, limits.workers),
                part_size_bytes=within.between(
                    "partSizeBytes", asked.part_size_bytes, part, max_part_size_bytes
                ),
                multipart_threshold_bytes=within.between(
                    "multipartThresholdBytes",
                    asked.multipart_threshold_bytes,
                    threshold,
                    max_part_size_bytes,
                ),
                bandwidth_bytes_per_s=within.bandwidth(
                    asked.bandwidth_bytes_per_s, limits.bandwidth_bytes_per_s
                ),
            ),
            overwrite=within.strictest("overwrite", asked.overwrite, self.overwrite, _RISKS),
            verify=within.strictest("verify", asked.verify, self.verify, _PROOFS),
            selection=self.selection & asked.selection,
            manifest=self.manifest or asked.manifest,
            lowered=(*self.lowered, *within.said),
        )


class _Within:
    """Takes what is asked within bounds, and keeps what is to be said about it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def most(self, key: str, asked: int | None, bound: int) -> int:
        """At most what is configured."""
        return bound if asked is None else self._clamped(key, asked, 1, bound)

    def between(self, key: str, asked: int | None, configured: int, most: int) -> int:
        """From 5 MiB to ``most``, or to what is configured where that lies outside."""
        if asked is None:
            return configured
        return self._clamped(key, asked, min(MIN_ASKED_PART_BYTES, configured), max(most, configured))

    def bandwidth(self, asked: int | None, bound: int | None) -> int | None:
        """At most what is configured, where something is."""
        if asked is None or bound is None:
            return bound if asked is None else asked
        return self._clamped("bandwidthBytesPerSecond", asked, 1, bound)

    def strictest(self, key: str, asked: _Word | None, configured: _Word, words: tuple[_Word, ...]) -> _Word:
        """The stricter of two words; the last of ``words`` is the strictest."""
        if asked is None or words.index(asked) >= words.index(configured):
            return asked or configured
        self.said.append(f"metadata asks for {key} {asked}; this plane does no less than {configured}")
        return configured

    def _clamped(self, key: str, asked: int, least: int, most: int) -> int:
        held = min(max(asked, least), most)
        if held != asked:
            bound = "at most" if held < asked else "at least"
            self.said.append(
                f"metadata asks for {key} {asked}; this plane allows {bound} {held}, which holds"
            )
        return held


def located(limits: EngineLimits, source: LocationLimits, sink: LocationLimits) -> EngineLimits:
    """Return a transfer's limits between two places.

    Threads are the least that anybody allows: the memory that ``[engine]`` stands for is never exceeded.
    Parts are as the sink's location wants them, for it keeps them; else as the source's does.

    Args:
        limits: As ``[engine]`` has them.
        source: Of the location that is read; nothing asked where there is none.
        sink: Of the location that is written to.
    """
    ends = (sink, source)

    def first(name: str) -> int:
        wanted = [value for end in ends if (value := getattr(end, name)) is not None]
        return int(wanted[0] if wanted else getattr(limits, name))

    return replace(
        limits,
        workers=min([limits.workers, *(end.workers for end in ends if end.workers is not None)]),
        part_size_bytes=first("part_size_bytes"),
        multipart_threshold_bytes=first("multipart_threshold_bytes"),
    )


def least(*bounds: int | None) -> int | None:
    """Return the least of those bounds that are there; None is no bound."""
    return min((bound for bound in bounds if bound is not None), default=None)


def _number(metadata: Mapping[str, Any], key: str) -> int | None:
    """Read a positive whole number; control planes also write them as text, or with ``.0``."""
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_NUMBER:
        raise InputError(f"metadata: {key} must be a whole number from 1 to 2^53")
    return value


def _word(metadata: Mapping[str, Any], key: str, words: type[_Word]) -> _Word | None:
    value = metadata.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or value not in set(words):
        raise InputError(f"metadata: {key} must be one of {', '.join(words)}")
    return words(value)


def _flag(metadata: Mapping[str, Any], key: str) -> bool:
    """Read true or false; control planes also write them as text."""
    value = metadata.get(key)
    if value not in (None, True, False, "true", "false"):
        raise InputError(f"metadata: {key} must be true or false")
    return value in (True, "true")


def _patterns(metadata: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Read one pattern, or a list of them."""
    value = metadata.get(key)
    patterns = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(patterns, list | tuple) or any(not isinstance(one, str) for one in patterns):
        raise InputError(f"metadata: {key} must be a pattern or a list of patterns")
    return tuple(patterns)
