"""What a mechanism may offer beside: each a protocol of its own, found by ``isinstance``.

Who has no use for one leaves it out, and the engine, or the flow, does without.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, runtime_checkable

from dataferry.domain.address import DataAddress
from dataferry.domain.objects import ObjectInfo, PartReceipt, Upload
from dataferry.domain.profile import Profile
from dataferry.mechanisms.base import Endpoint, GrantMode, Reader, Source
from dataferry.net.connections import Network


@runtime_checkable
class TagReader(Protocol):
    """What the readers of a source with ``TAGS`` offer too."""

    def tags(self, info: ObjectInfo) -> tuple[tuple[str, str], ...]:
        """Ask for the tags of the version that ``info`` names; bodies that are being read are not disturbed.

        Raises:
            AccessDeniedError, UnsupportedError: The store does not tell them.
        """
        ...


@runtime_checkable
class Abortable(Protocol):
    """A source whose listing, or a sink whose look-ups, can be told to let go; optional beside the rest."""

    def abort(self) -> None:
        """Make the blocked call of ``list``, ``find`` or ``probe`` fail at once. Any thread."""
        ...


@runtime_checkable
class CopyingSink(Protocol):
    """What a sink with ``COPY`` offers too: its store copies objects by itself, and no byte passes here."""

    @property
    def max_copy_bytes(self) -> int:
        """The largest object that one ``CopyingWriter.copy`` takes; larger ones are copied in parts."""
        ...

    def refuses_copy(self, source: Source) -> str | None:
        """Return why the store can't copy from that source by itself, None if it may be tried; asks nobody.

        Both ends must be of one store, and of one set of credentials from one provenance: a location's
        credentials never serve a place that a message names, nor the other way round.
        """
        ...


@runtime_checkable
class CopyingWriter(Protocol):
    """What the writers of such a sink offer too. A reply may take long: the mechanism bounds it by itself."""

    def copy(self, source: Source, info: ObjectInfo, key: str) -> ObjectInfo:
        """Have the store copy a whole object, with its attributes; return it as the reply describes it.

        Only the version that ``info.validator`` names is asked for. Stores that ignore that exist, so the
        caller compares.

        Raises:
            SourceChangedError: It is another version now.
            UnsupportedError: ``refuses_copy``, or the store can't.
            ProtocolError: The reply does not say that it was copied; something may be there all the same.
        """
        ...

    def copy_part(
        self,
        source: Source,
        upload: Upload,
        info: ObjectInfo,
        *,
        number: int,
        offset_bytes: int,
        length_bytes: int,
    ) -> PartReceipt:
        """Have the store copy a range as one part; the receipt has no checksum, as nobody here saw a byte.

        Raises:
            UploadGoneError: There is no such upload.
            StorageError: As of ``copy``.
        """
        ...


@runtime_checkable
class KeyCheck(Protocol):
    """What a sink without ``INJECTIVE_NAMES`` offers too, where equal keys are not its only collisions."""

    def check_keys(self, keys: Iterable[str]) -> None:
        """Refuse keys that can't all be there: called with the whole plan before a byte moves (rule 9).

        Args:
            keys: Final keys in the order of the source's names; read once, and never held all at once.

        Raises:
            AddressError: Two of them can't be there together, e.g. the files ``a`` and ``a/b``.
        """
        ...


@runtime_checkable
class NamesToLearn(Protocol):
    """What a sink offers too, where only the place itself can tell which names it takes for one."""

    def learn_names(self) -> None:
        """Find that out: for who is going to write, before ``place`` and ``check_keys``.

        It may write something of its own for that, and removes it again. Never raises: a place that can't
        be written to says so when it is.
        """
        ...


@runtime_checkable
class ReadBack(Protocol):
    """What a sink with ``READ_BACK`` offers too; its receipts have the CRC-64/NVME of what was sent."""

    def reader(self) -> Reader:
        """Open a worker's reader of what was written: the ``key`` of what it opens is a final key.

        The bytes are the store's, not a cache's of ours, as far as the system lets us say so.
        """
        ...


@runtime_checkable
class NamedObjects(Protocol):
    """What a source offers too, where one of its objects can be found by its name without listing."""

    def named(self, name: str) -> ObjectInfo:
        """Return the object of that name before it is looked up: ``Reader.stat`` says whether it is there.

        Args:
            name: As in ``ObjectInfo.name``.

        Raises:
            AddressError: No object below this source's root can have that name.
        """
        ...


@runtime_checkable
class GatewayAddresses(Protocol):
    """A mechanism whose addresses may lead to this plane's own gateway, whatever holds the bytes behind."""

    def gateway_address(
        self, profile: Profile, *, url: str, token: str, is_single: bool, takes_parts: bool = False
    ) -> DataAddress:
        """Return the DataAddress by which the other side finds the gateway.

        Args:
            profile: Of this mechanism.
            url: Where the gateway serves the flow, or takes what is sent for it.
            token: The bearer token that it wants.
            is_single: The URL is one object; else objects lie below it, and of a pull it is their listing.
            takes_parts: Of a push: objects may be sent in parts too.
        """
        ...


class AccessTokens(Protocol):
    """The bearer token of an endpoint, while somebody renews it. Any thread."""

    @property
    def refusals(self) -> frozenset[int]:
        """Statuses by which the other side says that a token is good no more."""
        ...

    def current(self) -> str:
        """Return a token that is good now.

        Raises:
            DataFerryError: There is none.
        """
        ...

    def after(self, refused: str) -> str:
        """Return the token that follows one that was refused; ask once, and take a second refusal as it is.

        Raises:
            DataFerryError: There is none.
        """
        ...


@runtime_checkable
class RenewableEndpoints(Protocol):
    """A mechanism whose endpoints may take another token for each request than their address brought."""

    def with_tokens(self, endpoint: Endpoint, tokens: AccessTokens) -> Endpoint:
        """Return the endpoint with the tokens that requests to it carry, and nobody else gets."""
        ...


@runtime_checkable
class SignedEndpoints(Protocol):
    """A mechanism whose endpoints may have their credential in what identifies them, as signed URLs do."""

    def may_be_resigned(self, known: Endpoint, other: Endpoint) -> bool:
        """Return whether two endpoints are one place but for what may be a signature, or may name an object.

        Nobody can tell which: what was read of the one is never mixed with what is read of the other.
        """
        ...


@runtime_checkable
class ExpiringGrants(Protocol):
    """A mechanism whose grants may end by themselves."""

    def granted_until(self, address: DataAddress) -> datetime | None:
        """Return when a granted address ends, UTC; None if it does not by itself."""
        ...


@runtime_checkable
class TriedGrants(Protocol):
    """A mechanism that can tell before a flow needs it whether a place can be granted."""

    def try_grant(self, endpoint: Endpoint, mode: GrantMode, network: Network) -> str | None:
        """Make a grant that nobody gets; return what to tell, None if there is nothing to try.

        Raises:
            DataFerryError: It can't be granted.
        """
        ...
