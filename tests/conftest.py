"""Servers that tests share. Each is started when the first test asks for it, once a session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.moto import MotoServer
from tests.servers.postgresql import PostgresServer

from dataferry.demo.servers import JuiceFs

# Buckets of the first server are hosts below this name; nothing resolves it but tests.
S3_DOMAIN = "s3.test"


@pytest.fixture(scope="session")
def juicefs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JuiceFs]:
    """A real S3 server that checks signatures and If-Match."""
    with JuiceFs(tmp_path_factory.mktemp("juicefs-a"), domain=S3_DOMAIN) as server:
        yield server


@pytest.fixture(scope="session")
def juicefs_b(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JuiceFs]:
    """Another one, with other credentials: the counterparty's."""
    with JuiceFs(tmp_path_factory.mktemp("juicefs-b")) as server:
        yield server


@pytest.fixture(scope="session")
def juicefs_pair(juicefs: JuiceFs, juicefs_b: JuiceFs) -> tuple[JuiceFs, JuiceFs]:
    """The provider's server and the consumer's."""
    return juicefs, juicefs_b


@pytest.fixture(scope="session")
def moto_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """An S3 server that enforces conditional requests; any credentials."""
    with MotoServer(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def bucket() -> str:
    """A bucket name that no other test uses; the bucket is not made yet."""
    return f"test-{uuid.uuid4().hex[:16]}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A real PostgreSQL."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database that the store can be opened on; the test runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    with server.clean_database() as url:
        yield url
