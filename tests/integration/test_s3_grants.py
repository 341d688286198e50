"""Grants by a token service, on a gateway that enforces them: what they open, and what they do not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.servers.moto import MotoServer
from tests.servers.s3_client import s3_client
from tests.servers.token_service import Ageing, GatewayUser

from dataferry.app.reach import Reach
from dataferry.app.settings import Settings
from dataferry.demo.servers import JuiceFs
from dataferry.domain.address import DataAddress
from dataferry.domain.errors import (
    AccessDeniedError,
    ConfigError,
    CredentialsExpiredError,
    UnsupportedError,
)
from dataferry.domain.location import Location
from dataferry.domain.objects import Attributes, ObjectInfo, Upload
from dataferry.mechanisms.base import GrantMode
from dataferry.mechanisms.registry import Registry
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy

PUSH, PULL = MECHANISM.profiles
ROLE = "arn:aws:iam::123456789012:role/ferry"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def gateway(juicefs: JuiceFs) -> Iterator[Ageing]:
    """The gateway, behind a clock that can be moved."""
    with Ageing(juicefs) as ageing:
        yield ageing


@pytest.fixture(scope="module")
def user(juicefs: JuiceFs) -> GatewayUser:
    """Who may do everything, and so could give everything away."""
    return GatewayUser(juicefs, "ferryuser")


@pytest.fixture
def network() -> Network:
    """A network that reaches loopback for addresses too."""
    return Network(EgressGuard(EgressPolicy(allow_private_networks=True)))


class Shop:
    """A bucket with something in each place that a grant must not open."""

    def __init__(self, gateway: Ageing, user: GatewayUser, network: Network, bucket: str) -> None:
        self.gateway, self.user, self.network, self.bucket = gateway, user, network, bucket
        self.owner = s3_client(gateway)
        self.other = f"{bucket}-other"
        for name in (self.bucket, self.other):
            self.owner.create_bucket(Bucket=name)
        for key in ("in/a", "in/sub/b", "inside/c", "out/d", "e"):
            self.owner.put_object(Bucket=self.bucket, Key=key, Body=key.encode())
        self.owner.put_object(Bucket=self.other, Key="in/a", Body=b"other")

    def location(self, **settings: Any) -> Location:
        """The location of the bucket's owner."""
        given = {
            "endpoint_url": self.gateway.endpoint_url,
            "access_key_id": self.user.access_key_id,
            "secret_access_key": self.user.secret_access_key,
            "sts_endpoint_url": self.gateway.endpoint_url,
            **settings,
        }
        return Location(name="shop", mechanism="s3", settings=given)

    def grant(
        self, path: str, mode: GrantMode = GrantMode.READ, *, ttl_s: int = 3600, **settings: Any
    ) -> DataAddress:
        """Grant a path of the bucket."""
        place = MECHANISM.at_location(self.location(**settings), f"{self.bucket}/{path}")
        profile = PULL if mode is GrantMode.READ else PUSH
        return MECHANISM.grant(place, profile, mode, self.network, ttl_s=ttl_s, purpose="flow-1")

    def holder(self, address: DataAddress, **changes: str | None) -> Any:
        """Return an independent client with an address's credentials."""
        given = {
            "aws_access_key_id": address.get("accessKeyId"),
            "aws_secret_access_key": address.get("secretAccessKey"),
            "aws_session_token": address.get("sessionToken"),
            **changes,
        }
        return botocore.session.Session().create_client(
            "s3",
            endpoint_url=address.get("endpointOverride"),
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
            **given,
        )


@pytest.fixture
def shop(gateway: Ageing, user: GatewayUser, network: Network, bucket: str) -> Iterator[Shop]:
    """A bucket of the test's own."""
    yield Shop(gateway, user, network, bucket)
    gateway.later = timedelta()


def refused(call: Callable[[], object]) -> str:
    """Return the code of a call that must be refused."""
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def expired(call: Callable[[], object]) -> CredentialsExpiredError:
    """Return the error of a call whose credentials have ended."""
    with pytest.raises(CredentialsExpiredError, match="resume") as caught:
        call()
    return caught.value


