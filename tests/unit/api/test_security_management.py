"""What operators may write over the API, and what it must not be good for."""

from __future__ import annotations

import pytest
from tests.unit.api.api_rig import Plane


def test_entries_say_for_whom_they_are(api: Plane) -> None:
    """A dataset and a landing zone bound to control planes are shown as such."""
    dataset = api.manage("PUT", "/datasets/one", json={"source": "disk:one/", "control_planes": ["a-*"]})
    zone = api.manage("PUT", "/landing-zones/z", json={"sink": "disk:z/", "control_planes": ["a"]})
    assert (dataset.json()["control_planes"], zone.json()["control_planes"]) == (["a-*"], ["a"])
    wrong = api.manage("PUT", "/datasets/one", json={"source": "disk:one/", "control_planes": "a"})
    assert wrong.status_code == 400


LOCATION = {
    "type": "s3",
    "endpoint_url": "https://s3.example.com",
    "access_key_id": "AKIAWRITTEN000001",
    "secret_access_key": "a-secret-that-stays-where-it-is",
}


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint_url": "https://evil.example"},
        {"share_endpoint_url": "https://evil.example"},
    ],
)
def test_a_secret_that_nobody_gives_again_goes_nowhere_else(api: Plane, change: dict[str, str]) -> None:
    """Stars with another place are refused, and nothing has changed; with the secret they are taken."""
    assert api.manage("PUT", "/locations/mine", json=LOCATION).status_code == 200
    shown = api.manage("GET", "/locations/mine").json()
    for changed in (shown | change, shown | change | {"access_key_id": "AKIAWRITTEN000002"}):
        refused = api.manage("PUT", "/locations/mine", json=changed)
        assert (refused.status_code, next(iter(change)) in refused.json()["detail"]) == (400, True)
        assert api.manage("GET", "/locations/mine").json() == shown
    assert api.manage("PUT", "/locations/mine", json=LOCATION | change).status_code == 200


def test_the_place_cannot_be_left_out_either(api: Plane) -> None:
    """Without an endpoint a location is Amazon's: that is another place too."""
    api.manage("PUT", "/locations/mine", json=LOCATION)
    shown = api.manage("GET", "/locations/mine").json()
    assert api.manage("PUT", "/locations/mine", json=shown).status_code == 200
    assert api.manage("PUT", "/locations/mine", json=shown | {"exclusive": True}).status_code == 200
    shown.pop("endpoint_url")
    assert api.manage("PUT", "/locations/mine", json=shown).status_code == 400


@pytest.mark.parametrize("place", ["endpoint", "registration_url", "management_url"])
def test_a_control_planes_secrets_go_nowhere_else(api: Plane, place: str) -> None:
    """As those of locations."""
    made = {
        "endpoint": "https://cp.example",
        "management_url": "https://cp.example/management",
        "token": "what-it-calls-us-with",
        "callback_token": "what-we-call-it-with",
        "management_key": "key-of-its-management",
        "register": True,
    }
    assert api.manage("PUT", "/control-planes/cp", json=made).status_code == 200
    kept = made | dict.fromkeys(("token", "callback_token", "management_key"), "***")
    assert api.manage("PUT", "/control-planes/cp", json=kept | {"retries": "replay"}).status_code == 200
    refused = api.manage("PUT", "/control-planes/cp", json=kept | {place: "https://evil.example"})
    assert (refused.status_code, place in refused.json()["detail"]) == (400, True)
    assert (
        api.manage("PUT", "/control-planes/cp", json=made | {place: "https://new.example"}).status_code == 200
    )


def test_a_kept_token_is_not_told_to_another_place_in_two_steps(api: Plane) -> None:
    """Moving a control plane that we do not register at is harmless; beginning to register there is not."""
    made = {"endpoint": "https://cp.example", "token": "what-it-calls-us-with"}
    assert api.manage("PUT", "/control-planes/cp", json=made).status_code == 200
    moved = {"endpoint": "https://evil.example", "token": "***"}
    assert api.manage("PUT", "/control-planes/cp", json=moved).status_code == 200
    refused = api.manage("PUT", "/control-planes/cp", json=moved | {"register": True})
    assert (refused.status_code, "register" in refused.json()["detail"]) == (400, True)
