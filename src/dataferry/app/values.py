"""What the composition root gives its rooms: values made of settings, checked against what there is."""

from __future__ import annotations

from collections.abc import Iterator

from dataferry.api.api_keys import ApiKey
from dataferry.app.orchestration import (
    own_location,
)
from dataferry.app.resolving import resolved
from dataferry.app.settings import Settings
from dataferry.app.wiring import (
    Locations,
    api_keys,
    control_planes,
    database_password,
    datasets,
    engine_limits,
    landing_zones,
    proxy_password,
    total_bandwidth,
)
from dataferry.domain.errors import ConfigError, InputError
from dataferry.domain.location import ControlPlane
from dataferry.flows.catalogue import Configured
from dataferry.flows.location_settings import check_settings, secrets_of
from dataferry.flows.policy import FlowPolicy
from dataferry.mechanisms.registry import Registry
from dataferry.secrets.redaction import SecretValues

# Without any control plane configured, this is who calls from this machine.
ANONYMOUS = "default"


def configured(settings: Settings, registry: Registry) -> Configured:
    """Return what the configuration holds, checked against the mechanisms, with references resolved.

    Raises:
        ConfigError: A location's settings do not fit its mechanism, or a reference leads nowhere.
    """
    locations = Locations(settings, registry)
    found = (*(locations.get(name) for name in locations.names), *own_location(settings))
    for location in found:
        try:
            check_settings(registry.get(location.mechanism), location)
        except InputError as error:
            raise ConfigError(str(error)) from error
    planes = control_planes(settings) or (ControlPlane(id=ANONYMOUS),)
    return Configured(
        locations=found,
        datasets=datasets(settings),
        landing_zones=landing_zones(settings),
        control_planes=planes,
    )


def flow_policy(settings: Settings) -> FlowPolicy:
    """Return the bounds of the use cases."""
    engine = settings.engine
    return FlowPolicy(
        prepare_wait_s=engine.prepare_wait_s,
        run_retries=engine.flow_retries,
        sweep_interval_s=engine.sweep_interval_s,
        bandwidth=total_bandwidth(settings),
        max_part_size_bytes=engine.max_part_size_bytes,
        max_received_object_bytes=engine.max_received_object_bytes,
        limits=engine_limits(settings),
        overwrite=engine.overwrite,
        verify=engine.verify,
    )


def most_of_one(settings: Settings, control_planes: int) -> int:
    """Return how many flows of one control plane may be at work, when there are so many control planes."""
    engine = settings.engine
    if engine.flow_concurrency_per_control_plane is not None:
        return engine.flow_concurrency_per_control_plane
    if control_planes > 1:
        return max(1, engine.flow_concurrency - 1)
    return engine.flow_concurrency


def secret_values(settings: Settings, given: Configured, registry: Registry) -> SecretValues:
    """Return every secret of the configuration, for the logs to leave out."""
    values = SecretValues(key for _, key in api_keys(settings))
    values.add(proxy_password(settings), database_password(settings))
    values.add(resolved(settings.mqtt.password, "mqtt.password"))
    for plane in given.control_planes:
        values.add(plane.token, plane.callback_token, plane.management_key)
        profiles = (plane.authorization, plane.callback_authorization)
        values.add(*(profile.client_secret for profile in profiles if profile is not None))
    for location in given.locations:
        values.add(*secrets_of(location, registry.get(location.mechanism)))
    return values


def operators(settings: Settings) -> Iterator[ApiKey]:
    """The operators' keys that are configured, those of which only the hash is known included."""
    known = {key.name: key for key in settings.auth.api_keys}
    for name, key in api_keys(settings):
        yield ApiKey.of(name, key, scopes=known[name].granted, purview=known[name].purview)
    for hashed in settings.auth.api_keys:
        if hashed.sha256 is not None:
            yield ApiKey.of_sha256(hashed.name, hashed.sha256, scopes=hashed.granted, purview=hashed.purview)


def base_url(settings: Settings, port: int) -> str:
    """Where the service is reached: ``public_url``, else as it listens."""
    if settings.server.public_url is not None:
        return settings.server.public_url
    scheme = "http" if settings.server.tls_cert is None else "https"
    host = settings.server.host
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def anonymous(given: Configured) -> str | None:
    """The one control plane that calls without a token; None if each has one."""
    planes = given.control_planes
    return planes[0].id if len(planes) == 1 and not planes[0].is_known else None
