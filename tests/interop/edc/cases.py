"""What is tried between two connectors and their data planes; each says in a sentence what must be so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
from tests.interop.edc.connector import Connector, ConnectorError
from tests.interop.edc.dataspace import DEFERRED, LIVE, MISSING, QUICK, SLOW, Dataspace
from tests.interop.edc.negotiation import negotiated, negotiated_by_v3, not_negotiated
from tests.interop.edc.orchestration import (
    orchestrated_beside_its_plane,
    orchestrated_by_its_own_plane,
    orchestrated_in_vain,
    orchestrated_push,
    orchestrated_push_beside,
)

PUSH, PULL = "AmazonS3-PUSH", "AmazonS3-PULL"
HTTP_PULL = "HttpData-PULL"
# As long as nothing may happen, where nothing must.
QUIET_S = 2.0

Case = Callable[[Dataspace], None]


def s3_push(dataspace: Dataspace) -> None:
    """AmazonS3-PUSH: the provider's plane writes into the consumer's bucket; both processes complete."""
    dataspace.wait_completed(*_both(dataspace, QUICK, PUSH))


def s3_pull(dataspace: Dataspace) -> None:
    """AmazonS3-PULL: the consumer's plane reads from the provider's bucket; both processes complete."""
    dataspace.wait_completed(*_both(dataspace, QUICK, PULL))


def http_pull(dataspace: Dataspace) -> None:
    """HttpData-PULL: the consumer's plane reads from the provider's gateway; both processes complete."""
    dataspace.wait_completed(*_both(dataspace, QUICK, HTTP_PULL))


def consumer_suspends_http_pull(dataspace: Dataspace) -> None:
    """A pull from the gateway that the consumer suspends stops, and goes on when it resumes."""
    _suspended_and_resumed(dataspace, HTTP_PULL, by=dataspace.consumer)


def deferred(dataspace: Dataspace) -> None:
    """Prepare and start that are answered with 202 come to their end by callbacks."""
    for transfer_type in (PUSH, PULL):
        dataspace.wait_completed(*_both(dataspace, DEFERRED, transfer_type))


def consumer_suspends_push(dataspace: Dataspace) -> None:
    """A push that the consumer suspends stops, and goes on when the consumer resumes."""
    _suspended_and_resumed(dataspace, PUSH, by=dataspace.consumer)


def provider_suspends_push(dataspace: Dataspace) -> None:
    """A push that the provider suspends stops, and goes on when the provider resumes."""
    _suspended_and_resumed(dataspace, PUSH, by=dataspace.provider)


def consumer_suspends_pull(dataspace: Dataspace) -> None:
    """A pull that the consumer suspends stops, and goes on, at a fresh address, when it resumes."""
    _suspended_and_resumed(dataspace, PULL, by=dataspace.consumer)


def provider_suspends_pull(dataspace: Dataspace) -> None:
    """A pull that the provider suspends stops, and goes on, at a fresh address, when it resumes."""
    _suspended_and_resumed(dataspace, PULL, by=dataspace.provider)


def terminated(dataspace: Dataspace) -> None:
    """A push that the consumer terminates ends at both connectors, and no further byte moves."""
    process_id, counterpart = dataspace.begun(SLOW, PUSH)
    dataspace.wait_moving(dataspace.provider_plane, counterpart)
    dataspace.consumer.terminate(process_id)
    dataspace.consumer.wait(process_id, "TERMINATED")
    dataspace.provider.wait(counterpart, "TERMINATED")
    dataspace.wait_for(
        lambda: dataspace.provider_plane.flow(counterpart)["state"] == "TERMINATED",
        "the plane to end the flow",
    )
    before = len(dataspace.arrived(process_id))
    time.sleep(QUIET_S)
    if len(dataspace.arrived(process_id)) != before:
        raise ConnectorError("objects arrived after the transfer was terminated")


def provider_plane_killed(dataspace: Dataspace) -> None:
    """A push goes on and completes after kill -9 and a restart of the provider's plane."""
    process_id, counterpart = dataspace.begun(SLOW, PUSH)
    dataspace.wait_moving(dataspace.provider_plane, counterpart)
    dataspace.provider_plane.kill()
    dataspace.provider_plane.start()
    dataspace.wait_completed(process_id, counterpart)
    resumed = dataspace.provider_plane.flow(counterpart)
    if not resumed["attempt"] > 1:
        raise ConnectorError("the flow was not taken up again")


def failure_held(dataspace: Dataspace) -> None:
    """``on_failure = "hold"``: both states stay what they are, and the connector is told by ``errored``."""
    dataspace.fail_as("hold")
    process_id, counterpart = _failed(dataspace)
    # The bucket was found missing before the answer that would have made it STARTED.
    _expect(dataspace.provider.read(counterpart)["state"], "STARTUP_REQUESTED")
    _expect(dataspace.provider_plane.flow(counterpart)["state"], "STARTING")
    dataspace.consumer.terminate(process_id)
    dataspace.provider.wait(counterpart, "TERMINATED")


def failure_terminates(dataspace: Dataspace) -> None:
    """``on_failure = "terminate"``: the plane's flow is TERMINATED; the connector is told by ``errored``."""
    dataspace.fail_as("terminate")
    process_id, counterpart = _failed(dataspace)
    _expect(dataspace.provider_plane.flow(counterpart)["state"], "TERMINATED")
    dataspace.consumer.terminate(process_id)
    dataspace.provider.wait(counterpart, "TERMINATED")


