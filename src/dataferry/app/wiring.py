"""Turns settings into what the rooms below take; references to secrets are resolved here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dataferry.app.authorization import callback_tokens, caller_tokens
from dataferry.app.catalogue import ControlPlaneSettings, ParticipantSettings
from dataferry.app.resolving import resolved
from dataferry.app.settings import Settings
from dataferry.domain.errors import ConfigError
from dataferry.domain.location import ControlPlane, Dataset, LandingZone, Location
from dataferry.domain.participant import Participant
from dataferry.domain.schedule import Schedule
from dataferry.engine.transfer import EngineLimits
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy, HostPatterns
from dataferry.net.routes import NO_PROXIES, Proxies, Proxy
from dataferry.secrets.did import absolute


def network_of(
    settings: Settings, guard: type[EgressGuard] = EgressGuard, *, otherwise: Proxies = NO_PROXIES
) -> Network:
    """The one way out, with the egress policy, which ``guard`` enforces.

    Args:
        settings: As read.
        guard: The class of the guard.
        otherwise: The proxies where none is configured.

    Raises:
        ConfigError: A pattern, the proxy or a reference can't be used.
    """
    egress = settings.egress
    policy = EgressPolicy(
        allow=egress.allow,
        deny=egress.deny,
        allow_private_networks=egress.allow_private_networks,
        proxied=egress.proxied,
    )
    return Network(
        guard(policy),
        stall_timeout_s=settings.engine.stall_timeout_s,
        ca_file=settings.network.ca_file,
        proxies=_proxies(settings) or otherwise,
    )


def _proxies(settings: Settings) -> Proxies | None:
    """The configured proxy and who is reached without, None if there is none."""
    proxy = proxy_of(settings)
    if proxy is None:
        return None
    return Proxies(https=proxy, http=proxy, direct=HostPatterns(settings.network.no_proxy))


def proxy_of(settings: Settings) -> Proxy | None:
    """The configured proxy, None if there is none."""
    network = settings.network
    if network.proxy is None:
        return None
    return Proxy.of(network.proxy, username=network.proxy_username, password=proxy_password(settings))


def proxy_password(settings: Settings) -> str | None:
    """The password at the proxy, resolved."""
    password: str | None = resolved(settings.network.proxy_password, "network.proxy_password")
    return password


def engine_limits(settings: Settings) -> EngineLimits:
    """Bounds of one transfer."""
    engine = settings.engine
    return EngineLimits(
        workers=engine.workers,
        part_size_bytes=engine.part_size_bytes,
        multipart_threshold_bytes=engine.multipart_threshold_bytes,
        stall_timeout_s=engine.stall_timeout_s,
        attempts=engine.attempts,
        backoff_s=engine.backoff_s,
        max_backoff_s=engine.max_backoff_s,
        bandwidth_bytes_per_s=engine.bandwidth_bytes_per_s,
        max_unknown_length_bytes=engine.max_unknown_length_bytes,
        spool_bytes=engine.spool_bytes,
        spool_directory=engine.spool_directory,
        max_objects=engine.max_objects,
    )


def total_bandwidth(settings: Settings) -> Schedule:
    """Bound of all transfers of a process together."""
    engine = settings.engine
    return Schedule(
        bytes_per_s=engine.total_bandwidth_bytes_per_s,
        windows=tuple(window.window for window in engine.bandwidth_windows),
    )


class Locations:
    """The configured locations; each is resolved when it is asked for, so that one needs no other's secrets.

    Args:
        settings: As read.
        registry: The mechanisms, whose schemas say which keys there are.
    """

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings.locations
        self._registry = registry

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._settings)

    def get(self, name: str) -> Location:
        """Return one, with its references resolved.

        Raises:
            ConfigError: There is no such mechanism or key, or a reference leads nowhere; names which.
        """
        location = self._settings[name]
        try:
            mechanism = self._registry.get(location.type)
        except ConfigError as error:
            raise ConfigError(f"locations.{name}.type: {error.message}") from error
        schema = mechanism.location_schema
        properties: Mapping[str, Any] = schema.get("properties", {})
        settings: dict[str, Any] = {}
        for key, value in location.settings.items():
            if key not in properties and schema.get("additionalProperties") is False:
                raise ConfigError(f"unknown key locations.{name}.{key}; {_nearest(key, properties)}")
            plain = resolved(value, f"locations.{name}.{key}")
            settings[key] = _typed(plain, properties.get(key, {}))
        return Location(
            name=name,
            mechanism=location.type,
            settings=settings,
            limits=location.limits,
            participants=location.participants,
        )


def _nearest(key: str, known: Iterable[str]) -> str:
    """What may have been meant."""
    near = get_close_matches(key, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}"


def _typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """Read text that came from the environment as the type that the mechanism wants."""
    if not isinstance(value, str):
        return value
    if schema.get("type") == "boolean" and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if schema.get("type") == "integer" and value.isdigit():
        return int(value)
    return value


def datasets(settings: Settings) -> tuple[Dataset, ...]:
    """Configured datasets."""
    return tuple(
        Dataset(
            match=dataset.id or dataset.match or "",
            source=dataset.source,
            prepare_wait_s=dataset.prepare_wait_s,
            bandwidth_bytes_per_s=dataset.bandwidth_bytes_per_s,
            labels=dataset.labels,
            control_planes=dataset.control_planes,
            participants=dataset.participants,
            include=dataset.include,
            exclude=dataset.exclude,
        )
        for dataset in settings.datasets
    )


def landing_zones(settings: Settings) -> tuple[LandingZone, ...]:
    """Configured landing zones, in their order."""
    return tuple(zone.zone for zone in settings.landing_zones)


def control_planes(settings: Settings) -> tuple[ControlPlane, ...]:
    """Configured control planes, with their tokens resolved.

    Raises:
        ConfigError: A reference leads nowhere, or two have the same token and can't be told apart.
    """
    planes = tuple(_control_plane(plane) for plane in settings.control_planes)
    named: dict[str, str] = {}
    for plane in planes:
        if plane.token is not None and named.setdefault(plane.token, plane.id) != plane.id:
            raise ConfigError(
                f"control planes {named[plane.token]!r} and {plane.id!r} have the same token:"
                " give each its own, or they can't be told apart"
            )
    return planes


def _control_plane(plane: ControlPlaneSettings) -> ControlPlane:
    where = f"control_planes {plane.id!r}"
    return ControlPlane(
        id=plane.id,
        endpoint=plane.endpoint,
        token=resolved(plane.token, f"{where}: token"),
        callback_token=resolved(plane.callback_token, f"{where}: callback_token"),
        authorization=caller_tokens(plane.authorization, f"{where}: authorization"),
        callback_authorization=callback_tokens(
            plane.callback_authorization, f"{where}: callback_authorization"
        ),
        register=plane.register_,
        registration_url=plane.registration_url,
        registration=plane.registration,
        retries=plane.retries,
        on_failure=plane.on_failure,
        management_url=plane.management_url,
        management_key=resolved(plane.management_key, f"{where}: management_key"),
        may_name_locations=plane.may_name_locations,
        metadata_location=plane.metadata_location,
        participant_context_id=plane.participant_context_id,
    )


def participants(settings: Settings) -> tuple[Participant, ...]:
    """Configured participants, with their keys resolved.

    Raises:
        ConfigError: A reference leads nowhere, or to no key that can sign.
    """
    return tuple(_participant(participant) for participant in settings.participants)


def _participant(settings: ParticipantSettings) -> Participant:
    # JOSE and cryptography take a tenth of a second to load, and `copy` has no use for them.
    from dataferry.secrets.jwk import private_key, public_key

    where = f"participants {settings.id!r}"
    if not settings.has_key or settings.did is None or settings.kid is None:
        return Participant(id=settings.id, did=settings.did)
    participant = Participant(
        id=settings.id,
        did=settings.did,
        signing_key=resolved(settings.signing_key, f"{where}: signing_key"),
        kid=absolute(settings.did, settings.kid),
        signer_url=settings.signer_url,
        signer_token=resolved(settings.signer_token, f"{where}: signer_token"),
        public_key=resolved(settings.public_key, f"{where}: public_key"),
    )
    for key, read in (("signing_key", private_key), ("public_key", public_key)):
        try:
            value: str | None = getattr(participant, key)
            if value is not None:
                read(value)
        except ConfigError as error:
            raise ConfigError(f"{where}: {key}: {error.message}") from None
    return participant


def api_keys(settings: Settings) -> tuple[tuple[str, str], ...]:
    """The operators' keys that are configured as such: ``(name, key)``, resolved."""
    return tuple(
        (key.name, str(resolved(key.key.strip(), f"auth.api_keys {key.name!r}: key")))
        for key in settings.auth.api_keys
        if key.key is not None
    )


def key_file(settings: Settings) -> Path:
    """Where the sealing key is: as configured, else ``dataferry.key`` beside the database.

    Raises:
        ConfigError: The database is not a file, and no key file is configured.
    """
    if settings.secrets.key_file is not None:
        return Path(settings.secrets.key_file)
    database = database_file(settings)
    if database is None:
        raise ConfigError(
            "secrets.key_file is required with this store.url: every process must share one key"
        )
    return database.with_name("dataferry.key")


def database_password(settings: Settings) -> str | None:
    """The password in the database's URL; None if there is none."""
    try:
        password = urlsplit(settings.store.url).password
    except ValueError:  # no URL at all: told when the database is opened
        return None
    return None if password is None else unquote(password)


def database_file(settings: Settings) -> Path | None:
    """The SQLite database's file; None for another kind of database."""
    return settings.store.file