def test_a_read_grant_opens_its_prefix_and_nothing_else(shop: Shop) -> None:
    """Reading and listing below the prefix; no other key, bucket, listing, and no change."""
    address = shop.grant("in/")
    holder, here = shop.holder(address), shop.bucket
    assert holder.get_object(Bucket=here, Key="in/a")["Body"].read() == b"in/a"
    assert holder.head_object(Bucket=here, Key="in/sub/b")["ContentLength"] == len(b"in/sub/b")
    listed = holder.list_objects_v2(Bucket=here, Prefix="in/")["Contents"]
    assert [entry["Key"] for entry in listed] == ["in/a", "in/sub/b"]

    denied = [
        lambda: holder.get_object(Bucket=here, Key="inside/c"),
        lambda: holder.get_object(Bucket=here, Key="e"),
        lambda: holder.get_object(Bucket=here, Key="out/d"),
        lambda: holder.get_object(Bucket=here, Key="in/../out/d"),
        lambda: holder.get_object(Bucket=shop.other, Key="in/a"),
        lambda: holder.list_objects_v2(Bucket=here),
        lambda: holder.list_objects_v2(Bucket=here, Prefix="in"),
        lambda: holder.list_objects_v2(Bucket=here, Prefix="out/"),
        lambda: holder.list_objects_v2(Bucket=shop.other, Prefix="in/"),
        lambda: holder.list_object_versions(Bucket=here, Prefix="out/"),
        lambda: holder.list_multipart_uploads(Bucket=here, Prefix="in/"),
        lambda: holder.get_bucket_policy(Bucket=here),
        holder.list_buckets,
        lambda: holder.put_object(Bucket=here, Key="in/new", Body=b""),
        lambda: holder.create_multipart_upload(Bucket=here, Key="in/new"),
        lambda: holder.copy_object(Bucket=here, Key="in/new", CopySource=f"{here}/in/a"),
        lambda: holder.delete_object(Bucket=here, Key="in/a"),
        lambda: holder.delete_bucket(Bucket=shop.other),
    ]
    codes = [refused(call) for call in denied]
    assert set(codes) <= {"AccessDenied", "XMinioInvalidResourceName"}
    assert codes.count("AccessDenied") >= len(denied) - 1


def test_a_write_grant_lets_write_below_its_prefix_and_nothing_else(shop: Shop) -> None:
    """Objects and parts can be sent, uploads aborted; nothing can be read, listed or deleted."""
    holder, here = shop.holder(shop.grant("in/", GrantMode.WRITE)), shop.bucket
    holder.put_object(Bucket=here, Key="in/new", Body=b"new")
    upload = holder.create_multipart_upload(Bucket=here, Key="in/big")["UploadId"]
    named = {"Bucket": here, "Key": "in/big", "UploadId": upload}
    holder.upload_part(PartNumber=1, Body=b"x", **named)
    assert len(holder.list_parts(**named)["Parts"]) == 1
    holder.abort_multipart_upload(**named)

    denied = [
        lambda: holder.get_object(Bucket=here, Key="in/new"),
        lambda: holder.get_object(Bucket=here, Key="in/a"),
        lambda: holder.list_objects_v2(Bucket=here, Prefix="in/"),
        lambda: holder.list_multipart_uploads(Bucket=here),
        lambda: holder.list_multipart_uploads(Bucket=here, Prefix="in/"),
        lambda: holder.put_object(Bucket=here, Key="inside/new", Body=b""),
        lambda: holder.put_object(Bucket=here, Key="new", Body=b""),
        lambda: holder.put_object(Bucket=shop.other, Key="in/new", Body=b""),
        lambda: holder.create_multipart_upload(Bucket=here, Key="out/new"),
        lambda: holder.delete_object(Bucket=here, Key="in/new"),
        lambda: holder.delete_objects(Bucket=here, Delete={"Objects": [{"Key": "in/new"}]})["Deleted"],
    ]
    for call in denied[:-1]:
        assert refused(call) == "AccessDenied"
    with pytest.raises((ClientError, KeyError)):
        denied[-1]()
    assert shop.owner.get_object(Bucket=here, Key="in/new")["Body"].read() == b"new"


