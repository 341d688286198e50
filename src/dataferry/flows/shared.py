"""What all use cases work with."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from dataferry.domain.clock import Clock
from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import NotFoundError
from dataferry.engine.rates.bandwidth import Bandwidths
from dataferry.flows.catalogue import Catalogue
from dataferry.flows.policy import FlowPolicy
from dataferry.flows.preparation import MOMENT, Preparations
from dataferry.flows.renewal import Renewals
from dataferry.flows.resolution import Resolver
from dataferry.flows.retries import RetrySchedule
from dataferry.net.connections import Network
from dataferry.store.store import Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The parts of this data plane that its use cases share; the composition root makes them once.

    Attributes:
        store: Where flows, their events and their ledger are.
        catalogue: Who may call, and what is configured.
        resolver: Finds places.
        preparations: Does what prepare and start need to find out.
        network: How stores are reached.
        renewals: How tokens of addresses are renewed.
        schedule: When failed attempts are tried again.
        bandwidths: What transfers share.
        policy: Bounds.
        clock: Time.
    """

    store: Store
    catalogue: Catalogue
    resolver: Resolver
    preparations: Preparations
    network: Network
    renewals: Renewals
    schedule: RetrySchedule
    bandwidths: Bandwidths
    policy: FlowPolicy
    clock: Clock

    def note_grant(self, tx: Transaction, flow: DataFlow) -> None:
        """Write down until when the address that was just made for a flow is good, if that is known."""
        until = self.preparations.granted_until(flow)
        if until is not None:
            tx.events.add(flow.id, "grant", f"an address was handed out that is good until {until:{MOMENT}}")

    def revoke(self, flow: DataFlow) -> None:
        """Take back what was granted for a flow, without making the caller wait; what stays good is noted."""
        if not flow.owns_address or flow.outgoing_address is None:
            return

        def note(sentence: str) -> None:
            with contextlib.suppress(NotFoundError), self.store.transaction() as tx:
                tx.events.add(flow.id, "grant", sentence)

        self.preparations.begin_revoke(flow, note)
