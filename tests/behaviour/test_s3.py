"""The behaviour suite on S3: a real server that checks signatures, and one that enforces conditions."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.servers.faulty_s3 import Fault as Injected
from tests.servers.faulty_s3 import FaultyS3
from tests.servers.moto import MotoServer
from tests.servers.proxy import Faults, Proxy
from tests.servers.s3_client import S3Server, keys, s3_client
from tests.servers.token_service import Ageing, GatewayUser

from dataferry.demo.servers import JuiceFs, free_port
from dataferry.domain.address import DataAddress
from dataferry.domain.location import Location
from dataferry.domain.objects import Attributes
from dataferry.mechanisms.base import Endpoint
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.mechanisms.s3.address import Place
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy
from dataferry.testing.copying_cases import CopyingCases
from dataferry.testing.fault_cases import SINK_FAULTS, SOURCE_FAULTS, FaultCases
from dataferry.testing.grant_cases import GrantCases
from dataferry.testing.mechanism_rig import NO_ATTRIBUTES
from dataferry.testing.mechanism_suite import Fault, MechanismRig, MechanismSuite, Quirk
from dataferry.testing.multipart_cases import MultipartCases

ERROR: dict[str, Any] = {"times": 1_000}
INJECTIONS: dict[Fault, tuple[str, Injected, dict[str, Any]]] = {
    Fault.SHORT_BODY: ("GetObject", Injected.TRUNCATE, {}),
    Fault.STALL: ("GetObject", Injected.STALL, {}),
    Fault.IGNORED_RANGE: ("GetObject", Injected.IGNORE_RANGE, {}),
    Fault.SHIFTED_RANGE: ("GetObject", Injected.SHIFT_RANGE, {}),
    Fault.IGNORED_CONDITION: ("GetObject", Injected.CHANGE_ETAG, {}),
    Fault.THROTTLING: ("*", Injected.ERROR, ERROR | {"status": 503, "code": "SlowDown", "retry_after": "1"}),
    Fault.SERVER_ERROR: ("*", Injected.ERROR, ERROR | {"status": 500, "code": "InternalError"}),
    Fault.EXPIRED_CREDENTIALS: ("*", Injected.ERROR, ERROR | {"status": 400, "code": "ExpiredToken"}),
    Fault.WRONG_CREDENTIALS: ("*", Injected.ERROR, ERROR | {"status": 403, "code": "InvalidAccessKeyId"}),
    Fault.WRONG_CHECKSUM: ("PutObject", Injected.CORRUPT, {}),
    Fault.FULL: ("PutObject", Injected.ERROR, {"status": 507, "code": "XMinioStorageFull"}),
    Fault.ERROR_IN_SUCCESS: ("CompleteMultipartUpload", Injected.ERROR_IN_200, {"code": "InternalError"}),
}
WRONG_SECRET = "wrong-secret-access-key-0123456789"


@pytest.fixture(scope="module")
def juicefs_client(juicefs: JuiceFs) -> Iterator[Any]:
    """Open the witness's client once: making one costs more than most tests."""
    with closing(s3_client(juicefs)) as client:
        yield client


@pytest.fixture(scope="module")
def moto_client(moto_s3: MotoServer) -> Iterator[Any]:
    """Open the other witness's."""
    with closing(s3_client(moto_s3)) as client:
        yield client


@pytest.fixture(scope="module")
def gateway(juicefs: JuiceFs) -> Iterator[Ageing]:
    """Put a clock before the gateway."""
    with Ageing(juicefs) as ageing:
        yield ageing


@pytest.fixture(scope="module")
def user(juicefs: JuiceFs) -> GatewayUser:
    """Make a user who may grant."""
    return GatewayUser(juicefs, "suite-user")


