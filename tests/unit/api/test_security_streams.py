"""Nobody takes all the places of those who follow live."""

from __future__ import annotations

from pathlib import Path

import httpx
from tests.unit.api.api_rig import ANONYMOUS_PLANE, KEY, plane

from dataferry.api.management.events import Streams


def test_one_caller_has_half_of_the_places() -> None:
    """The others are for others; what is given back can be taken again, and nothing is kept of who left."""
    streams = Streams(4)
    assert [streams.enter(b"one") for _ in range(3)] == [True, True, False]
    assert [streams.enter(who) for who in (b"two", b"three", b"four")] == [True, True, False]
    streams.leave(b"one")
    assert (streams.enter(b"four"), streams.enter(b"one")) == (True, False)
    for who in (b"one", b"two", b"three", b"four"):
        streams.leave(who)
    assert not streams._open


def test_a_page_of_another_site_gets_no_stream(tmp_path: Path) -> None:
    """Without API keys, an image or script of a page in a browser here, which has no Origin, is refused."""
    with plane(tmp_path, control_planes=ANONYMOUS_PLANE, api_keys=()) as api:
        for site in ("cross-site", "same-site"):
            refused = api.client.get("/management/events", headers={"Sec-Fetch-Site": site})
            assert refused.status_code == 401
        url = f"{api.url}/management/events"
        with httpx.stream("GET", url, trust_env=False, headers={"Sec-Fetch-Site": "same-origin"}) as taken:
            assert taken.status_code == 200
            api.services.closing.set()


def test_callers_are_told_apart_by_their_keys(tmp_path: Path) -> None:
    """One key's streams leave a place to another key from the same address."""
    other = "another-operators-api-key-01234"
    with plane(tmp_path, api_keys=(KEY, other), max_event_streams=2) as api:
        url = f"{api.url}/management/events"
        with httpx.stream("GET", url, trust_env=False, headers={"X-Api-Key": KEY}) as taken:
            assert taken.status_code == 200
            assert api.manage("GET", "/events").status_code == 429
            with httpx.stream("GET", url, trust_env=False, headers={"X-Api-Key": other}) as second:
                assert second.status_code == 200
                api.services.closing.set()
