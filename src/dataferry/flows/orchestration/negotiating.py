"""How an entry that names an asset comes to its contract: offer, negotiation, agreement.

What is agreed to is what is sent to the connector, and that is what the operator accepts: the policy as it
was read, in our own words. What comes back is held against it before anything is transferred under it.
"""

from __future__ import annotations

from dataferry.domain.errors import DataFerryError, NotFoundError
from dataferry.domain.orchestration import Connector, Entry, Step
from dataferry.domain.usage_policy import Agreed, Offer
from dataferry.flows.orchestration.acceptance import SETTING, Acceptance
from dataferry.flows.orchestration.faults import LateError, NegotiationEndedError, NoAgreementError
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.ports import BROKEN_OFF, FINALIZED, Negotiation, Negotiator
from dataferry.flows.orchestration.work import Next, Work
from dataferry.flows.shared import Shared
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.orchestration")

UNWANTED_REASON = "the data is not wanted any more"


class Negotiating:
    """The steps of entries up to their contract.

    Args:
        shared: The parts of this data plane.
        negotiator: How connectors are asked.
        policy: What may be agreed to, and bounds.
    """

    def __init__(self, shared: Shared, negotiator: Negotiator, policy: OrchestratorPolicy) -> None:
        self._shared = shared
        self._negotiator = negotiator
        self._policy = policy
        self._acceptance = Acceptance(policy.accepted)

    def choose(self, work: Work) -> Next:
        """Look for an offer that may be agreed to, and write which, before the connector is asked for it."""
        _refuse_strangers(work.connector)
        ask = work.entry.ask
        offer = self._acceptance.choose(ask.provider_id, self._negotiator.offered(work.connector, ask))
        work.save(self._shared.store, work.entry.to(Step.REQUESTING, offer=offer))
        work.memory.is_new = True
        return Next()

    def request(self, work: Work) -> Next:
        """Have the connector negotiate, or find the negotiation whose answer never came."""
        _refuse_strangers(work.connector)
        entry, memory = work.entry, work.memory
        found = None if memory.is_new else self._found(work)
        memory.is_new = False
        if found is None:
            offer = self._offer(entry)
            found = self._negotiator.request(work.connector, entry.ask, offer, reference=entry.reference)
        memory.looks = 0
        work.save(self._shared.store, entry.to(Step.NEGOTIATING, negotiation_id=found))
        return Next(after_s=self._policy.first_delay_s)

    def _offer(self, entry: Entry) -> Offer:
        """Return what was chosen, unless the operator has changed their mind meanwhile."""
        offer = _chosen(entry)
        if self._acceptance.name_of(entry.ask.provider_id, offer.policy) is None:
            raise NoAgreementError(f"what was offered is not among {SETTING} any more: {offer.policy.shown}")
        return offer

    def _found(self, work: Work) -> str | None:
        """Look for a negotiation that was begun without our knowing; None also where that can't be told."""
        try:
            return self._negotiator.find(work.connector, work.entry.ask, work.entry.reference)
        except DataFerryError as exc:
            if exc.is_temporary:
                raise
            _log.warning("a negotiation may have been begun twice", entry=work.entry.reference, why=str(exc))
            return None

    def watch(self, work: Work) -> Next:
        """Wait until there is an agreement, and go on with it if it is the one that was offered."""
        entry, memory = work.entry, work.memory
        negotiation_id = _begun(entry)
        found = self._negotiator.negotiation(work.connector, negotiation_id)
        if found.state in BROKEN_OFF:
            raise _ended(found)
        if found.state != FINALIZED:
            self._refuse_late(entry, found.state)
            memory.looks += 1
            return Next(after_s=self._policy.look_delay_s(memory.looks))
        agreement = self._negotiator.agreement(work.connector, entry.ask, negotiation_id)
        _hold_against(entry, agreement)
        ask = entry.ask._replace(contract_id=agreement.id)
        work.save(self._shared.store, entry.to(Step.STARTING, ask=ask))
        memory.is_new = True
        _log.info(
            "agreed",
            entry=entry.reference,
            agreement=agreement.id,
            asset=agreement.asset_id,
            provider=agreement.provider_id,
            policy=self._acceptance.name_of(agreement.provider_id, agreement.policy),
        )
        return Next()

    def _refuse_late(self, entry: Entry, state: str) -> None:
        waited_s = (self._shared.clock.now() - entry.updated_at).total_seconds()
        most_s = self._policy.start_timeout_s
        if waited_s > most_s:
            raise LateError(f"the negotiation is {state}, not {FINALIZED}, after {most_s:g} s")

    def take_back(self, work: Work) -> None:
        """Break off a negotiation that led to no contract, also one that was begun without our knowing."""
        entry = work.entry
        is_over = entry.fault is not None and entry.fault.kind == NegotiationEndedError.kind
        if entry.offer is None or is_over:
            return
        negotiation_id = entry.negotiation_id or self._negotiator.find(
            work.connector, entry.ask, entry.reference
        )
        if negotiation_id is not None:
            reason = UNWANTED_REASON if entry.fault is None else f"refused ({entry.fault.kind})"
            self._negotiator.break_off(work.connector, negotiation_id, reason)


def _refuse_strangers(connector: Connector) -> None:
    """Agree by a connector of ours only: whose contract would it be?"""
    if not connector.is_configured:
        raise NoAgreementError("only a configured connector is asked to negotiate")


def _hold_against(entry: Entry, agreement: Agreed) -> None:
    """Refuse an agreement that is another one than what was offered.

    Raises:
        NoAgreementError: It is about something else, with somebody else, or on other terms.
    """
    offer, ask = _chosen(entry), entry.ask
    named = f"agreement {agreement.id[:200]} is not used: "
    if agreement.asset_id != ask.asset_id:
        raise NoAgreementError(f"{named}it is about {agreement.asset_id[:200]!r}, not {ask.asset_id!r}")
    if agreement.provider_id != ask.provider_id:
        raise NoAgreementError(f"{named}it is with {agreement.provider_id[:200]!r}, not {ask.provider_id!r}")
    if agreement.policy != offer.policy:
        raise NoAgreementError(
            f"{named}it says {agreement.policy.shown}, and offered was {offer.policy.shown}"
        )


def _ended(negotiation: Negotiation) -> DataFerryError:
    detail = f": {negotiation.error}" if negotiation.error else ""
    return NegotiationEndedError(f"the negotiation is {negotiation.state}{detail}")


def _chosen(entry: Entry) -> Offer:
    if entry.offer is None:
        raise NotFoundError("the entry has no offer")
    return entry.offer


def _begun(entry: Entry) -> str:
    if entry.negotiation_id is None:
        raise NotFoundError("the entry has no negotiation")
    return entry.negotiation_id
