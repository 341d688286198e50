"""Names that answer differently a moment later: what was checked is what is dialled.

Keys of control planes, DID documents, token endpoints, callbacks, data, redirects: the name of each resolves
to an allowed address when it is looked at, and to this machine when it is looked at again. A server listens
here, and must not be reached.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from tests.servers.http_store import HttpStore
from tests.servers.names import ChangingNames
from tests.unit.token_rig import token_source

from dataferry.api.orchestration.webhook import HttpWebhook
from dataferry.api.signaling.client import HttpControlPlaneClient
from dataferry.domain.address import DataAddress
from dataferry.domain.authorization import AuthorizationType, CallbackTokens
from dataferry.domain.clock import SystemClock
from dataferry.domain.dataflow import Dialect, State
from dataferry.domain.errors import ConnectionFailedError, DataFerryError, EgressDeniedError
from dataferry.domain.location import ControlPlane, Location, Provenance
from dataferry.domain.orchestration import Orchestration, Standing
from dataferry.flows.identities import Identities
from dataferry.flows.key_sets import KeySets
from dataferry.flows.messages import Callback
from dataferry.flows.orchestration.orchestrator import OrchestrationView
from dataferry.mechanisms.base import Endpoint
from dataferry.mechanisms.http import MECHANISM as HTTP
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy

NAME = "partner.example"
# Source: RFC 5737 keeps it for documentation; the policy allows it here, and nothing answers there.
CHECKED = "192.0.2.7"
HERE = "127.0.0.1"


class Door:
    """Listens, and knows who came, whatever they said."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HERE, 0))
        self._listener.settimeout(0)
        self.port = int(self._listener.getsockname()[1])

    def was_reached(self) -> bool:
        """Return whether anybody connected."""
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


@pytest.fixture
def listening() -> Iterator[Door]:
    """What must not be reached."""
    with closing(Door()) as door:
        yield door


def network(*answers: str) -> tuple[Network, ChangingNames]:
    """A way out whose names have these addresses, one after the other."""
    names = ChangingNames({NAME: answers})
    guard = EgressGuard(EgressPolicy(allow=(f"{CHECKED}/32",)), resolve=names)
    return Network(guard, connect_timeout_s=0.3), names


def keys(way: Network, port: int) -> None:
    """Fetch the keys that a registration named."""
    with closing(KeySets(way, SystemClock())) as sets:
        sets.keys(f"https://{NAME}:{port}/jwks.json", Provenance.EXTERNAL, None, "ES256")


def did(way: Network, port: int) -> None:
    """Fetch a partner's DID document."""
    with closing(Identities(way)) as identities:
        identities.key(f"did:web:{NAME}%3A{port}", "#key-1")


def registered(port: int) -> ControlPlane:
    """A control plane by its own word."""
    return ControlPlane(
        id="cp",
        endpoint=f"https://{NAME}:{port}",
        provenance=Provenance.EXTERNAL,
        callback_authorization=CallbackTokens(
            type=AuthorizationType.CLIENT_CREDENTIALS,
            token_endpoint=f"https://{NAME}:{port}/token",
            provenance=Provenance.EXTERNAL,
            client_id="us",
            client_secret="a-secret-that-goes-nowhere",
        ),
    )


def token(way: Network, port: int) -> None:
    """Get a token where a registration said."""
    with closing(token_source(way)) as source:
        source.token(registered(port))


def callback(way: Network, port: int) -> None:
    """Call back where a message said."""
    client = HttpControlPlaneClient(
        way,
        data_plane_id="dp",
        base_url="http://dp",
        signaling_path="",
        tokens=token_source(way),
        profiles=tuple,
    )
    told = Callback(
        message_id="m",
        kind="completed",
        process_id="p",
        data_flow_id="p",
        dialect=Dialect.HEAD,
        state=State.COMPLETED,
        callback_address=f"https://{NAME}:{port}",
    )
    with closing(client):
        client.send(ControlPlane(id="cp"), told)


def _read(way: Network, endpoint: Endpoint) -> None:
    with closing(HTTP.open_source(endpoint, way)) as source:
        list(source.list())


def data(way: Network, port: int) -> None:
    """Read from a data address."""
    address = DataAddress(endpoint_type="HttpData", endpoint=f"https://{NAME}:{port}/x")
    _read(way, HTTP.at_address(address))


def redirect(way: Network, port: int) -> None:
    """Read from the operator's own server, which leads elsewhere."""
    with HttpStore() as own:
        own.redirects["/x"] = (302, f"https://{NAME}:{port}/x")
        settings = {"base_url": own.url, "bearer_token": "a-token-that-goes-nowhere"}
        _read(way, HTTP.at_location(Location(name="own", mechanism="http", settings=settings), "x"))


EVERY = pytest.mark.parametrize(
    "ask", [keys, did, token, callback, data, redirect], ids=lambda ask: str(ask.__name__)
)


@EVERY
def test_an_answer_that_changes_after_the_check_changes_nothing(
    listening: Door, ask: Callable[[Network, int], Any]
) -> None:
    """The address that was checked is dialled, though the name means this machine by then."""
    way, names = network(CHECKED, HERE)
    with pytest.raises(DataFerryError) as failed:
        ask(way, listening.port)
    assert isinstance(failed.value, ConnectionFailedError)
    assert [name for name in names.asked if name != HERE] == [NAME]
    assert not listening.was_reached()


@EVERY
def test_an_answer_that_has_changed_before_the_check_is_refused(
    listening: Door, ask: Callable[[Network, int], Any]
) -> None:
    """No look-up is trusted for later: the second time the name means this machine, and is refused."""
    way, names = network(CHECKED, HERE)
    for _ in range(2):
        with pytest.raises(DataFerryError):
            ask(way, listening.port)
    assert [name for name in names.asked if name != HERE] == [NAME, NAME]
    assert not listening.was_reached()


def test_what_the_operator_names_is_dialled_as_it_was_looked_up(listening: Door) -> None:
    """Its webhook may be anywhere, but is one place: the name is looked up once for each call."""
    way, names = network(CHECKED, HERE)
    webhook = HttpWebhook(way, f"https://{NAME}:{listening.port}/hook", SystemClock(), bearer_token="a-token")
    with closing(webhook), pytest.raises(ConnectionFailedError):
        webhook.tell(OrchestrationView(orchestration=ended(), entries=(), progress={}))
    assert [name for name in names.asked if name != HERE] == [NAME]
    assert not listening.was_reached()


def ended() -> Orchestration:
    """One that is over."""
    now = SystemClock().now()
    return Orchestration(
        id=uuid4(),
        connector_address="https://edc",
        entries=0,
        standing=Standing.COMPLETED,
        created_at=now,
        updated_at=now,
        ended_at=now,
    )


@EVERY
@pytest.mark.parametrize("address", [HERE, "169.254.169.254", "10.0.0.1", "::ffff:127.0.0.1", "::1"])
def test_places_inside_are_refused(listening: Door, ask: Callable[[Network, int], Any], address: str) -> None:
    """Whatever name they have; and the refusal does not tell what the name resolves to."""
    way, _ = network(address)
    with pytest.raises(DataFerryError) as failed:
        ask(way, listening.port)
    assert isinstance(failed.value, ConnectionFailedError if ask is keys else EgressDeniedError)
    assert not listening.was_reached()
    assert "secret" not in str(failed.value)