def test_a_grant_of_one_object_opens_that_alone(shop: Shop) -> None:
    """Not what begins with the same letters, not what lies below it, and no listing."""
    for key in ("in/ab", "in/a-b"):
        shop.owner.put_object(Bucket=shop.bucket, Key=key, Body=b"x")
    holder = shop.holder(shop.grant("in/a"))
    assert holder.get_object(Bucket=shop.bucket, Key="in/a")["Body"].read() == b"in/a"
    for key in ("in/ab", "in/a-b", "in/sub/b"):
        assert refused(lambda key=key: holder.get_object(Bucket=shop.bucket, Key=key)) == "AccessDenied"  # type: ignore[misc]
    assert refused(lambda: holder.list_objects_v2(Bucket=shop.bucket, Prefix="in/a")) == "AccessDenied"
    writer = shop.holder(shop.grant("in/a", GrantMode.WRITE))
    writer.put_object(Bucket=shop.bucket, Key="in/a", Body=b"again")
    assert refused(lambda: writer.put_object(Bucket=shop.bucket, Key="in/ab", Body=b"")) == "AccessDenied"


@pytest.mark.parametrize("path", ["in/*/", "*", "in?/", "in/?", "${aws:username}/", "in/${*}", "a*b", "?"])
@pytest.mark.parametrize("mode", list(GrantMode))
def test_what_a_policy_takes_for_a_pattern_is_never_granted(shop: Shop, path: str, mode: GrantMode) -> None:
    """Dataset ids come from outside: one of them must not open its neighbours."""
    asked = len(shop.gateway.asked)
    with pytest.raises(UnsupportedError, match=r"pattern.*http-pull"):
        shop.grant(path, mode)
    assert len(shop.gateway.asked) == asked


@pytest.mark.parametrize(
    "name", ['q"uote/', "back\\slash/", "ümlaut 漢字/", "$dollar/", "{x}/", "[a-z]/", "a%2Fb/"]
)
def test_odd_names_are_granted_as_they_are(shop: Shop, name: str) -> None:
    """Letters that mean something elsewhere open what is called so, and nothing else."""
    path = f"odd/{name}"
    source = MECHANISM.at_location(shop.location(sts_endpoint_url=None), f"{shop.bucket}/{path}")
    with closing(MECHANISM.open_sink(source, shop.network)) as sink, closing(sink.writer()) as writer:
        body = writer.put(f"{path}x", length_bytes=1, attributes=Attributes())
        body.send(memoryview(b"1"))
        body.finish()
    holder = shop.holder(shop.grant(path))
    listed = holder.list_objects_v2(Bucket=shop.bucket, Prefix=path)["Contents"]
    assert [entry["Key"] for entry in listed] == [f"{path}x"]
    assert holder.get_object(Bucket=shop.bucket, Key=f"{path}x")["Body"].read() == b"1"
    assert refused(lambda: holder.get_object(Bucket=shop.bucket, Key="in/a")) == "AccessDenied"
    assert refused(lambda: holder.list_objects_v2(Bucket=shop.bucket, Prefix="odd/")) == "AccessDenied"


def test_how_amazon_writes_a_star_means_more_elsewhere(shop: Shop) -> None:
    """Why such paths are refused: on this line of servers ``${*}`` opens ``${anything}``."""
    shop.owner.put_object(Bucket=shop.bucket, Key="in/${secret}/x", Body=b"not granted")
    sts = botocore.session.Session().create_client(
        "sts",
        endpoint_url=shop.gateway.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=shop.user.access_key_id,
        aws_secret_access_key=shop.user.secret_access_key,
    )
    resource = f"arn:aws:s3:::{shop.bucket}/in/${{*}}/*"
    statement = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [resource]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    given = sts.assume_role(RoleArn=ROLE, RoleSessionName="x1", Policy=policy)["Credentials"]
    holder = shop.holder(
        DataAddress(endpoint_type="", properties=(("endpointOverride", shop.gateway.endpoint_url),)),
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )
    assert holder.get_object(Bucket=shop.bucket, Key="in/${secret}/x")["Body"].read() == b"not granted"


def test_credentials_are_good_only_whole_and_in_time(shop: Shop) -> None:
    """Without the token, with another one, with a wrong secret, or when they have ended, nothing opens."""
    address = shop.grant("in/", ttl_s=900)
    key = {"Bucket": shop.bucket, "Key": "in/a"}
    token, secret = address.get("sessionToken"), address.get("secretAccessKey")
    assert token is not None
    assert secret is not None
    flipped = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    other = shop.grant("out/")
    broken = [
        shop.holder(address, aws_session_token=None),
        shop.holder(address, aws_session_token=token[:-4] + "AAAA"),
        shop.holder(address, aws_session_token=other.get("sessionToken")),
        shop.holder(address, aws_secret_access_key=flipped),
    ]
    for client in broken:
        assert refused(lambda client=client: client.get_object(**key)) in {  # type: ignore[misc]
            "InvalidTokenId",
            "SignatureDoesNotMatch",
            "AccessDenied",
        }
    holder = shop.holder(address)
    assert holder.get_object(**key)
    ends = datetime.fromisoformat(address.get("expiration") or "")
    assert abs(ends - datetime.now(UTC) - timedelta(seconds=900)) < timedelta(seconds=30)
    shop.gateway.later = timedelta(seconds=930)
    assert refused(lambda: holder.get_object(**key)) == "ExpiredToken"


