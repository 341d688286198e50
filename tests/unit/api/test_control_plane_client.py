"""Calls to control planes, against a real HTTP server that remembers what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.servers.identity_provider import IdentityProvider
from tests.unit.token_rig import token_source

from dataferry.api.signaling.client import HttpControlPlaneClient
from dataferry.api.signaling.offers import offered_authorization
from dataferry.domain.address import EDC_NAMESPACE, DataAddress
from dataferry.domain.authorization import AuthorizationType, CallbackTokens, CallerTokens
from dataferry.domain.dataflow import Dialect, State
from dataferry.domain.errors import (
    AddressError,
    ConfigError,
    ConflictError,
    ConnectionFailedError,
    DataFerryError,
    EgressDeniedError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    ServerError,
    ThrottledError,
    UnauthorizedError,
)
from dataferry.domain.location import ControlPlane, Provenance, RegistrationStyle
from dataferry.flows.messages import Callback
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy


@dataclass
class Server:
    """What it will answer, and what it was asked."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)


class QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that hang up."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A control plane's HTTP side."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            content = json.loads(self.rfile.read(length) or b"null")
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.asked.append((self.command, self.path, headers, content))
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        do_POST = do_PUT = do_GET = answer  # noqa: N815  the names that the base class calls

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    httpd = QuietServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def client() -> Iterator[HttpControlPlaneClient]:
    """A client under the default egress policy."""
    made = HttpControlPlaneClient(
        Network(),
        data_plane_id="plane-1",
        base_url="https://dp.example/",
        signaling_path="/api/v1",
        tokens=token_source(Network()),
        profiles=lambda: ("https://w3id.org/dspace-sig/profile/s3-push", "AmazonS3-PUSH"),
        timeout_s=5,
    )
    yield made
    made.close()


def callback(**changes: Any) -> Callback:
    """A started callback of the head."""
    given: dict[str, Any] = {
        "message_id": "m-1",
        "kind": "started",
        "process_id": "tp/1 a",
        "data_flow_id": "flow-1",
        "dialect": Dialect.HEAD,
        "state": State.STARTED,
    }
    return Callback(**given | changes)


def test_a_callback_is_a_status_message_at_the_transfers_path(
    server: Server, client: HttpControlPlaneClient
) -> None:
    """The process id is one segment of the path, the token goes along, and the head has no dataplaneId."""
    address = DataAddress(endpoint_type="t", endpoint="s3://b", properties=(("k", "v"),))
    plane = ControlPlane(id="cp", endpoint=f"{server.url}/signaling/", callback_token="the-token")
    client.send(plane, callback(data_address=address))
    method, path, headers, body = server.asked[0]
    assert (method, path) == ("POST", "/signaling/transfers/tp%2F1%20a/dataflow/started")
    assert headers["authorization"] == "Bearer the-token"
    expected = {
        "messageId": "m-1",
        "dataFlowId": "flow-1",
        "state": "STARTED",
        "dataAddress": address.to_wire(),
    }
    assert expected == body


def test_an_address_for_edc_has_its_iris(server: Server, client: HttpControlPlaneClient) -> None:
    """Properties that EDC gives a value of its own, and names that are IRIs already, are not repeated."""
    own = [(name, "ours") for name in ("type", "endpoint", "keyName", "responseChannel", "header:X", "@id")]
    given = (*own, ("authorization", "t-1"), ("refreshToken", "r-1"))
    address = DataAddress(endpoint_type="HttpData", endpoint="https://dp.example", properties=given)
    plane = ControlPlane(id="cp", endpoint=server.url, registration=RegistrationStyle.EDC)
    client.send(plane, callback(data_address=address))
    _, _, _, body = server.asked[0]
    named = [("endpointType", "HttpData"), ("authorization", "t-1"), ("refreshToken", "r-1")]
    expected = [*given, *((f"{EDC_NAMESPACE}{name}", value) for name, value in named)]
    assert [(p["name"], p["value"]) for p in body["dataAddress"]["endpointProperties"]] == expected


def test_an_error_is_told_and_the_older_dialect_names_the_plane(
    server: Server, client: HttpControlPlaneClient
) -> None:
    """Errored carries its text; RC2 wants dataplaneId."""
    plane = ControlPlane(id="cp", endpoint=server.url)
    client.send(plane, callback(kind="errored", dialect=Dialect.RC2, error="the bucket is gone"))
    _, path, headers, body = server.asked[0]
    assert path.endswith("/dataflow/errored")
    assert "authorization" not in headers
    assert (body["error"], body["dataplaneId"]) == ("the bucket is gone", "plane-1")


