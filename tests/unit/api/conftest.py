"""Planes that the API's tests talk to."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from tests.servers.moto import MotoServer
from tests.unit.api.api_rig import ANONYMOUS_PLANE, Plane, plane

from dataferry.telemetry.logs import configure


@pytest.fixture(scope="session", autouse=True)
def _logs() -> None:
    """Log as the service does."""
    configure("info", json=False, redactor=lambda text: text)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Two control planes with tokens, an operator with a key; no bucket can be reached."""
    with plane(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="module")
def open_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """No token and no key: only this machine may call."""
    with plane(
        tmp_path_factory.mktemp("open"), control_planes=ANONYMOUS_PLANE, api_keys=(), max_body_bytes=4096
    ) as running:
        yield running


@pytest.fixture(scope="module")
def s3_api(tmp_path_factory: pytest.TempPathFactory, moto_s3: MotoServer) -> Iterator[Plane]:
    """As ``api``, with a bucket that is there."""
    assert httpx.put(f"{moto_s3.endpoint_url}/shelf-of-tests", trust_env=False).is_success
    with plane(
        tmp_path_factory.mktemp("s3api"), s3_url=moto_s3.endpoint_url, bucket="shelf-of-tests"
    ) as running:
        yield running
