"""Topics: where each kind of message is published.

Ids from outside are one level each, whatever characters they have: a participant's id with a ``/`` or a ``#``
in it must lead into nobody else's branch.

Source: MQTT 5.0, section 4.7, "Topic Names and Topic Filters".
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote
from uuid import UUID

# Brokers of clouds take topics of 256 bytes; what is longer is cut, and told apart by its digest.
MAX_LEVEL_CHARS = 80
_DIGEST_CHARS = 32
_CUT = "~"


def level(text: str) -> str:
    """Return a text as one level of a topic: no two texts have the same, and it matches no wildcard.

    Everything but ASCII letters, digits and ``-._:@`` is percent-encoded as UTF-8.
    """
    encoded = quote(text, safe=":@", errors="surrogatepass").replace(_CUT, "%7E")
    if len(encoded) <= MAX_LEVEL_CHARS:
        return encoded
    digest = sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    return f"{encoded[: MAX_LEVEL_CHARS - _DIGEST_CHARS - 1]}{_CUT}{digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The topics of one data plane.

    Attributes:
        prefix: Levels above all of them, as configured.
        data_plane_id: Of this plane.
        only_participant: Whose flows have no level of their own; None: everybody's have.
    """

    prefix: str
    data_plane_id: str
    only_participant: str | None

    @property
    def status(self) -> str:
        """Whether this plane is online."""
        return f"{self._plane}/status"

    def state(self, flow_id: UUID, participant: str) -> str:
        """What becomes of a data flow."""
        return f"{self._branch(participant)}/dataflows/{flow_id}/state"

    def progress(self, flow_id: UUID, participant: str) -> str:
        """How far a data flow is."""
        return f"{self._branch(participant)}/dataflows/{flow_id}/progress"

    def orchestration(self, orchestration_id: UUID, participant: str) -> str:
        """What becomes of an orchestration."""
        return f"{self._branch(participant)}/orchestrations/{orchestration_id}/state"

    @property
    def _plane(self) -> str:
        return f"{self.prefix}/{level(self.data_plane_id)}"

    def _branch(self, participant: str) -> str:
        """The levels of a participant: a broker's rules can grant one without the others."""
        if participant == self.only_participant:
            return self._plane
        return f"{self._plane}/participants/{level(participant)}"
