"""Files that entries name as their destination: each is written by one entry at a time.

What an entry writes is its file and the sidecar beside it. Entries that name a directory, or nothing, are no
concern of this: what they store has names of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock
from uuid import UUID

from dataferry.domain.location import LocationRef
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.sidecar import SUFFIX
from dataferry.flows.resolution import Resolver
from dataferry.flows.retries import overlap


class NamedFiles:
    """Says which places an entry writes that names a file.

    Args:
        resolver: Knows places.
        policy: Whose locations, and whether there are sidecars.
    """

    def __init__(self, resolver: Resolver, policy: OrchestratorPolicy) -> None:
        self._resolver = resolver
        self._participant = policy.participant
        self._has_sidecars = policy.sidecar

    def of(self, destination: str | None) -> Sequence[str]:
        """Return the identities of those places; none where it is no file that is named.

        Args:
            destination: ``location:path``, as an entry has it; None if it names none.

        Raises:
            InputError: It is no place of that location, directory or file.
            NotFoundError: There is no such location.
        """
        if destination is None:
            return ()
        identity = self._identity(destination)
        path = LocationRef.parse(destination).path
        if not path or path.endswith("/"):
            return ()
        return (identity, self._identity(destination + SUFFIX)) if self._has_sidecars else (identity,)

    def _identity(self, ref: str) -> str:
        return self._resolver.at_ref(ref, self._participant).endpoint.identity


def written_twice(written: Iterable[tuple[str, int]]) -> dict[int, int]:
    """Find entries that write where another one does, or within it: ``{position: an earlier one's}``.

    Args:
        written: Identities of places, and the position of the entry that writes there.
    """
    found: dict[int, int] = {}
    # With `/` before every other letter, what lies within a place comes right behind it.
    ordered = sorted((identity.replace("/", "\0"), position) for identity, position in written)
    outer, owner = "", -1
    for place, position in ordered:
        if owner >= 0 and (place == outer or place.startswith(f"{outer}\0")):
            if position != owner:
                found.setdefault(max(position, owner), min(position, owner))
        else:
            outer, owner = place, position
    return found


class Turns:
    """Whose turn it is to write named files: those that came first, first. Thread-safe.

    In memory only, as there is one process that has entries make steps; a start takes the turns of those that
    a former one has begun before any other entry asks.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._queue: dict[tuple[UUID, int], Sequence[str]] = {}

    def is_up(self, key: tuple[UUID, int], files: Sequence[str]) -> bool:
        """Return whether an entry may write now; its turn, or place in the queue, is kept until it leaves.

        Args:
            key: Of the entry.
            files: What it writes; who writes nothing of this kind waits for nobody.
        """
        if not files:
            return True
        with self._lock:
            self._queue.setdefault(key, files)
            for other, theirs in self._queue.items():
                if other == key:
                    break
                if any(overlap(one, another) for one in theirs for another in files):
                    return False
            return True

    def leave(self, key: tuple[UUID, int]) -> None:
        """The entry has ended. Safe to repeat."""
        with self._lock:
            self._queue.pop(key, None)
