"""Places in S3, from every way of writing them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jsonschema
import pytest

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, ConfigError
from dataferry.domain.location import Location, Provenance
from dataferry.domain.profile import Profile
from dataferry.mechanisms.base import Endpoint, GrantMode, Mechanism
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.net.connections import Network

CREDENTIALS = {"accessKeyId": "AKIAOTHER", "secretAccessKey": "other-secret-value"}
SETTINGS = {
    "endpoint_url": "http://localhost:9000",
    "access_key_id": "AKIAOURS",
    "secret_access_key": "our-secret-value",
}
SHARED = {**SETTINGS, "share_access_key_id": "AKIASHARED", "share_secret_access_key": "shared-secret-value"}
PUSH: Profile = MECHANISM.profiles[0]

AMAZON = "s3+https://s3.us-east-1.amazonaws.com"


def address(endpoint: str = "", **properties: str) -> DataAddress:
    return DataAddress(
        endpoint_type=PUSH.url, endpoint=endpoint, properties=tuple({**CREDENTIALS, **properties}.items())
    )


def location(**settings: Any) -> Location:
    return Location(name="plant", mechanism="s3", settings={**SETTINGS, **settings})


@pytest.mark.parametrize(
    ("given", "identity", "is_single"),
    [
        (address("s3://data"), AMAZON + "/data/", False),
        (address("s3://data/a/b"), AMAZON + "/data/a/b", True),
        (address("s3://data/a/", region="eu-west-1"), "s3+https://s3.eu-west-1.amazonaws.com/data/a/", False),
        (address("s3://data/50%25 a?b#c+d"), AMAZON + "/data/50%25 a?b#c+d", True),
        (address("s3://data//a", endpointOverride="http://h:9000/"), "s3+http://h:9000/data//a", True),
        (address("http://H:9000/data/a%20b%3F"), "s3+http://h:9000/data/a b?", True),
        (address("https://h:443/data"), "s3+https://h/data/", False),
        (address("http://h/data/p/", endpointOverride="http://o"), "s3+http://o/data/p/", False),
        (address("http://h:9000", bucketName="data", objectName="k"), "s3+http://h:9000/data/k", True),
        (address("http://[::1]:9000/data/k"), "s3+http://[::1]:9000/data/k", True),
        (address(bucketName="data", objectName="k"), AMAZON + "/data/k", True),
        (address(bucketName="data", objectPrefix="k"), AMAZON + "/data/k", False),
        (address(bucketName="data", folderName="f"), AMAZON + "/data/f/", False),
        (
            address(bucketName="data", folderName="f/", objectName="k"),
            AMAZON + "/data/f/k",
            True,
        ),
        (address("s3://data", bucketName="data", objectName="k"), AMAZON + "/data/k", True),
    ],
)  # fmt: skip
def test_a_data_address_names_a_place(given: DataAddress, identity: str, is_single: bool) -> None:
    """Both address forms and EDC's names; all of them are somebody else's word."""
    place = MECHANISM.at_address(given)
    assert (place.identity, place.is_single) == (identity, is_single)
    assert place.provenance is Provenance.EXTERNAL
    assert place.credentials().access_key_id == "AKIAOTHER"


@pytest.mark.parametrize(
    "given",
    [
        address(),
        address("ftp://h/data/k"),
        address("s3://"),
        address("s3://a"),
        address("s3://da ta/k"),
        address("s3://data/a/../b"),
        address("s3://data/.."),
        address("s3://data/./b"),
        address("http://h/data/a%2F..%2Fb"),
        address("http://h/data/%ff"),
        address("http://h/data/k?versionId=1"),
        address("http://h/data/k#f"),
        address("http://user:password@h/data/k"),
        address("http://h:port/data/k"),
        address("http://h/data/k", bucketName="other"),
        address("s3://data/k", bucketName="other"),
        address("s3://data/k", endpointOverride="file:///etc"),
        address("s3://data/k", region="../../x"),
        address("s3://data/k", exclusive="maybe"),
        address("s3://data/k", addressing_style="odd"),
        address("s3://data/k", versionId="a b"),
        address("s3://data/k?versionId=a", versionId="b"),
        address("s3://data/k/", versionId="a"),
        address("s3://data/k", sessionToken="a\r\nb: c"),
        address("s3://data/k\0"),
        address("s3://data/" + "k" * 1025),
        address("s3://data/" + "é" * 513),
        address(bucketName="data", objectName="../k"),
        DataAddress(endpoint_type=PUSH.url, endpoint="s3://data/k"),
        DataAddress(endpoint_type=PUSH.url, endpoint="s3://data/k", properties=(("keyName", "vault-key"),)),
        DataAddress(endpoint_type=PUSH.url, endpoint="s3://data/k", properties=(("accessKeyId", "AKIA"),)),
    ],
)
def test_a_malformed_data_address_is_refused_without_its_secrets(given: DataAddress) -> None:
    """The error says what is wrong, and shows no value of a property."""
    with pytest.raises(AddressError) as caught:
        MECHANISM.at_address(given)
    assert "other-secret-value" not in str(caught.value)
    assert "password" not in str(caught.value)


def test_a_version_belongs_to_the_place() -> None:
    """At the end of an s3:// URL, of a location's path, or as a property; elsewhere it is plain text."""
    for place in (
        MECHANISM.at_location(location(), "data/k?versionId=a.b_c"),
        MECHANISM.at_address(address("s3://data/k?versionId=a.b_c")),
        MECHANISM.at_address(address("s3://data/k", versionId="a.b_c")),
    ):
        assert (place.path, place.version_id, place.is_single) == ("k", "a.b_c", True)
        assert place.identity.endswith("/data/k?versionId=a.b_c")
    plain = MECHANISM.at_metadata(
        {"sourceBucket": "data", "sourceKey": "k?versionId=a"}, end="source", location=location()
    )
    assert plain is not None
    assert (plain.path, plain.version_id) == ("k?versionId=a", None)


