"""What ``check`` says about the orchestrator: its key, where it stores, whom it tells, and its connectors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from dataferry.api.orchestration.edc import HttpEdcClient
from dataferry.app.orchestration import client_key, connectors_of, is_used, webhook_of
from dataferry.app.reach import Finding, tried
from dataferry.app.settings import Settings
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import ConfigError
from dataferry.domain.location import Provenance
from dataferry.domain.orchestration import ApiVersion
from dataferry.net.connections import Network
from dataferry.secrets.redaction import SecretValues


def orchestrator_findings(settings: Settings, network: Network) -> Iterator[Finding]:
    """Each in its turn; nothing where no connector may be named."""
    if not is_used(settings):
        return
    secrets = SecretValues()
    yield tried("orchestrator key", lambda: _key(settings, secrets))
    if settings.orchestrator.destination is None and settings.orchestrator.storage_api_url is None:
        yield tried("orchestrator storage", lambda: _storage(settings))
    for policy in settings.orchestrator.accepted_policies:
        shown = f"{policy.policy.shown} with {', '.join(policy.providers)}"
        yield tried(f"accepted policy {policy.name}", partial(str, shown))
    if settings.orchestrator.webhook is not None:
        url = settings.orchestrator.webhook.url
        yield tried("orchestrator webhook", lambda: _webhook(settings, secrets, network, url))
    timeout_s = settings.orchestrator.request_timeout_s
    edc = HttpEdcClient(network, timeout_s=timeout_s, secrets=secrets)
    try:
        for one in settings.orchestrator.connectors:
            asked = partial(_connector, settings, secrets, edc, one.address)
            yield tried(f"connector {one.address}", asked)
    finally:
        edc.close()


def _key(settings: Settings, secrets: SecretValues) -> str:
    """Which key clients need."""
    if client_key(settings, secrets).is_default:
        return "the default, which is taken from this machine only: set orchestrator.api_key for others"
    return "clients need the one that is configured"


def _storage(settings: Settings) -> str:
    """The directory must be there, or its parent writable; it is not made here."""
    path = Path(settings.orchestrator.data_storage_path).absolute()
    near = next(one for one in (path, *path.parents) if one.exists())
    if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
        raise ConfigError(f"{path}: {near} can't be written to")
    return str(path) if near == path else f"{path} will be made by the first `serve`"


def _webhook(settings: Settings, secrets: SecretValues, network: Network, url: str) -> str:
    """Its secret must be one, and somebody must listen there; nothing is sent, for that would be a notice."""
    webhook = webhook_of(settings, network, secrets, SystemClock())
    if webhook is not None:
        webhook.close()
    parts = urlsplit(url)
    with closing(
        network.connect(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port,
            provenance=Provenance.OPERATOR,
        )
    ) as connection:
        connection.connect()
    return "can be reached; nothing was sent"


def _connector(settings: Settings, secrets: SecretValues, edc: HttpEdcClient, address: str) -> str:
    """It must take our credentials for a query."""
    connector = connectors_of(settings, secrets).of(address)
    version = edc.probe(connector)
    if version is ApiVersion.V4:
        return "answers by Management API v4, and keeps no data addresses: they come to its data plane"
    return "answers by Management API v3"
