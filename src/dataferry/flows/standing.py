"""How a flow stands by its row: whether its data may move through the gateway, and with which token."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from dataferry.domain.dataflow import FINAL_STATES, DataFlow, State
from dataferry.domain.errors import ForbiddenError, GoneError
from dataferry.domain.profile import Direction
from dataferry.flows import gateway_tokens

# Who moves data of a flow that is suspended need not give it up: its own side may learn of it a moment later.
COME_BACK_S = 5.0
_OPEN = {
    Direction.PULL: frozenset({State.STARTED}),
    Direction.PUSH: frozenset({State.PREPARED, State.STARTED}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a flow's row says of who may move its data: no more of it is kept, since messages may be large.

    Attributes:
        id: The flow's.
        version: Of the row.
        state: As control planes have it.
        direction: Where its data moves to.
        owns_address: Whether this side handed the address out.
        token: That stands in the address.
        renews: Whether tokens are short-lived; then it is one of those that are written down beside.
    """

    id: UUID
    version: int
    state: State
    direction: Direction
    owns_address: bool
    token: str | None = field(repr=False)
    renews: bool

    @classmethod
    def of(cls, flow: DataFlow) -> Standing:
        """Take it from a flow."""
        return cls(
            id=flow.id,
            version=flow.version,
            state=flow.state,
            direction=flow.direction,
            owns_address=flow.owns_address,
            token=token_of(flow),
            renews=gateway_tokens.is_renewable(flow.outgoing_address),
        )


def refuse_closed(flow: DataFlow | Standing, direction: Direction) -> None:
    """Return if a flow's data may move through the gateway now.

    Args:
        flow: Whose.
        direction: PULL to be served, PUSH to be taken.

    Raises:
        ForbiddenError: Not now; with a time to come back if it may be later.
        GoneError: It is over.
    """
    if flow.state in FINAL_STATES:
        raise GoneError(f"the transfer is over: {flow.state.value}")
    if flow.direction is not direction or not flow.owns_address:
        raise ForbiddenError(f"the transfer's data does not move this way: it is a {flow.direction.value}")
    if flow.state not in _OPEN[direction]:
        moves = "served while it is STARTED" if direction is Direction.PULL else "taken from PREPARED on"
        raise ForbiddenError(
            f"the transfer is {flow.state.value}: its data is {moves}", retry_after_s=COME_BACK_S
        )


def token_of(flow: DataFlow) -> str | None:
    """Return the token that was handed out for a flow."""
    return None if flow.outgoing_address is None else flow.outgoing_address.get("authorization")
