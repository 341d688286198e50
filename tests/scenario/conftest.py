"""Buckets of the scenario tests, on the session's S3 servers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.servers.s3_client import s3_client

from dataferry.demo.servers import JuiceFs


@pytest.fixture
def source(juicefs: JuiceFs, bucket: str) -> Any:
    """The provider's S3, with an empty bucket."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket=bucket)
    return client


@pytest.fixture
def sink(juicefs_b: JuiceFs, bucket: str) -> Any:
    """The consumer's S3, with an empty bucket of the same name."""
    client = s3_client(juicefs_b)
    client.create_bucket(Bucket=bucket)
    return client


@pytest.fixture
def seeded(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that are the same in each run of a test."""
    return random.Random(request.node.nodeid)
