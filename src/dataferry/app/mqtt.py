"""Wires what is told over MQTT: from the settings to what the rooms below take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from urllib.parse import urlsplit

from dataferry.api.mqtt.broker import Broker, Outgoing
from dataferry.api.mqtt.topics import Topics
from dataferry.app.mqtt_settings import DEFAULT_PORTS
from dataferry.app.resolving import resolved
from dataferry.app.settings import Settings
from dataferry.domain.clock import Clock
from dataferry.domain.errors import ConfigError
from dataferry.flows.announcing import Announcer, AnnouncingPolicy
from dataferry.net.connections import Network
from dataferry.secrets.did import is_this_machine
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

DAY_S = 86_400
# The longest that a message of MQTT 5.0 can ask for.
_MAX_EXPIRY_S = 2**32 - 1

_log = get_logger("app.mqtt")


def announcers(
    settings: Settings, store: Store, network: Network, clock: Clock, redact: Callable[[str], str]
) -> tuple[Announcer, ...]:
    """Return who tells the broker; nobody where none is configured.

    Args:
        settings: As read.
        store: Where it stands what is to be told.
        network: How the broker is reached.
        clock: Time.
        redact: Masks known secrets.

    Raises:
        ConfigError: A reference or a file leads nowhere, or the extra is not installed.
    """
    if settings.mqtt.url is None:
        return ()
    broker = broker_of(settings)
    from dataferry.api.mqtt.channel import MqttChannel, Terms

    if broker.is_tls:
        # What can't be read is told now, not when the broker is first dialled.
        network.authorities.showing(broker.certificate, broker.key, ca_file=broker.ca_file)
    elif broker.password is not None and not is_this_machine(broker.host):
        _log.warning("mqtt_without_tls", advice="the password goes to the broker in plain: use mqtts://")
    ours, days = settings.mqtt, settings.store.retention_days
    terms = Terms(
        qos=ours.qos,
        retain=ours.retain,
        kept_final_s=min(days * DAY_S, _MAX_EXPIRY_S) or None,
        orchestrator=settings.orchestrator.participant_context_id,
    )
    channel = MqttChannel(broker, network, topics_of(settings), terms, clock=clock, redact=redact)
    policy = AnnouncingPolicy(max_in_flight=ours.max_in_flight, progress_interval_s=ours.progress_interval_s)
    return (Announcer(store, channel, clock, policy),)


def broker_of(settings: Settings) -> Broker:
    """Return the configured broker, with its password resolved.

    Raises:
        ConfigError: The reference leads nowhere, or the extra is not installed.
    """
    if find_spec("paho") is None:
        raise ConfigError("[mqtt] url: the client for MQTT is not installed: pip install 'dataferry[mqtt]'")
    ours = settings.mqtt
    parts = urlsplit(ours.url or "")
    return Broker(
        host=parts.hostname or "",
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        is_tls=ours.is_tls,
        client_id=ours.client_id or f"dataferry-{settings.server.dataplane_id}",
        username=ours.username,
        password=resolved(ours.password, "mqtt.password"),
        ca_file=ours.ca_file,
        certificate=ours.client_certificate,
        key=ours.client_key,
        keepalive_s=ours.keepalive_s,
        is_v5=ours.version == "5",
    )


def topics_of(settings: Settings) -> Topics:
    """Return the topics: with a level for the participant where there are several."""
    here = {one.id for one in settings.participants}
    here |= {plane.participant_context_id for plane in settings.control_planes}
    if not here:
        here = {settings.orchestrator.participant_context_id}
    return Topics(
        prefix=settings.mqtt.topic_prefix,
        data_plane_id=settings.server.dataplane_id,
        only_participant=here.pop() if len(here) == 1 else None,
    )


def try_broker(settings: Settings, network: Network, *, write: bool) -> str:
    """Connect to the broker beside the plane that may be serving, and leave again; return what to tell.

    Args:
        settings: As read.
        network: How it is reached.
        write: Also publish something, which nobody keeps.

    Raises:
        DataFerryError: The broker does not take us.
    """
    from dataferry.api.mqtt.connection import Connection

    broker = broker_of(settings)
    topic = f"{topics_of(settings).status}/check"
    nothing = Outgoing(topic=topic, payload=b"{}", qos=1)
    connection = Connection(replace(broker, client_id=f"{broker.client_id}-check"), network, nothing)
    connection.open()
    try:
        if write:
            connection.publish_and_wait(nothing)
    finally:
        connection.close()
    said = f"takes our credentials, by MQTT {settings.mqtt.version}"
    return f"{said}; a message was published" if write else f"{said} (publishing is tried with --write)"
