"""Callback addresses stand in rows in plain, so they may hold nothing secret."""

from __future__ import annotations

import pytest
from tests.unit.api.api_rig import Plane, message

SECRET = "planted-callback-password"


@pytest.mark.parametrize("url", [f"http://user:{SECRET}@cp.example/", f"http://[{SECRET}"])
def test_a_callback_address_with_credentials_is_refused(api: Plane, url: str) -> None:
    """The answer does not repeat it."""
    answer = api.signal("prepare", message("pull-1", callbackAddress=url))
    assert answer.status_code == 400
    assert "callbackAddress" in answer.text
    assert SECRET not in answer.text
