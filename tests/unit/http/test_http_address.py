"""How places behind URLs are written, and that nothing leads out of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, ConfigError
from dataferry.domain.location import Location, Provenance
from dataferry.mechanisms.http import MECHANISM
from dataferry.mechanisms.http.address import Place
from dataferry.mechanisms.http.headers import presented

STRICT_PULL = "https://w3id.org/dspace-sig/profile/http-pull"
STRICT_PUSH = "https://w3id.org/dspace-sig/profile/http-push"
SECRET = "s3cr3t-0123456789"
BASE = "https://store.example/api/v1"


def location(**settings: Any) -> Location:
    """A location, with a base URL unless another is given."""
    return Location(name="shop", mechanism="http", settings={"type": "http", "base_url": BASE, **settings})


def address(kind: str, endpoint: str = "", **properties: str) -> DataAddress:
    """A DataAddress; ``header_X`` stands for ``header:X``."""
    named = tuple((name.replace("header_", "header:"), value) for name, value in properties.items())
    return DataAddress(endpoint_type=kind, endpoint=endpoint, properties=named)


@pytest.mark.parametrize(
    ("url", "name", "single"),
    [
        ("https://h.example/a/b%20c.txt", "b c.txt", True),
        ("https://h.example/a/", "a", False),
        ("https://h.example", "h.example", False),
        ("https://h.example/a%2Fb", "a%2Fb", True),
        ("https://h.example/x%00y", "x%00y", True),
        ("https://h.example/get/?id=5", "get", True),
        ("HTTPS://h.example/x", "x", True),
        ("https://h.example/ä", "ä", True),
    ],
)
def test_the_name_of_an_object_is_one_segment(url: str, name: str, single: bool) -> None:
    """Whatever is encoded in a URL, the name that an object gets from it leads nowhere else."""
    place = MECHANISM.at_url(url)
    assert (place.name, place.is_single) == (name, single)
    assert place.provenance is Provenance.OPERATOR


@pytest.mark.parametrize(
    "url",
    [
        *("https://user:pw@h.example/x", "https://user@h.example/x", "https://@h.example/x"),
        *("https://h.example/a/../x", "https://h.example/%2e%2E/x", "https://h.example/a/%252e%252e/x"),
        *("https://h.example/./x", "https://h.example/x#part", "https://h.example/%zz", "https:///x"),
        *("https://h.example/x y", "https://h.example/x\r\nHost: y", "https://h.example\\@evil.example/"),
        *("https://h_ä.example/", "https://h.example:99999/", "https://h.example:0/", "ftp://h.example/x"),
        *("https://h.example/?a=\n", "https://h.example/" + "x" * 9000, "https://[::1/", "//h.example/x"),
    ],
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    """Users, fragments, steps, control characters and what is no URL: refused, and no password is shown."""
    with pytest.raises(AddressError) as caught:
        MECHANISM.at_url(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("x.bin", f"{BASE}/x.bin"),
        ("a b/ü?#%.txt", f"{BASE}/a%20b/%C3%BC%3F%23%25.txt"),
        ("https://evil.example/x"[8:], f"{BASE}/evil.example/x"),
        ("d/", f"{BASE}/d/"),
        ("", f"{BASE}/"),
        ("x@y:80", f"{BASE}/x%40y%3A80"),
    ],
)
def test_a_path_is_plain_text_below_the_base(path: str, url: str) -> None:
    """Every character of a location's path is itself."""
    assert url == str(MECHANISM.at_location(location(), path))


@given(st.text(max_size=40))
def test_no_path_leaves_the_base(path: str) -> None:
    """Any text is refused, or is a URL below the base, however often a server decodes it."""
    try:
        place = MECHANISM.at_location(location(), path)
    except AddressError:
        return
    assert place.url.origin.url == "https://store.example"
    assert place.url.path.startswith("/api/v1/")
    assert place.url.query == ""
    assert place.url.path.isascii()
    assert place.url.path.isprintable()
    assert not {".", ".."} & set(place.url.path.split("/"))


@pytest.mark.parametrize(
    "path",
    [
        "/x",
        "//evil.example/x",
        "..",
        "../x",
        "a/../../x",
        "%2e%2e/x",
        "%252e%252e/x",
        "..%2fx",
        "a\\..\\x",
        "a//b",
    ],
)
def test_a_path_that_would_leave_the_base_is_refused(path: str) -> None:
    """Steps upwards in any spelling, and what would be another host's, are no paths."""
    with pytest.raises(AddressError):
        MECHANISM.at_location(location(), path)


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"bearer_token": SECRET}, ("Authorization", f"Bearer {SECRET}")),
        ({"username": "ann", "password": SECRET}, ("Authorization", "Basic YW5uOnMzY3IzdC0wMTIzNDU2Nzg5")),
        ({"header_name": "X-Api-Key", "header_value": SECRET}, ("X-Api-Key", SECRET)),
    ],
)
def test_a_location_has_one_credential(settings: dict[str, str], header: tuple[str, str]) -> None:
    """It is sent as its kind says, and shown nowhere."""
    place = MECHANISM.at_location(location(**settings), "x")
    assert place.headers == (header,)
    for text in (repr(place), str(place), place.identity):
        assert SECRET not in text
        assert header[1] not in text