def test_keys_up_to_the_bound_are_taken() -> None:
    """1,024 bytes of UTF-8 are a key."""
    assert MECHANISM.at_address(address("s3://data/" + "é" * 512)).path == "é" * 512


def test_a_location_has_buckets_in_its_paths() -> None:
    """``plant:bucket/prefix/`` uses the location's endpoint and credentials."""
    place = MECHANISM.at_location(location(exclusive=True), "data/2026/")
    assert place.identity == "s3+http://localhost:9000/data/2026/"
    assert (place.is_single, place.exclusive, place.provenance) == (False, True, Provenance.OPERATOR)
    assert "our-secret-value" not in repr(place) + str(place)
    assert "AKIAOURS" not in repr(place) + str(place)


@pytest.mark.parametrize(
    "settings",
    [
        {"unknown": "x"},
        {"exclusive": "yes"},
        {"region": 7},
        {"endpoint_url": "localhost:9000"},
        {"addressing_style": "odd"},
        {"secret_access_key": None},
        {"share_access_key_id": "AKIA"},
        {"session_token": ""},
    ],
)
def test_wrong_settings_are_the_operators_and_the_schema_says_the_same(settings: dict[str, Any]) -> None:
    """The check by hand and the JSON Schema refuse the same settings."""
    wrong = location(**settings)
    with pytest.raises(ConfigError) as caught:
        MECHANISM.at_location(wrong, "data/")
    assert "our-secret-value" not in str(caught.value)
    present = {name: value for name, value in wrong.settings.items() if value is not None}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(present, MECHANISM.location_schema)


def test_schemas_are_schemas_and_mark_every_secret() -> None:
    """Right settings pass, and what is a secret says so."""
    for schema in (MECHANISM.location_schema, MECHANISM.address_schema, MECHANISM.metadata_schema):
        jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(SHARED, MECHANISM.location_schema)
    properties = MECHANISM.location_schema["properties"]
    secrets = {name for name, entry in properties.items() if entry.get("writeOnly")}
    assert secrets == {
        prefix + name
        for prefix in ("", "share_")
        for name in ("access_key_id", "secret_access_key", "session_token")
    } | {"proxy_password"}