def test_what_the_other_side_does_with_an_address_that_has_ended(shop: Shop) -> None:
    """Reading, looking, listing and writing say that the credentials have expired, and what to do."""
    read, write = shop.grant("in/"), shop.grant("in/", GrantMode.WRITE)
    shop.gateway.later = timedelta(hours=2)
    source = MECHANISM.open_source(MECHANISM.at_address(read), shop.network)
    sink = MECHANISM.open_sink(MECHANISM.at_address(write), shop.network)
    with ExitStack() as stack:
        stack.enter_context(closing(source))
        stack.enter_context(closing(sink))
        writer, reader = (
            stack.enter_context(closing(sink.writer())),
            stack.enter_context(closing(source.reader())),
        )
        calls: list[Callable[[], object]] = [
            source.probe,
            lambda: list(source.list()),
            sink.probe,
            lambda: writer.create_upload("in/x", size_bytes=1, attributes=Attributes()),
            lambda: writer.list_parts(Upload(upload_id="1", key="in/x")),
            lambda: writer.list_uploads("in/x", since=datetime.now(UTC)),
            lambda: writer.stat("in/x"),
            lambda: sink.find(["in/x"]),
            lambda: sink.find([f"in/{number:02}" for number in range(20)]),
            lambda: reader.stat(ObjectInfo(name="a", key="in/a", size_bytes=4)),
            lambda: reader.open(ObjectInfo(name="a", key="in/a", size_bytes=4)),
        ]
        for call in calls:
            assert not expired(call).is_temporary


def test_an_address_that_says_when_it_ends_explains_what_the_store_does_not(shop: Shop) -> None:
    """A store that has forgotten the credentials calls them unknown: the address knows better, HEAD too."""
    address = shop.grant("in/a")
    ended = tuple(
        {"expiration": "2020-01-01T00:00:00Z", "accessKeyId": "AKIAUNKNOWN000000001"}.get(name, value)
        for name, value in address.properties
    )
    names = [name for name, _ in address.properties]
    unknown = replace(address, properties=tuple(zip(names, ended, strict=True)))
    with closing(MECHANISM.open_source(MECHANISM.at_address(unknown), shop.network)) as source:
        assert expired(source.probe)
    endless = replace(unknown, properties=tuple(it for it in unknown.properties if it[0] != "expiration"))
    with closing(MECHANISM.open_source(MECHANISM.at_address(endless), shop.network)) as source:
        with pytest.raises(AccessDeniedError) as caught:
            source.probe()
        assert not isinstance(caught.value, CredentialsExpiredError)