@pytest.mark.parametrize(
    "settings",
    [
        *(
            {"bas_url": "x"},
            {"base_url": "ftp://h.example"},
            {"base_url": f"{BASE}?x={SECRET}"},
            {"base_url": 5},
        ),
        *({"base_url": f"https://ann:{SECRET}@h.example/"}, {"base_url": None}, {"username": "ann"}),
        *({"bearer_token": SECRET, "username": "ann", "password": SECRET}, {"header_name": "X-Key"}),
        *({"header_name": "Host", "header_value": SECRET}, {"bearer_token": f"{SECRET}\r\nX: y"}),
        *({"header_name": "X\r\nY", "header_value": SECRET}, {"bearer_token": f"{SECRET} {SECRET}"}),
    ],
)
def test_wrong_settings_are_the_operators(settings: dict[str, Any]) -> None:
    """Each is refused by the location's name, without its secret."""
    with pytest.raises(ConfigError) as caught:
        MECHANISM.at_location(location(**settings), "x")
    assert "shop" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_query_is_used_and_not_shown() -> None:
    """A signed URL is one object; its query is sent, tells places apart, and is in no text."""
    place = MECHANISM.at_url(f"https://h.example/d/x?sig={SECRET}&id=5")
    other = MECHANISM.at_url(f"https://h.example/d/x?sig={SECRET}&id=6")
    assert place.url.target == f"/d/x?sig={SECRET}&id=5"
    assert place.identity != other.identity
    for text in (repr(place), str(place), place.identity, place.root_identity):
        assert SECRET not in text


def test_the_published_profile_is_read_strictly() -> None:
    """https, a bearer token where there is one, and nothing that the profile does not define."""
    place = MECHANISM.at_address(
        address(
            STRICT_PUSH,
            "https://h.example/in",
            authorization=SECRET,
            authType="bearer",
            header_X="y",
            path="z",
        )
    )
    assert (str(place), place.method) == ("https://h.example/in", None)
    assert place.headers == (("Authorization", f"Bearer {SECRET}"),)
    assert place.provenance is Provenance.EXTERNAL
    assert MECHANISM.at_address(address(STRICT_PULL, "https://h.example/x")).headers == ()


@pytest.mark.parametrize(
    ("endpoint", "properties"),
    [
        ("http://h.example/x", {}),
        ("http://127.0.0.1/x", {}),
        ("", {"baseUrl": "https://h.example/x"}),
        ("https://h.example/x", {"authorization": SECRET}),
        ("https://h.example/x", {"authorization": SECRET, "authType": "basic"}),
        ("https://h.example/x", {"authorization": f"{SECRET}\r\nX: y", "authType": "bearer"}),
    ],
)
@pytest.mark.parametrize("kind", [STRICT_PULL, STRICT_PUSH])
def test_what_breaks_the_published_profile_is_refused(
    kind: str, endpoint: str, properties: dict[str, str]
) -> None:
    """Plain http, EDC's names and other kinds of tokens are not of the profile."""
    with pytest.raises(AddressError) as caught:
        MECHANISM.at_address(address(kind, endpoint, **properties))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "url", "headers"),
    [
        (address("HttpData", baseUrl="http://h.example/api"), "http://h.example/api", {}),
        (
            address("HttpData", baseUrl="http://h.example/api/", path="/a b/c", queryParams="x=1&y=2"),
            "http://h.example/api/a%20b/c?...",
            {},
        ),
        (
            address("HttpData", baseUrl="http://h.example/", authKey="X-Api-Key", authCode=SECRET),
            "http://h.example/",
            {"X-Api-Key": SECRET},
        ),
        (
            address("http-pull", "http://h.example/x", authorization=SECRET, authType="Bearer"),
            "http://h.example/x",
            {"Authorization": f"Bearer {SECRET}"},
        ),
        (
            address(
                "x", "http://h.example/x", authorization=f"Bearer {SECRET}", authType="bearer", header_X="y"
            ),
            "http://h.example/x",
            {"Authorization": f"Bearer {SECRET}", "X": "y"},
        ),
        (
            address("HttpData", "http://h.example/x", authorization="a:b", authType="basic"),
            "http://h.example/x",
            {"Authorization": "Basic YTpi"},
        ),
        (
            address("HttpData", "http://h.example/x", authorization="YTpi", authType="basic"),
            "http://h.example/x",
            {"Authorization": "Basic YTpi"},
        ),
        (
            address("", "http://h.example/x", authorization=SECRET),
            "http://h.example/x",
            {"Authorization": SECRET},
        ),
    ],
)
def test_other_types_are_read_as_their_users_write_them(
    found: DataAddress, url: str, headers: dict[str, str]
) -> None:
    """EDC's HttpData and plain names: http may be, and their properties mean what they mean there."""
    place = MECHANISM.at_address(found)
    assert (url, headers) == (str(place), dict(place.headers))
    assert place.provenance is Provenance.EXTERNAL


