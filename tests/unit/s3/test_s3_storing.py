"""What an object gets when it is created, and what a location may say about it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, ConfigError, ProtocolError
from dataferry.domain.location import Location
from dataferry.domain.objects import Attributes
from dataferry.domain.profile import Direction
from dataferry.mechanisms.base import GrantMode
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.mechanisms.s3.attributes import Storing, creation_headers, tag_count
from dataferry.mechanisms.s3.replies import parse, tags
from dataferry.net.connections import Network

PUSH = next(it for it in MECHANISM.profiles if it.direction is Direction.PUSH)


def location(**settings: Any) -> Location:
    return Location(name="it", mechanism="s3", settings=settings)


def test_what_a_created_object_gets_is_written_in_one_place() -> None:
    """Attributes, tags as a query string, and how it is stored; nothing that was not said."""
    assert creation_headers(Attributes(), Storing()) == {}
    headers = creation_headers(
        Attributes(content_type="text/plain", tags=(("a b", "1&2=3"), ("käse", ""))),
        Storing(storage_class="GLACIER_IR", server_side_encryption="AES256"),
    )
    assert headers == {
        "Content-Type": "text/plain",
        "x-amz-tagging": "a%20b=1%262%3D3&k%C3%A4se=",
        "x-amz-storage-class": "GLACIER_IR",
        "x-amz-server-side-encryption": "AES256",
    }


@pytest.mark.parametrize(("text", "count"), [("3", 3), (None, 0), ("-1", 0), ("x", 0), ("9" * 5000, 0)])
def test_the_count_of_tags_is_a_small_number(text: str | None, count: int) -> None:
    """Anything else is none: tags are asked for only where the store says that there are some."""
    assert tag_count({} if text is None else {"x-amz-tagging-count": text}) == count


@pytest.mark.parametrize(
    "tagging",
    [
        "<Tag><Key>k</Key><Value>v</Value></Tag>" * 11,
        f"<Tag><Key>{'k' * 129}</Key><Value/></Tag>",
        f"<Tag><Key>k</Key><Value>{'v' * 257}</Value></Tag>",
        "<Tag><Value>v</Value></Tag>",
    ],
)
def test_more_tags_than_an_object_can_have_are_refused(tagging: str) -> None:
    """A store that made them up would have us send requests without bound."""
    with pytest.raises(ProtocolError):
        tags(parse(f"<Tagging><TagSet>{tagging}</TagSet></Tagging>".encode(), "s3.GetObjectTagging"))


@pytest.mark.parametrize(
    "settings",
    [
        {"storage_class": "cold storage"},
        {"storage_class": "GLACIER\r\nx-evil: 1"},
        {"server_side_encryption": "rot13"},
        {"sse_kms_key_id": "alias/ours"},
        {"sse_kms_key_id": "alias/ours", "server_side_encryption": "AES256"},
        {"sse_kms_key_id": "a b", "server_side_encryption": "aws:kms"},
        {"bucket_key_enabled": True},
        {"tags": "yes"},
    ],
)
def test_wrong_ways_to_store_are_refused(settings: dict[str, Any]) -> None:
    """By the check by hand and by the JSON Schema alike."""
    with pytest.raises(ConfigError):
        MECHANISM.at_location(location(**settings), "data/")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(settings, MECHANISM.location_schema)


def test_a_grant_to_write_says_how_objects_are_to_be_stored() -> None:
    """The other side stores them as this side's bucket wants them; who reads need not know."""
    granting = location(
        share_access_key_id="AKIASHARED",
        share_secret_access_key="shared-secret",
        storage_class="STANDARD_IA",
        server_side_encryption="aws:kms",
        bucket_key_enabled=False,
    )
    place = MECHANISM.at_location(granting, "data/in/")
    jsonschema.validate(dict(granting.settings), MECHANISM.location_schema)
    granted = MECHANISM.grant(place, PUSH, GrantMode.WRITE, Network(), ttl_s=60, purpose="a flow")
    assert MECHANISM.at_address(granted).storing == place.storing
    assert place.storing.bucket_key_enabled is False
    assert (
        MECHANISM.at_address(
            MECHANISM.grant(place, PUSH, GrantMode.READ, Network(), ttl_s=60, purpose="a flow")
        ).storing
        == Storing()
    )


def test_an_address_with_a_wrong_way_to_store_is_refused() -> None:
    """Header lines can't be smuggled in."""
    own = (("accessKeyId", "AKIA"), ("secretAccessKey", "secret"))
    for name, value in (("storage_class", "A\r\nb: c"), ("server_side_encryption", "none")):
        address = DataAddress(
            endpoint_type=PUSH.url, endpoint="s3://data/x", properties=(*own, (name, value))
        )
        with pytest.raises(AddressError):
            MECHANISM.at_address(address)
