"""Addresses that this side hands out: nothing by itself, for that takes a door; and those of the gateway."""

from __future__ import annotations

from typing import NoReturn

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import UnsupportedError
from dataferry.domain.profile import Direction, Profile

# An https address is of the published profile. Plain http, which only a development plane on loopback hands
# out, is not: EDC's older type says what it is, and nobody who holds to the profile takes it for one.
PLAIN_TYPE = "https://w3id.org/idsa/v4.1/HTTP"
# A property of ours, which others ignore: the URL is a listing in JSON lines, the objects lie below it.
LISTING = "listing"
JSON_LINES = "jsonl"
# Another: objects may be sent in parts, as docs/reference/http-api.md says, each with a CRC-64/NVME.
PARTS = "parts"
PARTS_OF_CRC64 = "crc64nvme"


def gateway_address(
    profile: Profile, *, url: str, token: str, is_single: bool, takes_parts: bool
) -> DataAddress:
    """Return the address of a gateway's URL.

    Source: Data Plane Signaling, "HTTP Transfer Profile", section "Endpoint Type and DataAddress".
    """
    properties = [("authorization", token), ("authType", "bearer")]
    if not is_single:
        url = f"{url}/"
        if profile.direction is Direction.PULL:
            properties.append((LISTING, JSON_LINES))
    if takes_parts:
        properties.append((PARTS, PARTS_OF_CRC64))
    return DataAddress(
        endpoint_type=profile.url if url.startswith("https://") else PLAIN_TYPE,
        endpoint=url,
        properties=tuple(properties),
    )


def refuse_grant() -> NoReturn:
    """Say what to do instead.

    Raises:
        UnsupportedError: Always.
    """
    raise UnsupportedError(
        "this data plane can't hand out an HTTP address for the other side to use: take an S3 profile "
        "with an S3 location; by HTTP it only fetches and sends",
        operation="http.grant",
    )
