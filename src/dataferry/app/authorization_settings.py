"""``authorization`` and ``callback_authorization``: how a control plane and we prove ourselves."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from dataferry.app.section import Section, http_url
from dataferry.domain.authorization import (
    DEFAULT_LEEWAY_S,
    AuthorizationType,
    Claim,
    ClientAuthentication,
)
from dataferry.secrets.references import is_reference

MIN_SECRET_CHARS = 16
MAX_LEEWAY_S = 300.0


class CallerTokensSettings(Section):
    """``[control_planes.authorization]``: by which JWTs a control plane is known when it calls."""

    type: AuthorizationType = Field(
        description="`oauth2_client_credentials` or `oauth2_token_exchange`, as the specification's profiles."
    )
    issuer: str | None = Field(
        default=None,
        min_length=1,
        description="The only `iss` that is taken. None: any, as the keys are the control plane's own;"
        " `oauth2_token_exchange` needs one.",
    )
    subject: str | None = Field(
        default=None,
        min_length=1,
        description="The `sub` that is taken: of an exchanged token the URI of the principal, which"
        " `oauth2_token_exchange` needs. None: the control plane's `id`.",
    )
    audience: str | None = Field(
        default=None,
        min_length=1,
        description="What `aud` has to name. None: `server.dataplane_id`.",
    )
    jwks: dict[str, Any] | str | None = Field(
        default=None,
        description="Its public keys, a JSON Web Key Set: a table, or JSON as `env:NAME` or `file:PATH`."
        " One of `jwks`, `jwks_uri`, `issued_here` and `accept_unsigned` is needed.",
    )
    jwks_uri: str | None = Field(
        default=None,
        description="Where they are published. Kept for five minutes; a key that is not among them makes them"
        " be fetched again, five times at once and then every five seconds at most.",
    )
    issued_here: bool = Field(
        default=False,
        description="Its tokens are those of our own `/oauth/token`, signed by its participant's key.",
    )
    accept_unsigned: bool = Field(
        default=False,
        description="Signatures are not checked: whoever can reach this plane can call as this control plane."
        " For networks in which something else decides who can; said in the log at every start.",
    )
    relax: tuple[Claim, ...] = Field(
        default=(),
        description="Claims that may be missing, and are not compared: `iss`, `sub`, `aud`, `iat`, `jti`,"
        " `participant_context`. For issuers that do not do as the specification says; said in the log at"
        " every start. Without `jti` a token may be shown again until it ends; without `sub` every client of"
        " the issuer is this control plane.",
    )
    scope: str | None = Field(
        default=None,
        pattern=r"^\S+$",
        description="A scope that its tokens must have; `oauth2_token_exchange` needs one. None: none.",
    )
    leeway_s: float = Field(
        default=DEFAULT_LEEWAY_S,
        ge=0,
        le=MAX_LEEWAY_S,
        description="How far the issuer's clock may be from ours, seconds, at most 300. Half a minute: clocks"
        " that are kept are closer, and a token that was stolen lives no longer than it must.",
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        description="What it calls itself at its token endpoint. None: with `issued_here` its `id`.",
    )
    client_secret: str | None = Field(
        default=None,
        repr=False,
        description="Its secret at that token endpoint, 16 characters or more: a value, `env:NAME` or"
        " `file:PATH`. With `issued_here` either this or `client_secret_sha256`. None: none.",
    )
    client_secret_sha256: str | None = Field(
        default=None,
        repr=False,
        pattern=r"^[0-9a-fA-F]{64}$",
        description="SHA-256 of `client_secret` in hexadecimal, so that the file holds none; our registration"
        " then can't hand it out. None: none.",
    )
    token_endpoint: str | None = Field(
        default=None,
        description="Where it gets its tokens; with `client_id` and `client_secret` told in our registration,"
        " as EDC needs. None: it knows.",
    )

    @field_validator("jwks_uri", "token_endpoint")
    @classmethod
    def _urls(cls, value: str | None) -> str | None:
        return None if value is None else http_url(value)

    @field_validator("client_secret")
    @classmethod
    def _long(cls, value: str | None) -> str | None:
        if value is not None and not is_reference(value) and len(value) < MIN_SECRET_CHARS:
            raise ValueError(f"must have {MIN_SECRET_CHARS} characters or more")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        ways = [self.jwks is not None, self.jwks_uri is not None, self.issued_here, self.accept_unsigned]
        if sum(ways) != 1:
            raise ValueError(
                "give one of `jwks`, `jwks_uri`, `issued_here` and `accept_unsigned`:"
                " by what else should signatures be checked?"
            )
        if self.type is AuthorizationType.SELF_ISSUED:
            raise ValueError("`type` is oauth2_client_credentials or oauth2_token_exchange")
        if self.accept_unsigned and Claim.SUBJECT in self.relax:
            raise ValueError("`accept_unsigned` and `relax` of `sub` together would let anybody be it")
        if self.type is AuthorizationType.TOKEN_EXCHANGE:
            self._check_exchange()
        self._check_client()
        return self

    def _check_exchange(self) -> None:
        """Source: Data Plane Signaling, "OAuth 2 Token Exchange"."""
        if self.jwks_uri is None or not (self.issuer and self.subject and self.scope):
            raise ValueError(
                "`oauth2_token_exchange` needs `issuer`, `jwks_uri`, `subject` and `scope`;"
                " signatures are always checked"
            )
        if Claim.ISSUER in self.relax:
            raise ValueError("`iss` of `oauth2_token_exchange` can't be relaxed")

    def _check_client(self) -> None:
        if not self.issued_here:
            given = [self.token_endpoint, self.client_id, self.client_secret]
            if self.client_secret_sha256 is not None or any(given) != all(given):
                raise ValueError("`token_endpoint`, `client_id` and `client_secret` need each other")
            return
        if self.type is not AuthorizationType.CLIENT_CREDENTIALS:
            raise ValueError("`issued_here` is for oauth2_client_credentials")
        if self.issuer or self.subject or self.token_endpoint:
            raise ValueError("`issued_here` decides `issuer`, `subject` and `token_endpoint` by itself")
        if (self.client_secret is None) == (self.client_secret_sha256 is None):
            raise ValueError("`issued_here` needs either `client_secret` or `client_secret_sha256`")


class CallbackTokensSettings(Section):
    """``[control_planes.callback_authorization]``: how we get the token that we call a control plane with."""

    type: AuthorizationType = Field(
        description="`oauth2_client_credentials` or `oauth2_token_exchange`, as the specification's"
        " profiles; or `self_issued`: its participant's key signs, and `/oauth/jwks.json` has the public"
        " half."
    )
    token_endpoint: str | None = Field(
        default=None,
        description="Where tokens are had: OAuth's token endpoint, or the broker's. None: only with"
        " `self_issued`.",
    )
    client_id: str | None = Field(
        default=None, min_length=1, description="Our id there. None: only with the other types."
    )
    client_secret: str | None = Field(
        default=None,
        repr=False,
        description="Our secret there: a value, `env:NAME` or `file:PATH`. None: as `client_id`.",
    )
    client_authentication: ClientAuthentication = Field(
        default=ClientAuthentication.POST,
        description="How they are shown: `post` in the form, as EDC and most servers have it, or `basic`.",
    )
    subject_token: str | None = Field(
        default=None,
        description="`file:PATH` or `env:NAME` of the workload credential that is exchanged; read anew"
        " for each exchange, since it rotates. None: only with the other types.",
    )
    resource: str | None = Field(
        default=None,
        min_length=1,
        description="URI of the principal that an exchanged token speaks for. None: as `subject_token`.",
    )
    audience: str | None = Field(
        default=None,
        min_length=1,
        description="For whom the token is. None: the control plane's `id`; nothing is asked for with"
        " `oauth2_client_credentials`.",
    )
    scope: str | None = Field(
        default=None, min_length=1, description="Scopes that are asked for, with spaces between. None: none."
    )
    reuse: bool = Field(
        default=False,
        description="Whether a token serves for many calls, and is renewed before its end. Off: each call"
        " has a fresh one, as control planes that refuse a repeated `jti` need (EDC).",
    )
    issuer: str | None = Field(
        default=None,
        min_length=1,
        description="Who issues these tokens; told in our registration with `oauth2_token_exchange`."
        " None: not.",
    )
    jwks_uri: str | None = Field(
        default=None,
        description="Where their keys are published; told in our registration. None: with `self_issued`"
        " our own place, else nothing is told.",
    )

    @field_validator("token_endpoint", "jwks_uri")
    @classmethod
    def _urls(cls, value: str | None) -> str | None:
        return None if value is None else http_url(value)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        client = (self.client_id, self.client_secret)
        exchange = (self.subject_token, self.resource)
        needed: dict[AuthorizationType, tuple[tuple[str | None, ...], tuple[str | None, ...], str]] = {
            AuthorizationType.CLIENT_CREDENTIALS: (
                (self.token_endpoint, *client),
                (self.subject_token,),
                "`token_endpoint`, `client_id` and `client_secret`, and no `subject_token`",
            ),
            AuthorizationType.TOKEN_EXCHANGE: (
                (self.token_endpoint, *exchange),
                client,
                "`token_endpoint`, `subject_token` and `resource`, and no client",
            ),
            AuthorizationType.SELF_ISSUED: (
                (),
                (self.token_endpoint, *client, *exchange, self.scope),
                "no endpoint, client, credential, resource or scope",
            ),
        }
        wanted, unwanted, told = needed[self.type]
        if not all(wanted) or any(unwanted):
            raise ValueError(f"`{self.type.value}` takes {told}")
        if self.subject_token is not None and not is_reference(self.subject_token):
            raise ValueError("`subject_token` is `file:PATH` or `env:NAME`: the credential itself rotates")
        return self
