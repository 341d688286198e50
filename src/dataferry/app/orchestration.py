"""Wires the orchestrator: from its settings to what the rooms below take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataferry.api.client_key import ClientKey
from dataferry.api.orchestration.edc import HttpEdcClient
from dataferry.api.orchestration.edc_contracts import HttpNegotiator
from dataferry.api.orchestration.webhook import HttpWebhook, key_of
from dataferry.app.orchestrator_settings import ORCHESTRATED, ConnectorSettings
from dataferry.app.resolving import resolved
from dataferry.app.settings import Settings
from dataferry.domain.clock import Clock
from dataferry.domain.errors import ConfigError, InputError
from dataferry.domain.execution import Executor
from dataferry.domain.location import Location
from dataferry.domain.orchestration import Connector
from dataferry.flows.management import Management
from dataferry.flows.orchestration.acceptance import AcceptedPolicy
from dataferry.flows.orchestration.awaited import AwaitedFlows
from dataferry.flows.orchestration.connectors import Connectors, normalized
from dataferry.flows.orchestration.downloads import Downloads
from dataferry.flows.orchestration.notices import NoticePolicy, NoticeSender, Webhook
from dataferry.flows.orchestration.orchestrator import Orchestrator
from dataferry.flows.orchestration.policy import LEAST_DELAY_S, OrchestratorPolicy
from dataferry.flows.orchestration.ports import ConnectorAddresses
from dataferry.flows.orchestration.runner import Runner
from dataferry.flows.orchestration.steps import Steps
from dataferry.flows.orchestration.tokens import FetchedTokens
from dataferry.flows.shared import Shared
from dataferry.net.connections import Network
from dataferry.secrets.redaction import SecretValues
from dataferry.telemetry.logs import get_logger

_log = get_logger("orchestrator")


class Asking:
    """How connectors are asked; what both attempts and steps need.

    Args:
        settings: As read.
        network: Whose egress guard is used.
        secrets: Told of credentials, for logs and messages to leave out.
    """

    def __init__(self, settings: Settings, network: Network, secrets: SecretValues) -> None:
        self.connectors = connectors_of(settings, secrets)
        timeout_s = settings.orchestrator.request_timeout_s
        self.edc = HttpEdcClient(network, timeout_s=timeout_s, secrets=secrets)
        self.negotiator = HttpNegotiator(self.edc)
        self.addresses = ConnectorAddresses(self.edc)

    def tokens(self, shared: Shared) -> FetchedTokens:
        """Return how the downloads of entries come to new tokens."""
        return FetchedTokens(
            shared.store, self.connectors, self.edc, self.addresses, shared.resolver, shared.renewals
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Orchestration:
    """What of the orchestrator the service serves, starts and ends."""

    orchestrator: Orchestrator
    runner: Runner
    awaited: AwaitedFlows
    notices: NoticeSender | None


def orchestration(
    settings: Settings,
    shared: Shared,
    executor: Executor,
    management: Management,
    asking: Asking,
    webhook: Webhook | None = None,
) -> Orchestration:
    """Wire it; no thread runs yet."""
    ours = settings.orchestrator
    policy = policy_of(settings)
    probing = shared.network.with_stall_timeout(ours.request_timeout_s)
    steps = Steps(
        shared,
        asking.connectors,
        asking.edc,
        asking.negotiator,
        asking.addresses,
        Downloads(shared, executor, management, policy, probing=probing),
        policy,
    )
    runner = Runner(shared, steps, policy)
    orchestrator = Orchestrator(
        shared.store,
        shared.resolver,
        asking.connectors,
        policy,
        shared.clock,
        wake=runner.wake,
        edc=asking.edc,
        negotiator=asking.negotiator,
        network=probing,
        retry=runner.retry,
    )
    awaited = AwaitedFlows(shared.store, shared.clock, policy)
    notices = None
    if webhook is not None and ours.webhook is not None:
        patience = NoticePolicy(give_up_after_s=ours.webhook.give_up_after_s)
        notices = NoticeSender(shared.store, webhook, orchestrator.view, shared.clock, patience)
    return Orchestration(orchestrator=orchestrator, runner=runner, awaited=awaited, notices=notices)


def webhook_of(
    settings: Settings, network: Network, secrets: SecretValues, clock: Clock
) -> HttpWebhook | None:
    """Return who is told of ends; None if nobody is configured.

    Raises:
        ConfigError: Its secret is none, or a reference leads nowhere.
    """
    ours = settings.orchestrator.webhook
    if ours is None:
        return None
    where = "orchestrator.webhook"
    secret = resolved(ours.secret, f"{where}.secret")
    token = resolved(ours.bearer_token, f"{where}.bearer_token")
    secrets.add(secret, token)
    try:
        key = None if secret is None else key_of(secret)
    except ConfigError as error:
        raise ConfigError(f"{where}.secret: {error.message}") from error
    return HttpWebhook(network, ours.url, clock, key=key, bearer_token=token, timeout_s=ours.timeout_s)


def is_used(settings: Settings) -> bool:
    """Return whether there is any connector that a request may name."""
    return bool(settings.orchestrator.connectors) or settings.orchestrator.allow_any_connector


def connectors_of(settings: Settings, secrets: SecretValues) -> Connectors:
    """Return the configured connectors, with their credentials resolved, which the logs are told of.

    Raises:
        ConfigError: A reference leads nowhere, or two have the same address.
    """
    found = [_connector(number, one) for number, one in enumerate(settings.orchestrator.connectors)]
    addresses = [normalized(connector.address) for connector in found]
    for address in addresses:
        if addresses.count(address) > 1:
            raise ConfigError(f"orchestrator.connectors: {address} is there twice")
    for connector in found:
        secrets.add(connector.api_key, connector.client_secret)
    return Connectors(found, allow_any=settings.orchestrator.allow_any_connector)


def _connector(number: int, settings: ConnectorSettings) -> Connector:
    where = f"orchestrator.connectors[{number}]"
    try:
        normalized(settings.address)
    except InputError as error:
        raise ConfigError(f"{where}.address: {error.message}") from error
    return Connector(
        address=settings.address,
        management_path=settings.management_path,
        api_key=resolved(settings.api_key, f"{where}.api_key"),
        token_url=settings.token_url,
        client_id=settings.client_id,
        client_secret=resolved(settings.client_secret, f"{where}.client_secret"),
        scope=settings.scope,
        api_version=settings.api_version,
        protocol=settings.protocol,
        on_saved=settings.on_saved,
    )


def policy_of(settings: Settings) -> OrchestratorPolicy:
    """Return the orchestrator's bounds."""
    ours = settings.orchestrator
    by_path = ours.destination is None and ours.storage_api_url is None
    shown = ours.data_storage_path if by_path else ours.storage_api_url
    return OrchestratorPolicy(
        destination=ours.destination or f"{ORCHESTRATED}:",
        participant=ours.participant_context_id,
        shown_as=None if shown is None else f"{shown.rstrip('/')}/",
        transfer_type=ours.transfer_type,
        destinations=ours.destinations,
        accepted=tuple(
            AcceptedPolicy(name=one.name, providers=one.providers, policy=one.policy)
            for one in ours.accepted_policies
        ),
        sidecar=ours.sidecar,
        max_entries=ours.max_entries,
        concurrency=ours.concurrency,
        concurrency_per_request=ours.concurrency_per_request,
        threads=ours.threads,
        data_address_retries=max(1, ours.data_address_max_retries),
        data_address_delay_s=max(LEAST_DELAY_S, ours.data_address_delay_s),
        start_timeout_s=ours.start_timeout_s,
        watch_interval_s=ours.watch_interval_s,
        retries=ours.retries,
        retention_days=ours.retention_days,
        notifies=ours.webhook is not None,
    )