def test_the_address_of_a_message_is_an_external_place(
    server: Server, client: HttpControlPlaneClient
) -> None:
    """It counts only without a configured endpoint, passes the egress guard, and is not given the token."""
    plane = ControlPlane(id="cp", callback_token="the-token")
    with pytest.raises(EgressDeniedError):
        client.send(plane, callback(callback_address=server.url))
    assert server.asked == []
    trusting = HttpControlPlaneClient(
        Network(EgressGuard(EgressPolicy(allow_private_networks=True))),
        data_plane_id="plane-1",
        base_url="https://dp.example",
        signaling_path="",
        tokens=token_source(Network()),
        profiles=tuple,
    )
    trusting.send(plane, callback(callback_address=server.url))
    assert "authorization" not in server.asked[0][2]
    trusting.send(
        ControlPlane(id="cp", endpoint=f"{server.url}/own"), callback(callback_address="http://[::1]:1")
    )
    assert server.asked[1][1].startswith("/own/")
    trusting.close()


def test_without_any_endpoint_a_callback_waits(client: HttpControlPlaneClient) -> None:
    """The control plane may still register: the outbox tries again."""
    with pytest.raises(ConnectionFailedError, match="not said yet"):
        client.send(ControlPlane(id="cp"), callback())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, UnauthorizedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (408, ServerError),
        (429, ThrottledError),
        (500, ServerError),
        (503, ServerError),
        (400, ProtocolError),
        (422, ProtocolError),
        (302, ProtocolError),
    ],
)
def test_a_refusal_is_translated(
    server: Server, client: HttpControlPlaneClient, status: int, error: type[DataFerryError]
) -> None:
    """Its kind says whether trying again can help; its text repeats nothing of the answer or the token."""
    server.status, server.body = status, b'{"echo": "the-token"}'
    server.headers = {"Retry-After": "12", "Location": "http://127.0.0.1:1/elsewhere"}
    plane = ControlPlane(id="cp", endpoint=server.url, callback_token="the-token")
    with pytest.raises(DataFerryError) as refusal:
        client.send(plane, callback())
    assert error is type(refusal.value)
    assert refusal.value.retry_after_s == 12.0
    assert str(status) in str(refusal.value)
    assert "the-token" not in str(refusal.value)
    assert len(server.asked) == 1


def test_nobody_there_is_a_failed_connection(client: HttpControlPlaneClient) -> None:
    """Refused connections are tried again; what is no URL is not."""
    with pytest.raises(ConnectionFailedError):
        client.send(ControlPlane(id="cp", endpoint="http://127.0.0.1:9"), callback())
    for endpoint in ("ftp://127.0.0.1", "no url", "http://127.0.0.1:port", "http://"):
        with pytest.raises(DataFerryError) as refusal:
            client.send(ControlPlane(id="cp", endpoint=endpoint), callback())
        assert AddressError is type(refusal.value) or ConnectionFailedError is type(refusal.value)


def test_an_answer_without_end_is_not_read(server: Server, client: HttpControlPlaneClient) -> None:
    """Only so much of an answer is read away, and its status is what counts."""
    server.body = b"x" * 5_000_000
    client.send(ControlPlane(id="cp", endpoint=server.url), callback())
    server.body = b""
    client.send(ControlPlane(id="cp", endpoint=server.url), callback())
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("style", "endpoint", "told"),
    [
        (RegistrationStyle.DPS, "https://dp.example/api/v1", {"type": "bearer", "token": "call-us-with-it"}),
        (RegistrationStyle.EDC, "https://dp.example/api/v1/dataflows", None),
    ],
)
def test_registration_tells_the_endpoint_that_the_control_plane_needs(
    server: Server, client: HttpControlPlaneClient, style: RegistrationStyle, endpoint: str, told: Any
) -> None:
    """Both names of the profiles are sent; EDC appends only the verb to the endpoint."""
    client.register(ControlPlane(id="cp", endpoint=server.url, registration=style, token="call-us-with-it"))
    method, path, _, body = server.asked[0]
    assert (method, path) == ("PUT", "/dataplanes")
    assert ("plane-1", endpoint, told) == (body["dataplaneId"], body["endpoint"], body.get("authorization"))
    assert body["profiles"] == ["https://w3id.org/dspace-sig/profile/s3-push", "AmazonS3-PUSH"]
    assert body["profiles"] == body["transferTypes"]
    assert body["labels"] == []


def test_registration_goes_where_it_is_told(server: Server, client: HttpControlPlaneClient) -> None:
    """A registration URL is taken as it is; the token is not told to one who introduced itself."""
    plane = ControlPlane(id="cp", registration_url=f"{server.url}/management/v4/dataplanes")
    client.register(plane)
    assert server.asked[0][1] == "/management/v4/dataplanes"
    stranger = ControlPlane(id="cp", endpoint=server.url, token="secret", provenance=Provenance.EXTERNAL)
    assert "authorization" not in client.registration(stranger)
    with pytest.raises(ConfigError):
        client.register(ControlPlane(id="cp"))