def failure_terminates_at_connector(dataspace: Dataspace) -> None:
    """``on_failure = "terminate-via-management-api"``: both connectors see the process end, and why."""
    dataspace.fail_as("terminate-via-management-api")
    process_id = dataspace.begin(MISSING, PUSH)
    dataspace.consumer.wait(process_id, "TERMINATED")
    found = dataspace.provider.wait(dataspace.provider.counterpart(process_id), "TERMINATED")
    if "missing" not in str(found.get("errorDetail")):
        raise ConnectorError(f"the process does not say why it was terminated: {found}")


def agreement_shown(dataspace: Dataspace) -> None:
    """Both planes show a transfer's contract agreement, read from their connector's Management API."""
    process_id, counterpart = _both(dataspace, QUICK, PUSH)
    dataspace.wait_completed(process_id, counterpart)
    for plane, one in ((dataspace.consumer_plane, process_id), (dataspace.provider_plane, counterpart)):
        shown = plane.flow(one)["agreement"] or {}
        told = [shown.get(name) for name in ("standing", "providerId", "consumerId", "assetId", "error")]
        parties = [dataspace.provider.participant_id, dataspace.consumer.participant_id]
        _expect(told, ["known", *parties, QUICK, None])
        if not (shown["signedAt"] and shown["policy"]):
            raise ConnectorError(f"the agreement is not whole: {shown}")


def application_reads(dataspace: Dataspace) -> None:
    """HttpData-PULL for an application: the plane copies nothing; it reads, but not while suspended."""
    process_id, _ = dataspace.begun(LIVE, HTTP_PULL)
    endpoint, token = dataspace.data_address(process_id)
    _expect(dataspace.fetched(endpoint, token), (200, dataspace.expected["object 00"]))
    dataspace.consumer.suspend(process_id)
    dataspace.consumer.wait(process_id, "SUSPENDED")
    dataspace.wait_for(lambda: dataspace.fetched(endpoint, token)[0] == 403, "the gateway to refuse")
    _expect(dataspace.refused_address(process_id), 409)
    dataspace.consumer.resume(process_id)
    dataspace.consumer.wait(process_id, "STARTED")
    dataspace.wait_for(
        lambda: dataspace.consumer_plane.flow(process_id)["state"] == "STARTED", "the plane to resume"
    )
    fresh, token = dataspace.data_address(process_id)
    _expect(dataspace.fetched(fresh, token), (200, dataspace.expected["object 00"]))
    _expect(dataspace.consumer_plane.flow(process_id)["bytesTransferred"], None)
    dataspace.consumer.terminate(process_id)
    dataspace.consumer.wait(process_id, "TERMINATED")
    _expect(dataspace.refused_address(process_id), 410)


CASES: tuple[Case, ...] = (
    s3_push,
    s3_pull,
    http_pull,
    consumer_suspends_http_pull,
    deferred,
    consumer_suspends_push,
    provider_suspends_push,
    consumer_suspends_pull,
    provider_suspends_pull,
    terminated,
    provider_plane_killed,
    agreement_shown,
    application_reads,
    orchestrated_by_its_own_plane,
    orchestrated_beside_its_plane,
    orchestrated_in_vain,
    negotiated,
    negotiated_by_v3,
    not_negotiated,
    orchestrated_push,
    orchestrated_push_beside,
    failure_held,
    failure_terminates,
    failure_terminates_at_connector,
)


def _both(dataspace: Dataspace, asset: str, transfer_type: str) -> tuple[str, str]:
    """Start a transfer; return the ids of both processes."""
    process_id = dataspace.begin(asset, transfer_type)
    return process_id, dataspace.provider.counterpart(process_id)


def _suspended_and_resumed(dataspace: Dataspace, transfer_type: str, *, by: Connector) -> None:
    process_id, counterpart = dataspace.begun(SLOW, transfer_type)
    pushing = transfer_type == PUSH
    plane = dataspace.provider_plane if pushing else dataspace.consumer_plane
    moving_id = counterpart if pushing else process_id
    dataspace.wait_moving(plane, moving_id)
    theirs = counterpart if by is dataspace.provider else process_id
    by.suspend(theirs)
    for connector, one in ((dataspace.consumer, process_id), (dataspace.provider, counterpart)):
        connector.wait(one, "SUSPENDED")
    dataspace.wait_for(lambda: not plane.flow(moving_id)["running"], "the plane to stop")
    before = plane.flow(moving_id)["bytesTransferred"]
    time.sleep(QUIET_S)
    _expect(plane.flow(moving_id)["bytesTransferred"], before)
    by.resume(theirs)
    dataspace.wait_completed(process_id, counterpart)


def _failed(dataspace: Dataspace) -> tuple[str, str]:
    """Start a transfer that can't succeed; return both processes once the plane's run has failed."""
    process_id, counterpart = _both(dataspace, MISSING, PUSH)
    plane = dataspace.provider_plane

    def failed() -> dict[str, Any] | None:
        try:
            view = plane.flow(counterpart)
        except httpx.HTTPStatusError:  # the connector has not told the plane yet
            return None
        return view if view["lastError"] else None

    dataspace.wait_for(failed, "the run to fail")
    dataspace.wait_for(
        lambda: "Errored DataFlow notification" in dataspace.provider.process.log.read_text(),
        "the connector to take note of `errored`",
    )
    return process_id, counterpart


def _expect(found: Any, expected: Any) -> None:
    if found != expected:
        raise ConnectorError(f"{found!r} instead of {expected!r}")