class S3Rig(MechanismRig):
    """A bucket of its own on a real server, which botocore fills and looks into."""

    mechanism = MECHANISM
    any_path = "bucket/x"
    part_size_bytes = 5 * 1024 * 1024
    bad_names = ("", "a/./b", "nul\0", "x" * 1025, "\udcff")
    wrong_location = Location(name="wrong", mechanism="s3", settings={"acces_key_id": "typo"})
    source_faults = frozenset(
        {Fault.SHORT_BODY, Fault.STALL, Fault.REFUSED_CONNECTION, Fault.WRONG_CREDENTIALS}
    )
    sink_faults = frozenset({Fault.STALLED_WRITE, Fault.REFUSED_CONNECTION, Fault.WRONG_CREDENTIALS})

    def __init__(self, server: S3Server, client: Any, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack
        self._client = client
        self._bucket = f"suite-{uuid.uuid4().hex[:16]}"
        self._make_bucket()
        self._numbers = itertools.count()
        self.secrets = (server.secret_access_key, server.access_key_id, WRONG_SECRET)

    def fresh_source(
        self, objects: Mapping[str, bytes], *, attributes: Attributes = NO_ATTRIBUTES
    ) -> Endpoint:
        """Put objects below a fresh prefix."""
        prefix = self._prefix()
        more = _arguments(attributes)

        def put(item: tuple[str, bytes]) -> None:
            self._client.put_object(Bucket=self._bucket, Key=prefix + item[0], Body=item[1], **more)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, objects.items()))
        return self._place(prefix)

    def single(self, source: Endpoint, name: str) -> Endpoint:
        """Name one key."""
        assert isinstance(source, Place)
        return self._place(source.path + name)

    def fresh_sink(self) -> Endpoint:
        """Name a fresh prefix."""
        return self._place(self._prefix())

    def contents(self, place: Endpoint) -> dict[str, bytes]:
        """Read every object below the prefix."""
        assert isinstance(place, Place)
        prefix = place.path
        return {
            key[len(prefix) :]: self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            for key in keys(self._client, self._bucket)
            if key.startswith(prefix)
        }

    def replace(self, source: Endpoint, name: str, data: bytes) -> None:
        """Put another object in the place of one."""
        assert isinstance(source, Place)
        self._client.put_object(Bucket=self._bucket, Key=source.path + name, Body=data)

    def strangers(self, source: Endpoint) -> list[Endpoint]:
        """Reach the source as another server, with other credentials, without copies, or by a message."""
        assert isinstance(source, Place)
        message = DataAddress(
            endpoint_type="AmazonS3",
            endpoint=f"{self._server.endpoint_url}/{self._bucket}/{source.path}",
            properties=(
                ("accessKeyId", self._server.access_key_id),
                ("secretAccessKey", self._server.secret_access_key),
            ),
        )
        return [
            MECHANISM.at_address(message),
            self._place(source.path, endpoint_url=f"http://localhost:{free_port()}"),
            self._place(source.path, region="eu-central-1"),
            self._place(source.path, access_key_id="AKIAOTHER00000000001"),
            self._place(source.path, secret_access_key=WRONG_SECRET),
            self._place(source.path, session_token="a-token"),
            self._place(source.path, server_side_copy=False),
        ]

    def missing_root(self) -> Endpoint:
        """Name a bucket that is not there."""
        return MECHANISM.at_location(self._location(), f"missing-{self._bucket}/")

    def faulty_source(self, fault: Fault, objects: Mapping[str, bytes]) -> Endpoint:
        """Put objects, and reach them in a way that fails."""
        place = self.fresh_source(objects)
        assert isinstance(place, Place)
        return self._faulty(fault, place.path)

    def faulty_sink(self, fault: Fault) -> Endpoint:
        """Reach a fresh prefix in a way that fails."""
        return self._faulty(fault, self._prefix())

    def _faulty(self, fault: Fault, path: str) -> Endpoint:
        if fault is Fault.WRONG_CREDENTIALS:
            return self._place(path, secret_access_key=WRONG_SECRET)
        if fault is Fault.REFUSED_CONNECTION:
            return self._place(path, endpoint_url=f"http://127.0.0.1:{free_port()}")
        proxy = self._stack.enter_context(Proxy(int(self._server.endpoint_url.rsplit(":", 1)[1])))
        proxy.faults = {
            Fault.SHORT_BODY: Faults(cut_down_after_bytes=200_000),
            Fault.STALL: Faults(rate_bytes_per_s=50_000),
            Fault.STALLED_WRITE: Faults(rate_bytes_per_s=50_000),
        }[fault]
        return self._place(path, endpoint_url=proxy.endpoint_url)

    def _make_bucket(self) -> None:
        self._client.create_bucket(Bucket=self._bucket)

    def _prefix(self) -> str:
        return f"place-{next(self._numbers)}/"

    def _place(self, path: str, **settings: str | bool) -> Endpoint:
        return MECHANISM.at_location(self._location(**settings), f"{self._bucket}/{path}")

    def _location(self, **settings: str | bool) -> Location:
        return Location(
            name="here",
            mechanism="s3",
            settings={
                "endpoint_url": self._server.endpoint_url,
                "access_key_id": self._server.access_key_id,
                "secret_access_key": self._server.secret_access_key,
                "exclusive": True,
                **settings,
            },
        )