def own_location(settings: Settings) -> tuple[Location, ...]:
    """Return the location that ``data_storage_path`` or ``storage_api_url`` stands for, made if missing.

    Raises:
        ConfigError: The directory can't be made.
    """
    ours = settings.orchestrator
    if ours.destination is not None or not is_used(settings):
        return ()
    if ours.storage_api_url is not None:
        return (Location(name=ORCHESTRATED, mechanism="http", settings={"base_url": ours.storage_api_url}),)
    path = Path(ours.data_storage_path).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"orchestrator.data_storage_path: {path}: {exc.strerror or exc}") from exc
    return (Location(name=ORCHESTRATED, mechanism="file", settings={"root": str(path)}),)


def client_key(settings: Settings, secrets: SecretValues) -> ClientKey:
    """Return the key of the orchestrator's clients.

    Raises:
        ConfigError: It leads nowhere, or no client could send it.
    """
    value = str(resolved(settings.orchestrator.api_key, "orchestrator.api_key"))
    if not (value.isascii() and value.isprintable() and value == value.strip()):
        raise ConfigError(
            "orchestrator.api_key (EDC_API_KEY): clients send it in a header, which holds printable ASCII and"
            " no spaces at its ends; take such a key, for example what `openssl rand -hex 32` prints"
        )
    key = ClientKey(value=value)
    if not key.is_default:
        secrets.add(value)
    return key


def warn_of_default_key(settings: Settings, key: ClientKey) -> None:
    """Say so once the service starts, if clients get in with a key that everybody knows."""
    if is_used(settings) and key.is_default:
        _log.warning(
            "default_api_key",
            advice="orchestrator.api_key (EDC_API_KEY) is the default: it is taken from this machine only",
        )
