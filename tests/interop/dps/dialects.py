"""The dialects of Data Plane Signaling, as a control plane sees them: one table, and nothing of the product.

Source: Data Plane Signaling, main of July 2026 (after v1.0-RC3), and v1.0-RC2; answers named the data plane
until RC1, and control planes of RC2 read that still.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one version of the specification words what the others word otherwise.

    Attributes:
        revision: Where its specification is, in the repository of the specification.
        transfer: What prepare and start call the kind of transfer.
        transfers: What a registration calls the kinds that a plane offers.
        has_callback_address: Whether prepare and start may say where callbacks go.
        names_data_plane: Whether answers and callbacks say which plane they are of.
    """

    name: str
    revision: str
    transfer: str
    transfers: str
    has_callback_address: bool
    names_data_plane: bool


HEAD = Dialect(
    name="head",
    revision="18204db",
    transfer="profile",
    transfers="profiles",
    has_callback_address=False,
    names_data_plane=False,
)
RC = Dialect(
    name="rc",
    revision="v1.0-RC2",
    transfer="transferType",
    transfers="transferTypes",
    has_callback_address=True,
    names_data_plane=True,
)
DIALECTS = (HEAD, RC)


def spoken(message: dict[str, object]) -> Dialect:
    """Return which dialect a prepare or start message is in; one with both words is of the head."""
    return HEAD if HEAD.transfer in message else RC