class JuiceFsRig(S3Rig):
    """Objects are files there, and conditions on writes are not looked at."""

    quirks = frozenset({Quirk.NO_CONDITIONAL_WRITES, Quirk.NAMES_COLLIDE, Quirk.NO_CONTENT_LANGUAGE})


class TestS3OnJuiceFs(MechanismSuite):
    """A MinIO front end with real signatures, ``If-Match`` and multipart uploads; no stored checksums."""

    @pytest.fixture
    def rig(self, juicefs: JuiceFs, juicefs_client: Any) -> Iterator[JuiceFsRig]:
        """Use a bucket of the test's own."""
        with ExitStack() as stack:
            yield JuiceFsRig(juicefs, juicefs_client, stack)


class GrantingRig(JuiceFsRig):
    """The same gateway with a user who may make grants, behind a clock that can be moved."""

    def __init__(self, gateway: Ageing, user: GatewayUser, client: Any, stack: ExitStack) -> None:
        super().__init__(gateway, client, stack)
        self._gateway, self._user = gateway, user
        self.secrets = (*self.secrets, user.secret_access_key, user.access_key_id)

    @property
    def network(self) -> Network:
        """Loopback is where the addresses lead."""
        return Network(EgressGuard(EgressPolicy(allow_private_networks=True)))

    def grantable(self, objects: Mapping[str, bytes]) -> Endpoint:
        """Name the place by a location with a token service."""
        place = self.fresh_source(objects)
        assert isinstance(place, Place)
        return self._granting(place.path)

    def ungrantable(self) -> Endpoint:
        """Ask the token service with a wrong secret."""
        return self._granting(self._prefix(), secret_access_key=WRONG_SECRET)

    def redirected(self, address: DataAddress, other: Endpoint) -> Endpoint:
        """Keep the credentials, and name the other prefix."""
        assert isinstance(other, Place)
        return MECHANISM.at_address(replace(address, endpoint=f"s3://{other.bucket}/{other.path}"))

    def end_grants(self) -> None:
        """Move on what was given."""
        self._gateway.end_all()

    def _granting(self, path: str, **settings: str) -> Endpoint:
        given = {
            "access_key_id": self._user.access_key_id,
            "secret_access_key": self._user.secret_access_key,
            "sts_endpoint_url": self._gateway.endpoint_url,
            **settings,
        }
        return self._place(path, **given)


class TestS3Grants(GrantCases):
    """A gateway that verifies temporary credentials and evaluates session policies."""

    @pytest.fixture
    def rig(self, gateway: Ageing, user: GatewayUser, juicefs_client: Any) -> Iterator[GrantingRig]:
        """Use a bucket of the test's own."""
        with ExitStack() as stack:
            yield GrantingRig(gateway, user, juicefs_client, stack)


