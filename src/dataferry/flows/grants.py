"""Handing out and taking back access to places of ours: what a pull provider and a push consumer do."""

from __future__ import annotations

from datetime import datetime

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import UnsupportedError
from dataferry.domain.profile import Direction
from dataferry.flows.gateway import GatewayDoor
from dataferry.flows.resolution import Resolver
from dataferry.mechanisms.abilities import ExpiringGrants, GatewayAddresses
from dataferry.mechanisms.base import GrantMode
from dataferry.net.connections import Network
from dataferry.net.leash import Leash


class Grants:
    """Makes the DataAddress that the other side will use.

    Args:
        resolver: Finds the place.
        gateway: Where data is served for profiles whose mechanism hands nothing out itself.
        network: How token services are reached; ``let_go`` ends the asking.
        ttl_s: How long a grant is good for, in seconds, where the mechanism can bound it.
    """

    def __init__(self, resolver: Resolver, gateway: GatewayDoor, network: Network, *, ttl_s: int) -> None:
        self._resolver = resolver
        self._gateway = gateway
        self._network = Leash(network)
        self._ttl_s = ttl_s

    def make(self, flow: DataFlow) -> DataAddress:
        """Grant the other side access: READ for a pull, WRITE for a push.

        Raises:
            UnsupportedError: The mechanism can't, or not for a part of the place only.
            ConfigError: The location does not say with what.
            StorageError: Who gives the credentials refused, or could not be asked.
        """
        place = self._resolver.granted(flow)
        mechanism, profile = self._resolver.profile(flow.profile)
        if isinstance(mechanism, GatewayAddresses):
            return self._gateway.address(flow, place, self._resolver)
        if self._resolver.offered(flow):
            raise UnsupportedError(
                "the dataset offers a part of its place only (include, exclude), and access by "
                f"{flow.mechanism} can't be bounded so: take a push, or a pull by HTTP"
            )
        mode = GrantMode.WRITE if flow.direction is Direction.PUSH else GrantMode.READ
        return place.mechanism.grant(
            place.endpoint, profile, mode, self._network, ttl_s=self._ttl_s, purpose=str(flow.id)
        )

    def let_go(self) -> None:
        """Ask no token service any more; who waits for one goes on at once. Never blocks."""
        self._network.let_go()

    def until(self, flow: DataFlow) -> datetime | None:
        """Return when the flow's grant ends by itself, UTC; None if there is none, or nothing is known."""
        if not flow.owns_address or flow.outgoing_address is None:
            return None
        mechanism, _ = self._resolver.profile(flow.profile)
        return (
            mechanism.granted_until(flow.outgoing_address) if isinstance(mechanism, ExpiringGrants) else None
        )

    def revoke(self, flow: DataFlow) -> bool:
        """Take the flow's grant back; False if there is none, or it can't be taken back before it expires."""
        if not flow.owns_address or flow.outgoing_address is None:
            return False
        place = self._resolver.granted(flow)
        if place.mechanism.name != flow.mechanism:
            return True  # the gateway's: it ends with the flow
        return place.mechanism.revoke(place.endpoint, flow.outgoing_address)
