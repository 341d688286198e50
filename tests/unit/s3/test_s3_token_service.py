"""What a token service may answer, well or badly, and what it is asked."""

from __future__ import annotations

import json
import pickle
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from tests.servers.acceptor import Acceptor

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import (
    AccessDeniedError,
    ConfigError,
    ConnectionFailedError,
    CredentialsExpiredError,
    DataFerryError,
    ProtocolError,
    ServerError,
    StallError,
    ThrottledError,
    UnsupportedError,
)
from dataferry.domain.location import Location
from dataferry.mechanisms.base import GrantMode
from dataferry.mechanisms.s3 import MECHANISM, sts
from dataferry.mechanisms.s3.session_policy import session_policy
from dataferry.net.connections import Network
from dataferry.net.leash import Leash

ROLE = "arn:aws:iam::123456789012:role/ferry"
KEY = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
SECRET = "planted-secret-access-key-0123456789"
NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


class TokenService(Acceptor):
    """Answers each request with ``status`` and ``body``; ``requests`` are what came."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.body = given()
        self.silent = False
        self.requests: list[bytes] = []

    def serve(self, client: socket.socket) -> None:
        """Read a request whole, and answer it."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += client.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        found = re.search(rb"Content-Length: (\d+)", head)
        assert found is not None
        while len(rest) < int(found[1]):
            rest += client.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + rest)
        if self.silent:
            client.recv(1)
            return
        reply = f"HTTP/1.1 {self.status} Said\r\nContent-Length: {len(self.body)}\r\n\r\n"
        client.sendall(reply.encode() + self.body)


def given(**changes: str) -> bytes:
    """A reply of success, as Amazon writes it."""
    ends = datetime.now(UTC) + timedelta(hours=1)
    values = {
        "AccessKeyId": "ASIAGIVEN00000000001",
        "SecretAccessKey": "given/secret+0123456789",
        "SessionToken": "given//token==",
        "Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
        **changes,
    }
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in values.items() if value)
    result = f"<AssumeRoleResult><Credentials>{inner}</Credentials></AssumeRoleResult>"
    return f'<AssumeRoleResponse xmlns="{NAMESPACE}">{result}</AssumeRoleResponse>'.encode()


def refusal(code: str, message: str = "as told") -> bytes:
    """A reply of failure, as Amazon writes it."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return f'<ErrorResponse xmlns="{NAMESPACE}">{error}</ErrorResponse>'.encode()


@pytest.fixture
def service() -> Iterator[TokenService]:
    """A token service of the test's own."""
    with TokenService() as running:
        yield running


def location(service: TokenService | None = None, **settings: Any) -> Location:
    """A location that grants by it."""
    url = {} if service is None else {"sts_endpoint_url": f"http://127.0.0.1:{service.port}"}
    keys = {"access_key_id": "AKIAPLANTED000000001", "secret_access_key": SECRET}
    return Location(name="plant", mechanism="s3", settings={**keys, **url, **settings})


def grant(service: TokenService, path: str = "data/in/", **settings: Any) -> DataAddress:
    """Grant a path for reading."""
    place = MECHANISM.at_location(location(service, **settings), path)
    return MECHANISM.grant(
        place, MECHANISM.profiles[1], GrantMode.READ, Network(), ttl_s=3600, purpose="0f flow/1\n"
    )


def test_the_address_has_the_given_credentials_and_their_end(service: TokenService) -> None:
    """It is one that this mechanism reads, and none of the location's credentials is in it."""
    address = grant(service, sts_role_arn=ROLE)
    back = MECHANISM.at_address(DataAddress.from_wire(address.to_wire()))
    assert back.credentials().secret_access_key == "given/secret+0123456789"
    assert back.credentials().session_token == "given//token=="
    assert back.expires_at is not None
    assert MECHANISM.granted_until(address) == back.expires_at
    copied = pickle.loads(pickle.dumps(back))  # noqa: S301 - our own
    assert copied.has_expired(back.expires_at)
    jsonschema.validate(
        {"endpointType": address.endpoint_type, "endpoint": address.endpoint, **dict(address.properties)},
        MECHANISM.address_schema,
    )
    texts = json.dumps(address.to_wire()) + repr(back) + repr(address)
    assert SECRET not in texts
    assert "AKIAPLANTED000000001" not in texts
    assert ROLE not in texts
    assert b"RoleSessionName=dataferry-0f_flow_1_&" in service.requests[0]


