"""What operators may write over the API, and what it must not be good for."""

from __future__ import annotations

from tests.unit.api.api_rig import Plane


def test_entries_say_for_whom_they_are(api: Plane) -> None:
    """A dataset and a landing zone bound to control planes are shown as such."""
    dataset = api.manage("PUT", "/datasets/one", json={"source": "disk:one/", "control_planes": ["a-*"]})
    zone = api.manage("PUT", "/landing-zones/z", json={"sink": "disk:z/", "control_planes": ["a"]})
    assert (dataset.json()["control_planes"], zone.json()["control_planes"]) == (["a-*"], ["a"])
    wrong = api.manage("PUT", "/datasets/one", json={"source": "disk:one/", "control_planes": "a"})
    assert wrong.status_code == 400