@pytest.mark.parametrize("path", ["", "/", "data/../x", "d", "data/" + "k" * 1025])
def test_a_path_that_cannot_be_one_is_refused(path: str) -> None:
    """A bucket is needed, and ``..`` is no name."""
    with pytest.raises(AddressError):
        MECHANISM.at_location(location(), path)


def test_metadata_names_places_by_data_address_or_bucket() -> None:
    """The seed's keys: an address of its own, or a bucket in the location that serves the control plane."""
    wire = address("s3://theirs/k").to_wire()
    theirs = MECHANISM.at_metadata({"sourceDataAddress": wire}, end="source", location=location())
    bare = MECHANISM.at_metadata(
        {"destinationBucket": "ours", "destinationKey": "in/"}, end="destination", location=location()
    )
    own = MECHANISM.at_metadata(
        {
            "sourceBucket": "theirs",
            "sourceKey": "k",
            "endpointProperties": {**CREDENTIALS, "endpointOverride": "http://h:9000"},
        },
        end="source",
        location=location(),
    )
    assert theirs is not None
    assert bare is not None
    assert own is not None
    assert theirs.provenance is Provenance.EXTERNAL
    assert (bare.identity, bare.provenance) == ("s3+http://localhost:9000/ours/in/", Provenance.OPERATOR)
    assert (own.identity, own.provenance) == ("s3+http://h:9000/theirs/k", Provenance.EXTERNAL)
    assert MECHANISM.at_metadata({"sourceBucket": "x"}, end="destination", location=None) is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"sourceBucket": "theirs"},
        {"sourceBucket": 7},
        {"sourceDataAddress": "s3://x/y"},
        {"sourceBucket": "theirs", "endpointProperties": {"keyName": "k"}},
        {"sourceBucket": "theirs", "endpointProperties": {"endpointOverride": "http://evil.example"}},
        {"sourceBucket": "theirs", "sourceKey": "a/../b"},
    ],
)
def test_metadata_that_names_no_usable_place_is_refused(metadata: dict[str, Any]) -> None:
    """A location's credentials never go to an endpoint that a message names."""
    with pytest.raises(AddressError):
        MECHANISM.at_metadata(metadata, end="source", location=None)
    if "endpointProperties" in metadata:
        with pytest.raises(AddressError):
            MECHANISM.at_metadata(metadata, end="source", location=location())


@pytest.mark.parametrize("path", ["data/in/", "data/in/key", "data", "data/raw-"])
def test_a_grant_is_an_address_of_the_same_place_with_shared_credentials(path: str) -> None:
    """What is handed out leads back to the place, and has nothing of the location's own credentials."""
    place = MECHANISM.at_location(
        Location(
            name="plant",
            mechanism="s3",
            settings={**SHARED, "exclusive": True, "share_endpoint_url": "http://localhost:9000/"},
        ),
        path,
    )
    granted = MECHANISM.grant(place, PUSH, GrantMode.WRITE, Network(), ttl_s=60, purpose="a flow")
    back = MECHANISM.at_address(DataAddress.from_wire(granted.to_wire()))
    assert (back.identity, back.is_single, back.exclusive) == (place.identity, place.is_single, True)
    assert back.credentials().secret_access_key == "shared-secret-value"
    assert "our-secret-value" not in str(granted.to_wire())
    assert granted.endpoint_type == PUSH.url
    assert MECHANISM.revoke(place, granted) is False
    jsonschema.validate(
        {"endpointType": PUSH.url, "endpoint": granted.endpoint, **dict(granted.properties)},
        MECHANISM.address_schema,
    )


def test_a_location_without_shared_credentials_grants_nothing() -> None:
    """Its own credentials are never handed out; the error says which settings are missing."""
    with pytest.raises(ConfigError, match="share_access_key_id"):
        MECHANISM.grant(
            MECHANISM.at_location(location(), "data/"),
            PUSH,
            GrantMode.READ,
            Network(),
            ttl_s=60,
            purpose="a flow",
        )


