"""The data address of a flow, for applications that read the data themselves.

It is read by who may, while the flow is STARTED, with a token that is good for a while; what it takes to
renew that token stays here, for it is bound to this participant. Each reading is an event.

Source: Data Plane Signaling, "Started Notification" (who brings the address), "Token Renewal".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow, Role, State
from dataferry.domain.errors import AccessDeniedError, ConflictError, GoneError, NotFoundError, ProtocolError
from dataferry.domain.purview import EVERYTHING, Purview
from dataferry.flows.gateway_tokens import ACCESS_TOKEN, EXPIRES_IN, REFRESH_ENDPOINT, REFRESH_TOKEN
from dataferry.flows.shared import Shared

EVENT = "data-address"
# Readings that are kept in a flow's events: an application may read again and again.
MOST_READINGS = 200
# Times that the address is looked up anew because another one came while its token was renewed.
_MOST_LOOKS = 5
_NOT_FOR_READERS = frozenset({REFRESH_TOKEN, REFRESH_ENDPOINT})


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentAddress:
    """Where and how a flow's data can be read now.

    Attributes:
        expires_at: When the token in it ends; None where this plane does not renew it, and so can't know.
    """

    flow: DataFlow
    address: DataAddress
    expires_at: datetime | None


class DataAddresses:
    """Hands out the data addresses that flows of this side were given.

    Args:
        shared: The parts of this data plane.
        purview: Whose flows there are; the others do not exist.
    """

    def __init__(self, shared: Shared, purview: Purview = EVERYTHING) -> None:
        self._shared = shared
        self._purview = purview

    def read(self, any_id: str, *, control_plane_id: str | None = None, actor: str) -> CurrentAddress:
        """Return a flow's address with a token that is good now, and note who read it.

        Args:
            any_id: Its internal id, dataFlowId or processId.
            control_plane_id: Only this control plane's flows are meant; None: any.
            actor: Who reads.

        Raises:
            NotFoundError: There is no such flow, or it is never given an address.
            ConflictError: It has none now; the message says why, and what may bring one.
            GoneError: It is over.
            DataFerryError: Its token has ended, and could not be renewed now.
        """
        with self._shared.store.snapshot() as tx:
            flow = tx.flows.resolve(any_id, self._purview, control_plane_id=control_plane_id)
        for _ in range(_MOST_LOOKS):
            current = self._current(flow)
            with self._shared.store.transaction() as tx:
                row = tx.flows.get(flow.id)
                if _address_of(row) == flow.incoming_address:
                    told = "the data address was read"
                    tx.events.add(row.id, EVENT, told, actor=actor, most=MOST_READINGS)
                    return replace(current, flow=row)
            flow = row
        raise ConflictError(f"the data address of flow {flow.data_flow_id} changes all the time: ask again")

    def _current(self, flow: DataFlow) -> CurrentAddress:
        """Return the address as a reader may have it."""
        address = _address_of(flow)
        tokens = self._shared.renewals.of(flow)
        if tokens is None:
            return CurrentAddress(flow=flow, address=_for_readers(address), expires_at=None)
        try:
            held = tokens.good_now()
        except (AccessDeniedError, ProtocolError) as exc:
            raise ConflictError(
                f"the token of flow {flow.data_flow_id} has ended, and its provider gives no other"
                f" ({exc.message}): a resume may bring a new address"
            ) from exc
        fresh = _for_readers(address, access_token=held.access_token)
        return CurrentAddress(flow=flow, address=fresh, expires_at=held.expires_at)


def _address_of(flow: DataFlow) -> DataAddress:
    """Return a flow's address if it is good for reading now.

    Raises:
        NotFoundError, ConflictError, GoneError: It is not, or there is none.
    """
    name = flow.data_flow_id
    if flow.role is Role.PROVIDER or not flow.takes_address:
        raise NotFoundError(f"flow {name} has no data address to read by: this side is not given one")
    if flow.state.is_final:
        raise GoneError(f"flow {name} is over: {flow.state.value}")
    if flow.state is State.SUSPENDED:
        raise ConflictError(f"flow {name} is SUSPENDED: its data can be read again when it is resumed")
    if flow.state is not State.STARTED:
        raise ConflictError(f"flow {name} is {flow.state.value}: its data can be read when it is STARTED")
    if flow.incoming_address is None:
        raise ConflictError(f"flow {name} is STARTED, but its control plane has brought no data address")
    return flow.incoming_address


def _for_readers(address: DataAddress, *, access_token: str | None = None) -> DataAddress:
    """Return an address without what renews its token, and with the token of now where one is given.

    How long a token was good for when it came says nothing about one that is renewed here.
    """
    if access_token is None:
        kept = [(name, value) for name, value in address.properties if name not in _NOT_FOR_READERS]
    else:
        kept = [
            (name, access_token if name == ACCESS_TOKEN else value)
            for name, value in address.properties
            if name not in {*_NOT_FOR_READERS, EXPIRES_IN}
        ]
    return replace(address, properties=tuple(kept))
