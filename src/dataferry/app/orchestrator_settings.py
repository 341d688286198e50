"""The orchestrator: the section ``[orchestrator]`` and its connectors."""

from __future__ import annotations

import math
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from dataferry.app.section import Name, Section, http_url
from dataferry.domain.errors import InputError
from dataferry.domain.location import LocationRef
from dataferry.domain.orchestration import ApiVersion, OnSaved
from dataferry.domain.usage_policy import UsagePolicy

# The location that stands for ``data_storage_path`` or ``storage_api_url``.
ORCHESTRATED = "orchestrator-data"


class ConnectorSettings(Section):
    """``[[orchestrator.connectors]]``: a connector that requests may name, and what only it is shown."""

    address: str = Field(
        description="What requests name as `connectorAddress`: the URL under which its APIs are, such as"
        " `http://edc.example/consumer/cp`."
    )
    management_path: str = Field(
        default="/api/management",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path of its Management API behind `address`, without the version; empty if there is none"
        " between.",
    )
    api_key: str | None = Field(
        default=None,
        repr=False,
        min_length=1,
        description="Sent to it as `X-Api-Key`: a value, `env:NAME` or `file:PATH`. None: no key is sent.",
    )
    token_url: str | None = Field(
        default=None,
        description="Where a token for it is had by OAuth2 client credentials, in place of `api_key`. None:"
        " no token.",
    )
    client_id: str | None = Field(
        default=None, min_length=1, description="Client id at `token_url`. None: there is no `token_url`."
    )
    client_secret: str | None = Field(
        default=None,
        repr=False,
        min_length=1,
        description="Client secret at `token_url`, written as `api_key`. None: there is no `token_url`.",
    )
    scope: str | None = Field(
        default=None, min_length=1, description="Scope to ask for at `token_url`. None: its default."
    )
    api_version: ApiVersion | None = Field(
        default=None,
        description="Version of its Management API, `v3` or `v4`. None: found out, with a query that changes"
        " nothing; `v3` where it speaks both, since that keeps data addresses.",
    )
    protocol: str = Field(
        default="dataspace-protocol-http",
        min_length=1,
        description="Dataspace protocol of its transfer requests; EDC from 0.13 on also knows"
        " `dataspace-protocol-http:2025-1`.",
    )
    on_saved: OnSaved = Field(
        default=OnSaved.TERMINATE,
        description="What becomes of a transfer process whose data is stored: `terminate`, since the"
        " Management API can't complete one and an open one keeps the provider's token alive, or `keep`.",
    )

    @field_validator("address", "token_url")
    @classmethod
    def _urls(cls, value: str | None) -> str | None:
        return None if value is None else http_url(value)

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        oauth2 = (self.token_url, self.client_id, self.client_secret)
        if any(oauth2) and not all(oauth2):
            raise ValueError("`token_url`, `client_id` and `client_secret` need each other")
        if self.token_url and self.api_key:
            raise ValueError("give either `api_key` or `token_url`")
        return self


