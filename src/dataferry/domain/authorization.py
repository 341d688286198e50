"""How a control plane and this plane prove to each other who they are, beyond a token that never changes.

Source: Data Plane Signaling, "Authorization Profiles".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dataferry.domain.location import Provenance

DEFAULT_LEEWAY_S = 30.0


class AuthorizationType(StrEnum):
    """The specification's profiles, and tokens that this plane signs itself."""

    CLIENT_CREDENTIALS = "oauth2_client_credentials"
    TOKEN_EXCHANGE = "oauth2_token_exchange"  # noqa: S105 - the name of a profile
    SELF_ISSUED = "self_issued"


class Claim(StrEnum):
    """Claims that the specification wants and that can be done without, one by one; never ``exp``."""

    ISSUER = "iss"
    SUBJECT = "sub"
    AUDIENCE = "aud"
    ISSUED_AT = "iat"
    ID = "jti"
    PARTICIPANT_CONTEXT = "participant_context"


class ClientAuthentication(StrEnum):
    """How a client shows its secret at a token endpoint. Source: RFC 6749, section 2.3.1."""

    POST = "post"
    BASIC = "basic"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerTokens:
    """By which JWTs a control plane is known when it calls.

    Attributes:
        type: The profile.
        issuer: The only ``iss`` that is taken; None: any, as the keys are the control plane's own.
        subject: The ``sub`` that is taken; None: the control plane's id.
        audience: The ``aud`` that is taken; None: this plane's id.
        jwks: Its keys, a JSON Web Key Set.
        jwks_uri: Where its keys are.
        provenance: Whose word ``jwks_uri`` is.
        is_issued_here: The tokens are those of this plane's own token endpoint.
        accepts_unsigned: Signatures are not checked, by the operator's explicit word.
        relaxed: Claims that may be missing, and are not compared where they are there.
        scope: A scope that tokens must have; None: none.
        leeway_s: How far clocks may be apart.
        client_secret_sha256: Of the secret that it has at our token endpoint, in hexadecimal.
        token_endpoint, client_id, client_secret: What our registration hands it to get its tokens with.
    """

    type: AuthorizationType
    issuer: str | None = None
    subject: str | None = None
    audience: str | None = None
    jwks: Mapping[str, Any] | None = None
    jwks_uri: str | None = None
    provenance: Provenance = Provenance.OPERATOR
    is_issued_here: bool = False
    accepts_unsigned: bool = False
    relaxed: tuple[Claim, ...] = ()
    scope: str | None = None
    leeway_s: float = DEFAULT_LEEWAY_S
    token_endpoint: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_secret_sha256: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackTokens:
    """How this plane gets the token that it calls a control plane with.

    Attributes:
        type: The profile; ``SELF_ISSUED`` needs no endpoint: our own key signs.
        token_endpoint: Where tokens are had: OAuth's token endpoint, or the broker's.
        provenance: Whose word ``token_endpoint`` is.
        client_id, client_secret: At ``token_endpoint``; the profile of exchange has none.
        client_authentication: How they are shown.
        subject_token: Reference to the workload credential that is exchanged, ``file:PATH``; read anew each
            time, since such credentials rotate.
        resource: URI of the principal that an exchanged token speaks for.
        audience: For whom the token is; None: the control plane's id where the profile needs one.
        scope: What is asked for; None: nothing is said.
        reuses: A token serves until shortly before its end. Off: each call has a fresh one.
        jwks_uri: Where control planes find the keys of these tokens; our registration tells it.
        issuer: Who issues them; our registration tells it.
    """

    type: AuthorizationType
    token_endpoint: str | None = None
    provenance: Provenance = Provenance.OPERATOR
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_authentication: ClientAuthentication = ClientAuthentication.POST
    subject_token: str | None = None
    resource: str | None = None
    audience: str | None = None
    scope: str | None = None
    reuses: bool = False
    jwks_uri: str | None = None
    issuer: str | None = None