@pytest.mark.parametrize(
    ("base", "path", "context"),
    [
        ("/management", "/management/v4/", ["https://w3id.org/edc/connector/management/v2"]),
        ("/management/v4/", "/management/v4/", ["https://w3id.org/edc/connector/management/v2"]),
        ("/management/v3", "/management/v3/", {"@vocab": "https://w3id.org/edc/v0.0.1/ns/"}),
    ],
)
def test_termination_speaks_the_version_of_the_management_api(
    server: Server, client: HttpControlPlaneClient, base: str, path: str, context: Any
) -> None:
    """The key goes along, and the reason."""
    plane = ControlPlane(id="cp", management_url=f"{server.url}{base}", management_key="the-key")
    client.terminate_transfer(plane, "tp/1", "the source is gone")
    method, asked, headers, body = server.asked[0]
    assert ("POST", f"{path}transferprocesses/tp%2F1/terminate") == (method, asked)
    assert headers["x-api-key"] == "the-key"
    assert {"@context": context, "@type": "TerminateTransfer", "reason": "the source is gone"} == body


def _registered_with(plane: ControlPlane) -> Any:
    """What our registration hands over."""
    return offered_authorization(plane, base_url="https://dp.example")


def test_what_a_registration_hands_over() -> None:
    """How it gets its tokens, and our keys; nothing of that where the operator did not say so."""
    credentials, exchange = AuthorizationType.CLIENT_CREDENTIALS, AuthorizationType.TOKEN_EXCHANGE
    own = CallerTokens(type=credentials, is_issued_here=True, client_secret="s")
    told = {
        "type": "oauth2_client_credentials",
        "tokenEndpoint": "https://dp.example/oauth/token",
        "clientId": "cp",
        "clientSecret": "s",
    }
    assert _registered_with(ControlPlane(id="cp", authorization=own)) == told
    signed = CallbackTokens(type=AuthorizationType.SELF_ISSUED)
    assert _registered_with(ControlPlane(id="cp", authorization=own, callback_authorization=signed)) == {
        **told,
        "jwksUri": "https://dp.example/oauth/jwks.json",
    }
    hashed = replace(own, client_secret=None)
    assert _registered_with(ControlPlane(id="cp", authorization=hashed)) is None
    assert _registered_with(ControlPlane(id="cp", authorization=hashed, token="t")) == {
        "type": "bearer",
        "token": "t",
    }
    stranger = ControlPlane(id="cp", authorization=own, token="t", provenance=Provenance.EXTERNAL)
    assert _registered_with(stranger) is None
    broker = CallbackTokens(
        type=exchange, token_endpoint="https://b.example/token", issuer="b", jwks_uri="https://b.example/keys"
    )
    theirs = CallerTokens(
        type=exchange, issuer="b", subject="urn:them", scope="s", jwks_uri="https://b.example/k"
    )
    assert _registered_with(ControlPlane(id="cp", authorization=theirs, callback_authorization=broker)) == {
        "type": "oauth2_token_exchange",
        "tokenExchangeEndpoint": "https://b.example/token",
        "issuer": "b",
        "jwksUri": "https://b.example/keys",
        "resource": "urn:them",
        "scope": "s",
    }


def test_a_token_that_is_refused_is_not_sent_again(server: Server) -> None:
    """After a 401 the next try has another one, also where tokens are kept."""
    with IdentityProvider() as provider:
        provider.clients["us"] = "our-secret"
        rules = CallbackTokens(
            type=AuthorizationType.CLIENT_CREDENTIALS,
            token_endpoint=provider.token_endpoint,
            client_id="us",
            client_secret="our-secret",
            reuses=True,
        )
        plane = ControlPlane(id="cp", endpoint=server.url, callback_authorization=rules)
        made = HttpControlPlaneClient(
            Network(),
            data_plane_id="dp",
            base_url="https://dp.example",
            signaling_path="",
            tokens=token_source(Network()),
            profiles=tuple,
        )
        made.send(plane, callback())
        made.send(plane, callback())
        server.status = 401
        with pytest.raises(UnauthorizedError):
            made.send(plane, callback())
        server.status = 200
        made.send(plane, callback())
        made.close()
    sent = [headers["authorization"].removeprefix("Bearer ") for _, _, headers, _ in server.asked]
    assert sent == [provider.issued[0]] * 3 + [provider.issued[1]]


def test_no_token_goes_to_the_address_of_a_message(server: Server) -> None:
    """Nor is one asked for."""
    with IdentityProvider() as provider:
        rules = CallbackTokens(
            type=AuthorizationType.CLIENT_CREDENTIALS, token_endpoint=provider.token_endpoint
        )
        made = HttpControlPlaneClient(
            Network(EgressGuard(EgressPolicy(allow_private_networks=True))),
            data_plane_id="dp",
            base_url="https://dp.example",
            signaling_path="",
            tokens=token_source(Network()),
            profiles=tuple,
        )
        made.send(ControlPlane(id="cp", callback_authorization=rules), callback(callback_address=server.url))
        made.close()
    assert "authorization" not in server.asked[0][2]
    assert provider.asked == []