class AcceptedPolicySettings(Section):
    """``[[orchestrator.accepted_policies]]``: a policy that may be agreed to without asking anybody."""

    name: Name = Field(description="What the log calls it.")
    providers: tuple[str, ...] = Field(
        min_length=1,
        description="Participant ids with whom it may be agreed, as entries name them; in patterns `*` stands"
        " for any characters but `:` and `/`, alone for everybody.",
    )
    permission: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="What is permitted, under which constraints and duties: ODRL, as a connector shows it,"
        ' such as `{ action = "use", constraint = [{ leftOperand = "region", operator = "eq", rightOperand ='
        ' "eu" }] }`.',
    )
    prohibition: tuple[dict[str, Any], ...] = Field(
        default=(), description="What is prohibited, written as `permission`."
    )
    obligation: tuple[dict[str, Any], ...] = Field(
        default=(), description="What must be done, written as `permission`."
    )
    profile: tuple[str, ...] = Field(default=(), description="IRIs of ODRL profiles that the policy names.")
    empty: bool = Field(
        default=False,
        description="Whether it is the policy that says nothing at all. Off: one without any rule is taken"
        " for a mistake.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        try:
            policy = self.policy
        except InputError as error:
            raise ValueError(f"can't be read: {error.message}") from error
        if policy.is_empty != self.empty:
            raise ValueError(
                "has rules, so it is not `empty`"
                if self.empty
                else "has no rule: write `empty = true` if offers without any condition are accepted"
            )
        return self

    @property
    def policy(self) -> UsagePolicy:
        """The policy.

        Raises:
            InputError: It has something that is not understood.
        """
        return UsagePolicy.read(
            {
                "permission": list(self.permission),
                "prohibition": list(self.prohibition),
                "obligation": list(self.obligation),
                "profile": list(self.profile),
            }
        )


class WebhookSettings(Section):
    """``[orchestrator.webhook]``: is told when a request has ended, as Standard Webhooks have it."""

    url: str = Field(
        description="Where a POST says that a request has ended, and how. Called as it is configured, also in"
        " a private network; no redirect is followed."
    )
    secret: str | None = Field(
        default=None,
        repr=False,
        min_length=1,
        description="Signs what is sent, in `webhook-signature`: `whsec_` and 24 to 64 random bytes in"
        " base64, or `env:NAME` or `file:PATH`. None: nothing is signed, and `bearer_token` is needed.",
    )
    bearer_token: str | None = Field(
        default=None,
        repr=False,
        min_length=1,
        description="Sent as `Authorization: Bearer`, written as `secret`. None: none is sent, and `secret`"
        " is needed.",
    )
    timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=60,
        description="How long the receiver may take to answer, seconds; it should take the notice in, and"
        " work later.",
    )
    give_up_after_s: float = Field(
        default=86_400.0,
        gt=0,
        le=30 * 86_400,
        description="How long after the end it is tried to tell, seconds, less and less often; then"
        " `/status` shows that it was given up. A day outlasts most outages. However late, it is tried once.",
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        http_url(value)
        return value  # with its last slash, where it has one: to a receiver that is another path

    @model_validator(mode="after")
    def _shows_itself(self) -> Self:
        if not (self.secret or self.bearer_token):
            raise ValueError("give `secret`, `bearer_token` or both: the receiver must know who tells it")
        return self


class OrchestratorSettings(Section):
    """``[orchestrator]``: fetches lists of assets through connectors, for clients of `/orchestrate`."""

    api_key: str = Field(
        default="password",
        repr=False,
        min_length=1,
        description="What clients send as `X-Api-Key`: a value, `env:NAME` or `file:PATH`; also"
        " `EDC_API_KEY`. The default is the one that everybody knows, so that it is taken from this machine"
        " only, with a warning at the start. Printable ASCII, as in every header.",
    )
    connectors: tuple[ConnectorSettings, ...] = Field(
        default=(), description="Connectors that requests may name. None: every request is refused."
    )
    accepted_policies: tuple[AcceptedPolicySettings, ...] = Field(
        default=(),
        description="Policies of which one must be what a provider offers, for a contract to be negotiated"
        " where an entry has none. None: nothing is negotiated.",
    )
    allow_any_connector: bool = Field(
        default=False,
        description="Whether requests may name other connectors too. These get no credentials, and `[egress]`"
        " judges them. Off: a client can't have this service call whatever it likes.",
    )
    data_storage_path: str = Field(
        default="./data",
        min_length=1,
        description="Directory for what is fetched, made if missing; also `DATA_STORAGE_PATH`. Not used with"
        " `destination` or `storage_api_url`.",
    )
    destination: str | None = Field(
        default=None,
        description="`LOCATION:PATH/` to store at instead, of any mechanism. None: `data_storage_path`.",
    )
    storage_api_url: str | None = Field(
        default=None,
        description="URL below which files are stored with PUT instead; also `STORAGE_API_URL`. None: they"
        " are not.",
    )
    destinations: tuple[str, ...] = Field(
        default=(),
        description="Locations, patterns of their names with `*`, that an entry may name as its"
        " `destination`. Empty: none.",
    )
    sidecar: bool = Field(
        default=True,
        description="Whether a file `….meta.json` is written beside each stored one: source, contract, size,"
        " checksum, times.",
    )
    transfer_type: str = Field(
        default="HttpData-PULL",
        min_length=1,
        description="Transfer type of entries that name none: a profile or alias, of a pull or a push.",
    )
    participant_context_id: str = Field(
        default="default",
        min_length=1,
        description="The participant that fetches; one of `[[participants]]` if there are any. Its key"
        " renews tokens.",
    )
    request_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="How long a connector may take to answer, seconds; also `REQUEST_TIMEOUT`. An answer that"
        " drips may take twice that.",
    )
    data_address_max_retries: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="How often the data address of a started process is asked for before the entry fails;"
        " also `DATA_ADDRESS_MAX_RETRIES`. 0 is 1: once it has to be.",
    )
    data_address_delay_s: float = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="Seconds between those, and at most between looks at a process that is not started yet;"
        " also `DATA_ADDRESS_DELAY`. Less than 0.05, also 0, is 0.05: connectors are not asked without a"
        " pause.",
    )
    start_timeout_s: float = Field(
        default=300.0,
        gt=0,
        description="How long a transfer process may take to be started, seconds, before its entry fails:"
        " long enough for a provider that is being restarted. A negotiation may take as long before.",
    )
    watch_interval_s: float = Field(
        default=5.0,
        gt=0,
        description="Seconds between looks at a process whose data is being downloaded: one that its provider"
        " terminates ends the download.",
    )
    retries: int = Field(
        default=6,
        ge=0,
        description="How often a question to a connector that failed for a passing reason is asked again;"
        " six take half a minute.",
    )
    max_entries: int = Field(
        default=1000,
        ge=1,
        description="Most entries of a request; `server.max_body_bytes` holds some thousand.",
    )
    concurrency: int = Field(
        default=32,
        ge=1,
        le=1000,
        description="Entries at work at once; others wait. Of their downloads, `engine.flow_concurrency` move"
        " bytes at once.",
    )
    concurrency_per_request: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="Of these, how many of one request, so that a long one does not hold up the others.",
    )
    threads: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Questions to connectors and sources that wait for an answer at once; entries that wait"
        " for something else hold no thread.",
    )
    webhook: WebhookSettings | None = Field(
        default=None,
        description="A table of its own, [below](#orchestratorwebhook): who is told when a request has ended."
        " None: nobody is; clients look at `/status`.",
    )
    retention_days: int = Field(
        default=90,
        ge=0,
        le=36_500,
        description="Days after its end that a request is kept and shown, and its Idempotency-Key known. What"
        " was stored stays. 0: for ever.",
    )

    @field_validator("destination")
    @classmethod
    def _destination(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            ref = LocationRef.parse(value)
        except InputError as error:
            raise ValueError(str(error)) from error
        if ref.path and not ref.path.endswith("/"):
            raise ValueError("must end with `/`, or be a whole location: `NAME:`")
        return value

    @field_validator("storage_api_url")
    @classmethod
    def _storage_api_url(cls, value: str | None) -> str | None:
        return None if value is None else http_url(value)

    @model_validator(mode="after")
    def _one_destination(self) -> Self:
        if self.destination and self.storage_api_url:
            raise ValueError("give either `destination` or `storage_api_url`")
        return self

    @model_validator(mode="after")
    def _tells_in_time(self) -> Self:
        kept_s = self.retention_days * 86_400 or math.inf
        if self.webhook is not None and self.webhook.give_up_after_s > kept_s:
            raise ValueError("`webhook.give_up_after_s` is longer than requests are kept: `retention_days`")
        return self