@pytest.mark.parametrize(
    ("name", "single", "key"),
    [("a", False, "in/a"), ("d/e f", True, "in/d/e f"), ("..a", False, "in/..a")],
)
def test_a_prefix_takes_names_below_it(name: str, single: bool, key: str) -> None:
    """Names are put behind the prefix as they are."""
    sink = MECHANISM.open_sink(MECHANISM.at_location(location(), "data/in/"), Network())
    assert sink.place(name, single=single) == key


@pytest.mark.parametrize("name", ["", "..", "../a", "a/../b", "a/./b", "a\0", "k" * 1022, "\ud800"])
def test_names_that_would_land_elsewhere_are_refused(name: str) -> None:
    """Servers that normalise paths would put them outside of the prefix."""
    sink = MECHANISM.open_sink(MECHANISM.at_location(location(), "data/in/"), Network())
    with pytest.raises(AddressError):
        sink.place(name, single=False)


def test_one_key_takes_one_object() -> None:
    """Many objects have no place in one key."""
    sink = MECHANISM.open_sink(MECHANISM.at_location(location(), "data/in/key"), Network())
    assert sink.place("other", single=True) == "in/key"
    with pytest.raises(AddressError):
        sink.place("other", single=False)


def test_virtual_hosts_have_the_bucket_in_their_name() -> None:
    """Amazon's are so by default, others where the location says so; dotted buckets stay in the path."""
    own = MECHANISM.at_location(location(addressing_style="virtual"), "data/k v")
    amazons = MECHANISM.at_address(address("s3://data/k"))
    dotted = MECHANISM.at_address(address("s3://da.ta/k"))
    plain = MECHANISM.at_location(location(), "data/k v")
    assert (own.host, own.request_path("k v"), own.request_path("")) == ("data.localhost", "/k%20v", "/")
    assert amazons.host == "data.s3.us-east-1.amazonaws.com"
    assert (dotted.host, dotted.request_path("k")) == ("s3.us-east-1.amazonaws.com", "/da.ta/k")
    assert (plain.request_path("k v"), plain.request_path("")) == ("/data/k%20v", "/data")
    assert own.identity == plain.identity


def test_it_is_a_mechanism_and_its_places_are_endpoints() -> None:
    """Types as the contract has them."""
    mechanism: Mechanism = MECHANISM
    endpoint: Endpoint = MECHANISM.at_location(location(), "data/")
    assert (mechanism.name, endpoint.mechanism) == ("s3", "s3")


def test_importing_it_is_light() -> None:
    """``copy`` starts without botocore, SQLAlchemy, httpx, jsonschema and awscrt."""
    code = (
        "import sys, dataferry.mechanisms.s3; "
        "heavy = {'botocore', 'sqlalchemy', 'httpx', 'jsonschema', 'awscrt'}; print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["a//b", "/a", "a//", "d/e//f"])
def test_keys_that_a_server_may_fold_are_not_written_there(name: str) -> None:
    """An empty segment is refused with advice, but where the server is known to keep it."""
    with pytest.raises(AddressError, match="exact_keys"):
        MECHANISM.open_sink(MECHANISM.at_location(location(), "data/in/"), Network()).place(
            name, single=False
        )
    for endpoint in (
        MECHANISM.at_location(location(exact_keys=True), "data/in/"),
        MECHANISM.at_address(address("s3://data/in/")),
        MECHANISM.at_address(address("http://localhost/data/in/", exact_keys="true")),
    ):
        sink = MECHANISM.open_sink(endpoint, Network())
        assert sink.place(name, single=False) == f"in/{name}"


def test_a_single_key_that_a_server_may_fold_is_not_written_there() -> None:
    """The key of the place itself is looked at too; names that end in one slash are fine."""
    sink = MECHANISM.open_sink(MECHANISM.at_location(location(), "data/in//b"), Network())
    with pytest.raises(AddressError, match="exact_keys"):
        sink.place("b", single=True)
    other = MECHANISM.open_sink(MECHANISM.at_location(location(), "data/in/"), Network())
    assert other.place("marker/", single=False) == "in/marker/"
