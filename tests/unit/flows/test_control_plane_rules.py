"""What a control plane may say of itself, and what is its operator's word alone."""

from __future__ import annotations

import pytest
from tests.unit.flows.world import World

from dataferry.domain.authorization import AuthorizationType, CallbackTokens, CallerTokens
from dataferry.domain.errors import ForbiddenError
from dataferry.domain.location import ControlPlane, Provenance


def test_a_control_plane_that_registers_gets_no_trust(still: World) -> None:
    """What it says of itself beyond endpoint and callback token is not taken."""
    boasting = ControlPlane(
        id="new",
        endpoint="http://10.0.0.1",
        may_name_locations=True,
        register=True,
        management_url="http://x",
    )
    taken = still.catalogue.control_planes.register(boasting)
    assert Provenance.EXTERNAL is taken.provenance
    assert (taken.may_name_locations, taken.register, taken.management_url) == (False, False, None)
    moved = still.catalogue.control_planes.register(ControlPlane(id="new", endpoint="http://elsewhere"))
    assert moved.endpoint == "http://elsewhere"
    still.catalogue.control_planes.delete("new")


def test_a_message_does_not_move_an_operators_control_plane(still: World) -> None:
    """The same endpoint is taken note of; another one is refused, for rows as for the configuration."""
    still.catalogue.control_planes.put(ControlPlane(id="row", endpoint="http://row", token="secret-token"))
    for name, endpoint in (("cp", "http://control.example"), ("row", "http://row")):
        assert (
            endpoint
            == still.catalogue.control_planes.register(ControlPlane(id=name, endpoint=endpoint)).endpoint
        )
        with pytest.raises(ForbiddenError, match="operator's word"):
            still.catalogue.control_planes.register(ControlPlane(id=name, endpoint="http://evil"))
    assert still.catalogue.control_planes.get("row").token == "secret-token"
    assert Provenance.OPERATOR is still.catalogue.control_planes.get("row").provenance


def test_an_operators_control_plane_may_say_where_it_is(still: World) -> None:
    """Without an endpoint it registers one: its place is its own word, its rights stay the operator's.

    What is sent there is the token that it named, not the operator's.
    """
    still.catalogue.control_planes.put(
        ControlPlane(id="row", token="secret-token", callback_token="operators", may_name_locations=True)
    )
    still.catalogue.control_planes.register(
        ControlPlane(id="row", endpoint="http://there", callback_token="c")
    )
    plane = still.catalogue.control_planes.get("row")
    assert (plane.endpoint, plane.token, plane.callback_token) == ("http://there", "secret-token", "c")
    assert (plane.provenance, plane.may_name_locations) == (Provenance.EXTERNAL, True)


def test_where_it_says_that_it_is_only_its_own_proofs_go(still: World) -> None:
    """Nor is it known by other keys than the operator gave; without any, by those that it brings."""
    ours = CallbackTokens(type=AuthorizationType.SELF_ISSUED)
    theirs = CallbackTokens(type=AuthorizationType.CLIENT_CREDENTIALS, client_id="us")
    given = CallerTokens(type=AuthorizationType.CLIENT_CREDENTIALS, jwks_uri="https://given.example")
    brought = CallerTokens(
        type=AuthorizationType.CLIENT_CREDENTIALS,
        jwks_uri="https://brought.example",
        provenance=Provenance.EXTERNAL,
    )
    for name, keys in (("keyed", given), ("bare", None)):
        still.catalogue.control_planes.put(
            ControlPlane(id=name, token=name, authorization=keys, callback_authorization=ours)
        )
        for _ in range(2):
            still.catalogue.control_planes.register(
                ControlPlane(
                    id=name, endpoint="http://there", authorization=brought, callback_authorization=theirs
                )
            )
        plane = still.catalogue.control_planes.get(name)
        assert (plane.callback_authorization, plane.authorization) == (theirs, keys or brought)