class MotoRig(S3Rig):
    """A server that takes any credentials."""

    quirks = frozenset({Quirk.LOST_UPLOADS_CRASH, Quirk.NO_UPLOAD_TIMES, Quirk.NO_CONDITIONAL_COPIES})
    source_faults = S3Rig.source_faults - {Fault.WRONG_CREDENTIALS}
    sink_faults = S3Rig.sink_faults - {Fault.WRONG_CREDENTIALS}


class TestS3OnMoto(MechanismSuite):
    """A server with conditional writes and stored checksums."""

    @pytest.fixture
    def rig(self, moto_s3: MotoServer, moto_client: Any) -> Iterator[MotoRig]:
        """Use a bucket of the test's own."""
        with ExitStack() as stack:
            yield MotoRig(moto_s3, moto_client, stack)


class FaultyRig(S3Rig):
    """A server in memory that keeps full-object checksums and misbehaves on request."""

    source_faults = frozenset(set(SOURCE_FAULTS) | {Fault.STALL})
    sink_faults = frozenset(set(SINK_FAULTS) | {Fault.ERROR_IN_SUCCESS, Fault.STALLED_WRITE})

    def __init__(self, server: FaultyS3, stack: ExitStack) -> None:
        self._faulty_server = server
        super().__init__(server, None, stack)

    def _make_bucket(self) -> None:
        self._faulty_server.make_bucket(self._bucket)

    def fresh_source(
        self, objects: Mapping[str, bytes], *, attributes: Attributes = NO_ATTRIBUTES
    ) -> Endpoint:
        """Put objects by the back door."""
        prefix = self._prefix()
        for name, data in objects.items():
            self._faulty_server.put(self._bucket, prefix + name, data, **_headers(attributes))
        return self._place(prefix)

    def contents(self, place: Endpoint) -> dict[str, bytes]:
        """Read objects by the back door."""
        assert isinstance(place, Place)
        objects = self._faulty_server.buckets[self._bucket]
        prefix = place.path
        return {key[len(prefix) :]: it.body for key, it in objects.items() if key.startswith(prefix)}

    def replace(self, source: Endpoint, name: str, data: bytes) -> None:
        """Put another object by the back door."""
        assert isinstance(source, Place)
        self._faulty_server.put(self._bucket, source.path + name, data)

    def _faulty(self, fault: Fault, path: str) -> Endpoint:
        if fault not in INJECTIONS:
            return super()._faulty(fault, path)
        call, injected, how = INJECTIONS[fault]
        self._faulty_server.inject(call, injected, **how)
        return self._place(path)


class TestS3OnFaultyServer(FaultCases, MultipartCases, CopyingCases):
    """What no real server does at will, and uploads whose checksums are looked at."""

    @pytest.fixture
    def rig(self) -> Iterator[FaultyRig]:
        """Start a server of the test's own."""
        with FaultyS3() as server, ExitStack() as stack:
            yield FaultyRig(server, stack)


def _headers(attributes: Attributes) -> dict[str, str]:
    """Write attributes as headers, with underscores for dashes."""
    named = {
        "content_type": attributes.content_type,
        "cache_control": attributes.cache_control,
        "content_disposition": attributes.content_disposition,
        "content_language": attributes.content_language,
    }
    more = {f"x_amz_meta_{name}": value for name, value in attributes.user_metadata}
    if attributes.tags:
        more["x_amz_tagging"] = urlencode(attributes.tags)
    return {name: value for name, value in named.items() if value} | more


def _arguments(attributes: Attributes) -> dict[str, Any]:
    """Write attributes as botocore's arguments."""
    named = {
        "ContentType": attributes.content_type,
        "CacheControl": attributes.cache_control,
        "ContentDisposition": attributes.content_disposition,
        "ContentLanguage": attributes.content_language,
        "Metadata": dict(attributes.user_metadata),
        "Tagging": urlencode(attributes.tags),
    }
    return {name: value for name, value in named.items() if value}
