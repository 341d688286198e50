"""Tries everything that is configured, and says for each what is wrong and what to do."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.parse import urlsplit

from dataferry.app.bandwidth_check import bandwidth_findings
from dataferry.app.configuration import find, load, without_authorization
from dataferry.app.mqtt import try_broker
from dataferry.app.orchestrator_check import orchestrator_findings
from dataferry.app.reach import Finding, Reach, tried
from dataferry.app.settings import Settings
from dataferry.app.tls import days_left
from dataferry.app.wiring import (
    Locations,
    control_planes,
    database_file,
    key_file,
    network_of,
    participants,
    proxy_of,
)
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import ConfigError, DataFerryError
from dataferry.domain.location import ControlPlane, Provenance
from dataferry.mechanisms.registry import Registry
from dataferry.mechanisms.routes import route_of
from dataferry.net.connections import Network
from dataferry.net.routes import Route
from dataferry.secrets.sealing import Sealer, load_or_create_key

TIMEOUT_S = 10.0
# Signed requests are refused from about five minutes of difference on; a minute already is a warning sign.
MAX_SKEW_S = 60.0
# Who renews automatically has done so by now.
MIN_CERTIFICATE_DAYS = 7


def check(config: str | None, *, write: bool = False) -> list[Finding]:
    """Look at everything; a wrong configuration is a finding too, and then the only one.

    Args:
        config: Path of the configuration; None looks for it.
        write: Also begin an upload in each location, and abort it; publish something that nobody keeps.
    """
    path = find(config)
    try:
        settings = load(config)
    except ConfigError as error:
        return [Finding(what="configuration", ok=False, detail=str(error))]
    first = Finding(
        what="configuration",
        ok=True,
        detail=str(path) if path else "no file: the defaults and the environment",
    )
    return [first, *_findings(settings, write=write)]


def _findings(settings: Settings, *, write: bool) -> Iterator[Finding]:
    """Each in its turn; one that fails does not keep the others."""
    yield tried("key file", lambda: _key_file(settings))
    yield tried("store", lambda: _store(settings))
    yield tried("API keys", lambda: _api_keys(settings))
    if settings.server.tls_cert is not None:
        yield tried("TLS certificate", lambda: _certificate(settings))
    network, registry = network_of(settings), Registry()
    yield from _network(settings, network)
    locations = Locations(settings, registry)
    clocks: set[str] = set()
    for name in locations.names:
        reach = Reach(locations.get, registry, network, name)
        yield from reach.in_use(settings, write=write)
        yield from _clock(locations, name, clocks, network)
    yield from bandwidth_findings(settings, datetime.now(UTC))
    yield from _control_planes(settings, network)
    yield from _proofs(settings, network)
    yield from orchestrator_findings(settings, network)
    if settings.mqtt.url is not None:
        yield tried("MQTT broker", lambda: try_broker(settings, network, write=write))


def _key_file(settings: Settings) -> str:
    """The key must be there and ours alone; it is not made here."""
    path = key_file(settings)
    if not path.exists():
        if not os.access(path.parent, os.W_OK):
            raise ConfigError(f"{path} is not there, and {path.parent} can't be written to")
        return f"{path} will be made by the first `serve`"
    load_or_create_key(path)
    return f"{path}, mode {stat.S_IMODE(path.stat().st_mode):04o}"


def _certificate(settings: Settings) -> str:
    """The certificate must be good, and for some days yet."""
    days = days_left(settings.server, datetime.now(UTC)) or 0.0
    if days < MIN_CERTIFICATE_DAYS:
        raise ConfigError(
            f"{settings.server.tls_cert} is good for {days:.0f} more days: renew it, and restart `serve`"
        )
    return f"{settings.server.tls_cert} is good for {days:.0f} more days"


def _store(settings: Settings) -> str:
    """The database must answer, with a schema of this version; a new one is not made here."""
    database = database_file(settings)
    if database is not None and not database.exists():
        if not os.access(database.parent, os.W_OK):
            raise ConfigError(f"{database} is not there, and {database.parent} can't be written to")
        return f"{database} will be made by the first `serve`"
    from dataferry.store.store import Store

    sealer = Sealer(load_or_create_key(key_file(settings)))
    store = Store.open(settings.store.url, sealer=sealer, clock=SystemClock())
    try:
        store.ping()
    finally:
        store.close()
    return "answers, and its schema is of this version"


def _api_keys(settings: Settings) -> str:
    """Who listens beyond loopback must have one; none is made here, nor a database to look in."""
    database = database_file(settings)
    stored = made = 0
    if database is None or database.exists():
        from dataferry.app.api_keys import counts

        stored, made = counts(settings)
    configured = len(settings.auth.api_keys)
    if stored + configured:
        return f"{configured} in the configuration, {stored} in the database"
    if made:
        raise ConfigError("none is in force, so that nobody is let in: `dataferry api-keys create` makes one")
    if not settings.server.is_loopback:
        raise ConfigError(without_authorization(settings.server.host, ["an API key"]))
    return "none was ever made: only this machine may use the management API"


def upgrade(config: str | None) -> str:
    """Bring the database's schema to this version; return what to tell.

    Raises:
        ConfigError: It can't be reached, or is not ours.
    """
    from dataferry.store.store import Store

    Store.upgrade(load(config).store.url)
    return "the database has the schema of this version"


def _network(settings: Settings, network: Network) -> Iterator[Finding]:
    """The authorities must be readable, and the proxy answer the phone."""
    configured = settings.network
    if configured.ca_file is not None:
        yield tried("CA file", lambda: _authorities(configured.ca_file, network))
    if configured.proxy is not None:
        yield tried("proxy", lambda: _proxy(settings, network))


def _authorities(ca_file: str | None, network: Network) -> str:
    network.authorities.context()
    return f"{ca_file} is trusted beside the system's"


def _proxy(settings: Settings, network: Network) -> str:
    proxy = proxy_of(settings)
    if proxy is None:
        raise ConfigError("there is none")
    network.dial(proxy.host, proxy.port, Provenance.OPERATOR).close()
    return f"{proxy} is there"


def _clock(locations: Locations, name: str, seen: set[str], network: Network) -> Iterator[Finding]:
    """Compare our clock with that of the location's server, once each; silence says nothing."""
    try:
        location = locations.get(name).settings
        url, route = location.get("endpoint_url"), route_of(location)
    except ConfigError:
        return  # told by those that tried to reach it
    if not isinstance(url, str) or url in seen:
        return
    seen.add(url)
    skew_s = _skew_s(url, network, route)
    if skew_s is not None:
        yield Finding(
            what=f"clock against {urlsplit(url).netloc.rpartition('@')[2]}",
            ok=abs(skew_s) <= MAX_SKEW_S,
            detail=f"{skew_s:+.0f} s" + ("" if abs(skew_s) <= MAX_SKEW_S else ": set the clock (NTP)"),
        )