def test_a_grant_never_gives_more_than_who_asks_may(shop: Shop, juicefs: JuiceFs) -> None:
    """The session policy takes away, it does not give."""
    may = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{shop.bucket}/out/*"]}
        ],
    }
    poor = GatewayUser(juicefs, f"poor{shop.bucket[-8:]}", may)
    keys: dict[str, Any] = {"access_key_id": poor.access_key_id, "secret_access_key": poor.secret_access_key}
    holder = shop.holder(shop.grant("in/", **keys))
    assert refused(lambda: holder.get_object(Bucket=shop.bucket, Key="in/a")) == "AccessDenied"


def test_refusals_of_the_token_service_are_told_without_secrets(shop: Shop, juicefs: JuiceFs) -> None:
    """A wrong secret, a root that may not assume, and a duration that is not allowed."""
    cases: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"secret_access_key": "wrong-secret-0123456789"}, AccessDeniedError),
        ({"access_key_id": "AKIANOBODY0000000001"}, AccessDeniedError),
        (
            {"access_key_id": juicefs.access_key_id, "secret_access_key": juicefs.secret_access_key},
            AccessDeniedError,
        ),
    ]
    for settings, kind in cases:
        with pytest.raises(kind) as caught:
            shop.grant("in/", **settings)
        text = f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
        for secret in (*settings.values(), shop.user.secret_access_key):
            assert secret not in text
    with pytest.raises(UnsupportedError, match="2048"):
        shop.grant("ü" * 500 + "/")


def test_the_token_service_comes_before_credentials_for_sharing(shop: Shop) -> None:
    """Order: temporary credentials, else the named ones, else a refusal with advice."""
    named: dict[str, Any] = {
        "share_access_key_id": "AKIANAMED00000000001",
        "share_secret_access_key": "named-secret-0123456",
    }
    outside: dict[str, Any] = {"share_endpoint_url": "https://s3.example.org"}
    by_token = shop.grant("in/", **named, **outside)
    assert by_token.get("sessionToken")
    assert by_token.get("accessKeyId") not in {"AKIANAMED00000000001", shop.user.access_key_id}
    assert by_token.get("endpointOverride") == "https://s3.example.org"
    by_name = shop.grant("in/", sts_endpoint_url=None, **named)
    assert by_name.get("accessKeyId") == "AKIANAMED00000000001"
    assert by_name.get("expiration") is None
    with pytest.raises(ConfigError, match=r"sts_role_arn.*share_access_key_id.*http-pull"):
        shop.grant("in/", sts_endpoint_url=None)


def test_the_request_names_the_flow_the_role_and_a_time_within_bounds(shop: Shop) -> None:
    """The audit log can tell whose session it was; durations are held between 900 s and 12 h."""
    for ttl_s, expected in ((1, "900"), (3600, "3600"), (10**9, "43200")):
        shop.grant("in/", ttl_s=ttl_s, sts_role_arn=ROLE, sts_external_id="ours:1")
        asked = {name: values[0] for name, values in parse_qs(shop.gateway.asked[-1]).items()}
        assert asked["DurationSeconds"] == expected
        assert asked["RoleSessionName"] == "dataferry-flow-1"
        assert (asked["RoleArn"], asked["ExternalId"]) == (ROLE, "ours:1")
        assert len(asked["Policy"]) <= 2048
    shop.grant("in/")
    assert "RoleArn" not in shop.gateway.asked[-1]


def test_amazons_form_is_understood_by_another_server(moto_s3: MotoServer, bucket: str) -> None:
    """The token service of moto, a model of Amazon's, takes the request and knows the session by its name."""
    settings = {
        "endpoint_url": moto_s3.endpoint_url,
        "access_key_id": moto_s3.access_key_id,
        "secret_access_key": moto_s3.secret_access_key,
        "sts_endpoint_url": moto_s3.endpoint_url,
        "sts_role_arn": ROLE,
    }
    place = MECHANISM.at_location(Location(name="x", mechanism="s3", settings=settings), f"{bucket}/in/")
    address = MECHANISM.grant(place, PULL, GrantMode.READ, Network(), ttl_s=3600, purpose="0f-1")
    sts = botocore.session.Session().create_client(
        "sts",
        endpoint_url=moto_s3.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=address.get("accessKeyId"),
        aws_secret_access_key=address.get("secretAccessKey"),
        aws_session_token=address.get("sessionToken"),
    )
    arn = sts.get_caller_identity()["Arn"]
    assert arn == "arn:aws:sts::123456789012:assumed-role/ferry/dataferry-0f-1"


def test_check_tries_the_grant(shop: Shop) -> None:
    """``dataferry check`` tells that the token service gives credentials that read, or why not."""
    settings = Settings.model_validate(
        {
            "datasets": [{"id": "d", "source": f"shop:{shop.bucket}/in/"}],
            "landing_zones": [{"name": "z", "sink": f"shop:{shop.bucket}/out/{{processId}}/"}],
        }
    )

    def found(**changes: Any) -> dict[str, tuple[bool, str]]:
        reach = Reach(lambda _: shop.location(**changes), Registry(), shop.network, "shop")
        return {it.what: (it.ok, it.detail) for it in reach.in_use(settings, write=False)}

    names = [f"grant shop:{shop.bucket}/{path}" for path in ("in/", "out/")]
    good = found()
    assert [good[name][0] for name in names] == [True, True]
    bad = found(secret_access_key="wrong-secret-0123456789")
    assert [bad[name][0] for name in names] == [False, False]
    assert "sts.AssumeRole" in bad[names[0]][1]
    assert not set(names) & found(sts_endpoint_url=None).keys()