@pytest.mark.parametrize("stated", ["", "soon", "2020-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"])
def test_a_reply_that_does_not_say_when_it_ends_is_refused(service: TokenService, stated: str) -> None:
    """So is one that has ended already."""
    service.body = given(Expiration=stated)
    with pytest.raises(ProtocolError, match="expired already"):
        grant(service)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no xml",
        b"<a/>",
        b'{"AssumeRoleResponse": {}}',
        b"<!DOCTYPE x [<!ENTITY e 'x'>]><AssumeRoleResponse>&e;</AssumeRoleResponse>",
        b"<AssumeRoleResponse>" + b"<a>" * 40 + b"</a>" * 40 + b"</AssumeRoleResponse>",
        given(AccessKeyId=""),
        given(SecretAccessKey=" "),
        given(SessionToken=""),
        given(SessionToken="two words"),
        given(SessionToken="line\nbreak"),
        given(SessionToken="x" * 8193),
        given(AccessKeyId="sch&#252;ssel"),
        given() + b" " * 70_000,
    ],
)
def test_replies_that_are_none_are_refused(service: TokenService, body: bytes) -> None:
    """Whatever is in them, it does not become an address."""
    service.body = body
    with pytest.raises(ProtocolError):
        grant(service)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (403, refusal("AccessDenied", f"User: arn:aws:iam::1:user/u, {ROLE}"), AccessDeniedError, "trust"),
        (403, refusal("InvalidClientTokenId"), AccessDeniedError, "not known"),
        (403, refusal("SignatureDoesNotMatch"), AccessDeniedError, "secret"),
        (403, refusal("ExpiredTokenException"), CredentialsExpiredError, "expired"),
        (403, b"", AccessDeniedError, "403"),
        (400, refusal("PackedPolicyTooLarge"), UnsupportedError, "http-pull"),
        (400, refusal("MalformedPolicyDocument", "at line 1"), ConfigError, "at line 1"),
        (
            400,
            refusal("ValidationError", "DurationSeconds exceeds MaxSessionDuration"),
            ConfigError,
            "grant_ttl",
        ),
        (400, refusal("ValidationError", f"{ROLE} is no role of {SECRET}"), ConfigError, "is no role"),
        (400, refusal("InvalidAction"), ConfigError, "InvalidAction"),
        (403, refusal("RegionDisabledException"), ConfigError, "activate"),
        (400, refusal("Throttling"), ThrottledError, "Throttling"),
        (503, b"", ThrottledError, "503"),
        (500, refusal("InternalFailure"), ServerError, "InternalFailure"),
        (302, b"", ProtocolError, "302"),
        (404, b"<html>", DataFerryError, "404"),
    ],
)
def test_refusals_are_told_apart(
    service: TokenService, status: int, body: bytes, kind: type[DataFerryError], words: str
) -> None:
    """What may pass is temporary; no role, account, user or secret is named to those who are told."""
    service.status, service.body = status, body
    with pytest.raises(kind, match=words) as caught:
        grant(service, sts_role_arn=ROLE)
    assert caught.value.operation == "sts.AssumeRole"
    assert caught.value.is_temporary is (kind in {ThrottledError, ServerError})
    for secret in (SECRET, ROLE, "AKIAPLANTED", "user/u"):
        assert secret not in f"{caught.value} {caught.value!r}"
    assert len(service.requests) == 1


