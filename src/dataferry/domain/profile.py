"""Transfer profiles: what a control plane calls a way of moving data.

Source: Data Plane Signaling, "Transfer Profile Registry".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """Who sends: ``push`` is the provider, ``pull`` is the consumer fetching."""

    PUSH = "push"
    PULL = "pull"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One profile value: a profile URL with its direction appended, and the aliases it is known by.

    Attributes:
        url: E.g. ``https://w3id.org/dspace-sig/profile/s3-push``; the ``endpointType`` of its addresses.
        aliases: Other spellings that control planes use, e.g. EDC's ``AmazonS3-PUSH``.
        own_addresses_only: Whether a flow that names the URL, not an alias, takes no address of another
            ``endpointType``: a published profile that says so would else be got round.
    """

    url: str
    direction: Direction
    aliases: tuple[str, ...] = ()
    own_addresses_only: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The URL first, then the aliases."""
        return (self.url, *self.aliases)