def _skew_s(url: str, network: Network, route: Route) -> float | None:
    """Ours minus the server's clock, in seconds; None if it does not say."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection = network.connect(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=port,
            provenance=Provenance.OPERATOR,
            timeout_s=TIMEOUT_S,
            route=route,
        )
        try:
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            connection.send_head("HEAD", "/", {"Host": f"{host}:{port}"})
            stated = connection.getresponse().headers.get("Date")
        finally:
            connection.close()
        return None if stated is None else time.time() - _timestamp(stated)
    except (DataFerryError, OSError, HTTPException, ValueError):
        return None


def _timestamp(stated: str) -> float:
    """Seconds since the epoch of an HTTP date."""
    moment = parsedate_to_datetime(stated)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _control_planes(settings: Settings, network: Network) -> Iterator[Finding]:
    """Each must be configured whole, and answer something."""
    try:
        planes = control_planes(settings)
    except ConfigError as error:
        yield Finding(what="control planes", ok=False, detail=str(error))
        return
    for plane in planes:
        yield tried(f"control plane {plane.id}", lambda plane=plane: _reach(plane, network))  # type: ignore[misc]


def _proofs(settings: Settings, network: Network) -> Iterator[Finding]:
    """How each side proves itself to the other must work."""
    try:
        ours = participants(settings)
    except ConfigError as error:
        yield Finding(what="participants", ok=False, detail=str(error))
        return
    try:
        planes = control_planes(settings)
    except ConfigError:
        return  # told by those that tried to reach them
    if any(plane.authorization or plane.callback_authorization for plane in planes) or any(
        one.kid for one in ours
    ):
        from dataferry.app.authorization_check import proof_findings

        yield from proof_findings(settings, network, ours, planes)


def _reach(plane: ControlPlane, network: Network) -> str:
    """Any answer will do: what it means is its own business."""
    if plane.endpoint is None:
        return "has no endpoint: it must register itself"
    import httpx

    from dataferry.net.httpx_transport import guarded_client

    began = datetime.now(UTC)
    try:
        with guarded_client(network, Provenance.OPERATOR, timeout_s=TIMEOUT_S) as client:
            answer = client.get(plane.endpoint)
    except httpx.HTTPError as error:
        raise ConfigError(
            f"{plane.endpoint} does not answer ({type(error).__name__}): is it running, is the address right?"
        ) from error
    took_ms = (datetime.now(UTC) - began).total_seconds() * 1000
    return f"{plane.endpoint} answers ({answer.status_code} in {took_ms:.0f} ms)"