@pytest.mark.parametrize(
    ("properties", "ways"),
    [
        ({"authorization": SECRET, "authType": "bearer"}, [f"Bearer {SECRET}", SECRET]),
        ({"authorization": f"bearer {SECRET}", "authType": "Bearer"}, [f"Bearer {SECRET}", SECRET]),
        ({"authorization": SECRET}, [SECRET, f"Bearer {SECRET}"]),
        ({"authorization": f"Token {SECRET}"}, [f"Token {SECRET}"]),
        ({"authKey": "Authorization", "authCode": SECRET}, [SECRET]),
    ],
)
def test_bare_tokens_are_shown_in_both_ways(properties: dict[str, str], ways: list[str]) -> None:
    """The likeliest first; what is more than a token is shown as it stands."""
    place = MECHANISM.at_address(address("HttpData", "http://h.example/x", **properties))
    assert dict(place.headers)["Authorization"] == ways[0]
    token = place.token
    assert (ways[1:] == []) is (token is None)
    assert token is None or [presented(token, scheme)[1] for scheme in place.schemes] == ways
    assert SECRET not in repr(place)


def test_only_another_query_may_be_another_signature() -> None:
    """Origin and path are the same to the letter, and both have a query."""
    known = MECHANISM.at_url("https://h.example/x?sig=1")
    others = ["?sig=2", "?id=1", "", "/y?sig=1"]
    found = [
        MECHANISM.may_be_resigned(known, MECHANISM.at_url(f"https://h.example/x{end}")) for end in others
    ]
    assert found == [True, True, False, False]
    for url in ("http://h.example/x?s=1", "https://g.example/x?s=1", "https://h.example:444/x?s=1"):
        assert not MECHANISM.may_be_resigned(known, MECHANISM.at_url(url))


@pytest.mark.parametrize(
    "properties",
    [
        {"header_Host": "evil.example"},
        {"header_Content-Length": "5"},
        {"header_content-length": "5"},
        {"header_Transfer-Encoding": "chunked"},
        {"header_Connection": "close"},
        {"header_Range": "bytes=0-1"},
        {"header_If-Match": "x"},
        {"header_Expect": "100-continue"},
        {"header_Proxy-Authorization": "x"},
        {"header_X-Forwarded-For": "127.0.0.1"},
        {"header_X-HTTP-Method-Override": "DELETE"},
        {"header_X": "a\r\nHost: evil.example"},
        {"header_X": "a\nb"},
        {"header_X": "a\0b"},
        {"header_X": "ü"},
        {"header_X": "x" * 9000},
        {"header_X\r\nY": "b"},
        {"header_X: Y": "b"},
        {"header_": "b"},
        {"header_X": "a", "header_x": "b"},
        {"authorization": "x", "header_authorization": "y"},
        {f"header_X-{number}": "x" for number in range(40)},
        {"authKey": "X-Key"},
        {"authKey": "X-Key", "secretName": "alias"},
        {"authKey": "Host", "authCode": "evil.example"},
        {"authorization": "x", "authType": "digest"},
        {"method": "DELETE"},
        {"method": "GET / HTTP/1.1\r\nX"},
        {"path": "../admin"},
        {"path": "%2e%2e/admin"},
        {"queryParams": "a=b c"},
        {"queryParams": "a\r\nX: y"},
        {"baseUrl": "http://other.example/"},
    ],
)
def test_what_could_bend_a_request_is_refused(properties: dict[str, str]) -> None:
    """Headers that frame or route, line breaks, other methods and steps: none is sent."""
    with pytest.raises(AddressError):
        MECHANISM.at_address(address("HttpData", "http://h.example/x", **properties))


def test_metadata_names_whole_addresses_only() -> None:
    """``sourceDataAddress`` is an address from outside; keys of other mechanisms are none."""
    wire = {
        "endpointType": "HttpData",
        "endpointProperties": [{"name": "baseUrl", "value": "http://h.example/x"}],
    }
    place = MECHANISM.at_metadata({"sourceDataAddress": wire}, end="source", location=None)
    assert isinstance(place, Place)
    assert (str(place), place.provenance) == ("http://h.example/x", Provenance.EXTERNAL)
    assert MECHANISM.at_metadata({"sourceBucket": "b"}, end="source", location=None) is None


@pytest.mark.parametrize(
    ("method", "reads", "writes"), [("GET", True, False), ("put", False, True), ("POST", False, True)]
)
def test_a_method_is_for_one_end(method: str, reads: bool, writes: bool) -> None:
    """A source is read with GET only, a sink written with PUT or POST only."""
    from dataferry.net.connections import Network

    place = MECHANISM.at_address(address("HttpData", "http://h.example/x", method=method))
    for opens, allowed in ((MECHANISM.open_source, reads), (MECHANISM.open_sink, writes)):
        if allowed:
            opens(place, Network()).close()
        else:
            with pytest.raises(AddressError):
                opens(place, Network())