def test_silence_and_absence_are_passing(service: TokenService, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that says nothing is a stall, one that is not there a failed connection."""
    monkeypatch.setattr(sts, "TIMEOUT_S", 0.2)
    service.silent = True
    with pytest.raises(StallError):
        grant(service)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(ConnectionFailedError):
        grant(service, sts_endpoint_url=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("settings", "host", "region"),
    [
        ({"sts_role_arn": ROLE, "region": "eu-west-1"}, "sts.eu-west-1.amazonaws.com", "eu-west-1"),
        ({"sts_role_arn": ROLE, "region": "cn-north-1"}, "sts.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        (
            {"sts_endpoint_url": "https://sts.amazonaws.com", "region": "eu-west-1"},
            "sts.amazonaws.com",
            "us-east-1",
        ),
        (
            {"sts_endpoint_url": "https://sts.eu-west-3.amazonaws.com", "region": "eu-west-1"},
            "sts.eu-west-3.amazonaws.com",
            "eu-west-3",
        ),
        ({"sts_endpoint_url": "https://minio.local:9000", "region": "here"}, "minio.local", "here"),
    ],
)
def test_where_the_token_service_is(settings: dict[str, Any], host: str, region: str) -> None:
    """Amazon's endpoints say their region; others are signed for the location's."""
    place = MECHANISM.at_location(location(**settings), "data/in/")
    assert place.sts is not None
    assert (place.sts.server.host, place.sts.server.region) == (host, region)


@pytest.mark.parametrize(
    "settings",
    [
        {"sts_endpoint_url": "ftp://sts"},
        {"sts_endpoint_url": "https://user@sts"},
        {"sts_role_arn": "ferry"},
        {"sts_role_arn": f"{ROLE} x"},
        {"sts_external_id": "alone"},
        {"sts_role_arn": ROLE, "sts_external_id": "a b"},
        {"sts_role_arn": ROLE, "sts_kms_key_arn": "alias/x"},
        {"sts_role_arn": 7},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    """Each with the location's name."""
    with pytest.raises(ConfigError, match="location plant"):
        MECHANISM.at_location(location(**settings), "data/in/")


def policy(path: str, mode: GrantMode, **settings: Any) -> list[dict[str, Any]]:
    """The statements of a place's policy."""
    text = session_policy(MECHANISM.at_location(location(sts_role_arn=ROLE, **settings), path), mode)
    assert text.isascii()
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    assert {statement["Effect"] for statement in statements} == {"Allow"}
    return statements


def test_what_policies_say() -> None:
    """Reading: objects and their listing. Writing: objects and parts. One object: no listing."""
    objects, listing = policy("data/in/", GrantMode.READ)
    assert objects["Action"] == ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging"]
    assert objects["Resource"] == ["arn:aws:s3:::data/in/*"]
    assert (listing["Action"], listing["Resource"]) == (["s3:ListBucket"], ["arn:aws:s3:::data"])
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["in/*"]}}
    (one,) = policy("data/in/x", GrantMode.READ, tags=False)
    assert (one["Action"], one["Resource"]) == (
        ["s3:GetObject", "s3:GetObjectVersion"],
        ["arn:aws:s3:::data/in/x"],
    )
    (written,) = policy("data/in/", GrantMode.WRITE)
    assert written["Action"] == [
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
        "s3:PutObjectTagging",
    ]
    whole = policy("data", GrantMode.WRITE, tags=False)
    assert whole[1]["Action"] == ["s3:ListBucketMultipartUploads"]
    assert whole[0]["Resource"] == ["arn:aws:s3:::data/*"]
    assert "Condition" not in policy("data/", GrantMode.READ)[1]


def test_a_version_is_granted_alone() -> None:
    """Neither the current version nor any other can be read with it."""
    (one,) = policy("data/in/x?versionId=v1", GrantMode.READ, tags=False)
    assert one["Action"] == ["s3:GetObjectVersion"]
    assert one["Condition"] == {"StringEquals": {"s3:versionid": "v1"}}


def test_the_sealing_key_is_granted_in_the_stores_hands_only() -> None:
    """Reading opens seals, writing makes them; partitions follow the region."""
    for mode, actions in (
        (GrantMode.READ, ["kms:Decrypt"]),
        (GrantMode.WRITE, ["kms:GenerateDataKey", "kms:Decrypt"]),
    ):
        sealed = policy("data/in/", mode, sts_kms_key_arn=KEY)[-1]
        assert (sealed["Action"], sealed["Resource"]) == (actions, [KEY])
        assert sealed["Condition"] == {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}}
    for region, partition in (("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")):
        assert policy("data/in/", GrantMode.READ, region=region)[0]["Resource"] == [
            f"arn:{partition}:s3:::data/in/*"
        ]


@pytest.mark.parametrize(
    ("path", "is_refused"),
    [
        ("a" * 900 + "/", True),
        ("a" * 600 + "/", False),
        ("é" * 400 + "/", True),
        ("*/", True),
        ("a?", True),
        ("${aws:username}/", True),
        ("$/{x}/", False),
    ],
)
def test_paths_that_can_not_be_policies(path: str, is_refused: bool) -> None:
    """Too long, or of letters that mean something in a policy."""
    place = MECHANISM.at_location(location(sts_role_arn=ROLE), f"data/{path}")
    make: Callable[[], str] = lambda: session_policy(place, GrantMode.READ)  # noqa: E731
    if is_refused:
        with pytest.raises(UnsupportedError, match="http-pull"):
            make()
    else:
        assert len(make()) <= 2048


def test_who_waits_for_a_token_service_can_be_told_to_let_go(service: TokenService) -> None:
    """A stop of the process does not wait for a service that says nothing."""
    service.silent = True
    leash = Leash(Network())
    place = MECHANISM.at_location(location(service), "data/in/")

    def ask() -> None:
        MECHANISM.grant(place, MECHANISM.profiles[1], GrantMode.READ, leash, ttl_s=3600, purpose="x")

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        while not service.requests:
            time.sleep(0.01)
        began = time.monotonic()
        leash.let_go()
        with pytest.raises(ConnectionFailedError):
            asking.result(timeout=20)
        with pytest.raises(ConnectionFailedError):
            ask()
    assert time.monotonic() - began < 2
    assert len(service.requests) == 1
