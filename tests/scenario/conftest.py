"""What scenario tests share: buckets on the session's S3 servers, and a provider's plane that offers them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from tests.servers.plane import MIB, Rig, running, s3_location
from tests.servers.s3_client import s3_client

from dataferry.demo.servers import JuiceFs

SLOW_RATE = 10 * MIB


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


@pytest.fixture(scope="module")
def rig(juicefs: JuiceFs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A provider's plane: every bucket is a dataset of its name, with ``slow-`` before it a slow one."""
    rig = Rig(
        tmp_path_factory.mktemp("plane"),
        locations={"here": s3_location(juicefs)},
        datasets=[
            {"match": "*", "source": "here:{datasetId}/"},
            {"match": "slow-*", "source": "here:{datasetId}/", "bandwidth_bytes_per_s": SLOW_RATE},
        ],
        engine={"attempts": 3, "backoff_s": 0.05, "max_backoff_s": 0.2, "flow_retries": 0},
    )
    with running(rig):
        yield rig
