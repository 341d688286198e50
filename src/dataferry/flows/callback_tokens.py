"""The tokens that this plane calls control planes with: fresh for each call, or kept until near their end.

Whatever is wrong at a token endpoint is worth another try: a callback waits for it, and is not lost by it.

Source: Data Plane Signaling, "Authorization Profiles"; RFC 6749, section 4.4; RFC 8693, section 2.
"""

from __future__ import annotations

import base64
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus, urlsplit

from dataferry.domain.authorization import AuthorizationType, CallbackTokens, ClientAuthentication
from dataferry.domain.clock import Clock
from dataferry.domain.errors import (
    AddressError,
    ConfigError,
    ConnectionFailedError,
    DataFerryError,
    InputError,
    ServerError,
    UnauthorizedError,
)
from dataferry.domain.location import ControlPlane, Provenance
from dataferry.flows.signers import Signers
from dataferry.net.answers import Answer, ask
from dataferry.net.connections import Network
from dataferry.net.httpx_transport import guarded_client
from dataferry.secrets.claims import time_of, unproved
from dataferry.secrets.did import is_this_machine
from dataferry.secrets.redaction import SecretValues
from dataferry.secrets.references import resolve
from dataferry.telemetry.logs import get_logger

TIMEOUT_S = 5.0
MAX_KEPT = 256
# Renewed when so much of its life is left, but no sooner than that before its end.
MARGIN = 1 / 3
MAX_MARGIN_S = 30.0
# While a token is still good, a token endpoint that fails is asked again after so long.
ASKED_AGAIN_S = 5.0
SELF_ISSUED_LIFETIME_S = 300.0
_MAX_LIFETIME_S = 10 * 365 * 86_400.0
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_OPERATION = "token for callbacks"

_log = get_logger("flows.callback_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A token, in monotonic seconds; one of which nobody says how long it lives is of no use later."""

    token: str = field(repr=False)
    had_at: float
    lifetime_s: float

    def left_s(self, now: float) -> float:
        """Return how much of its life is left."""
        return self.had_at + self.lifetime_s - now

    def is_fresh(self, now: float) -> bool:
        """Return whether it need not be renewed yet."""
        return self.left_s(now) > min(MAX_MARGIN_S, self.lifetime_s * MARGIN)


class _Turn:
    """One control plane's token: who renews it has the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.held: _Held | None = None
        self.again_at = 0.0


class CallbackTokenSource:
    """Gets the tokens. Thread-safe.

    Args:
        network: Whose egress guard and certificates are used.
        signers: Ours, for tokens that we issue ourselves.
        data_plane_id: What we call ourselves.
        clock: Time.
        secrets: Told of the tokens that are kept, for the logs to leave out.
        may_be_plain: Whether token endpoints on this machine that a message named are asked by plain http:
        for
            development. What the operator named is asked as it is written.
    """

    def __init__(
        self,
        network: Network,
        signers: Signers,
        *,
        data_plane_id: str,
        clock: Clock,
        secrets: SecretValues | None = None,
        may_be_plain: bool = False,
    ) -> None:
        self._clients = {
            provenance: guarded_client(network, provenance, timeout_s=TIMEOUT_S) for provenance in Provenance
        }
        self._signers = signers
        self._data_plane_id = data_plane_id
        self._clock = clock
        self._secrets = secrets or SecretValues()
        self._may_be_plain = may_be_plain
        self._lock = threading.Lock()
        self._turns: OrderedDict[tuple[str, CallbackTokens], _Turn] = OrderedDict()

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def token(self, plane: ControlPlane) -> str | None:
        """Return the bearer token for one call; None where none is sent.

        Raises:
            ConfigError: A reference leads nowhere now.
            EgressDeniedError, AddressError: The token endpoint is a place that may not be asked.
            ConnectionFailedError: There is no token now; it is worth another try.
        """
        rules = plane.callback_authorization
        if rules is None:
            return plane.callback_token
        if not rules.reuses or rules.type is AuthorizationType.SELF_ISSUED:
            return self._asked(plane, rules).token
        turn = self._turn(plane.id, rules)
        now = self._clock.monotonic()
        held = turn.held
        if held is not None and held.is_fresh(now):
            return held.token
        if held is not None and held.left_s(now) > 0 and (turn.lock.locked() or now < turn.again_at):
            return held.token
        with turn.lock:
            if turn.held is None or turn.held is held:
                self._renew(turn, plane, rules)
            return turn.held.token if turn.held is not None else None

    def refused(self, plane: ControlPlane) -> None:
        """Forget the token that a control plane has refused: the next call has another one."""
        rules = plane.callback_authorization
        if rules is not None:
            with self._lock:
                self._turns.pop((plane.id, rules), None)

    def _turn(self, plane_id: str, rules: CallbackTokens) -> _Turn:
        with self._lock:
            turn = self._turns.setdefault((plane_id, rules), _Turn())
            self._turns.move_to_end((plane_id, rules))
            while len(self._turns) > MAX_KEPT:
                self._turns.popitem(last=False)
            return turn

    def _renew(self, turn: _Turn, plane: ControlPlane, rules: CallbackTokens) -> None:
        """Get another token; while the one that is held is good, a failure does no harm."""
        now = self._clock.monotonic()
        try:
            turn.held = self._asked(plane, rules)
            self._secrets.remember(turn.held.token)
        except DataFerryError as exc:
            if turn.held is None or turn.held.left_s(now) <= 0:
                raise
            _log.info("callback_token_not_renewed", control_plane=plane.id, reason=str(exc))
            turn.again_at = now + ASKED_AGAIN_S

    def _asked(self, plane: ControlPlane, rules: CallbackTokens) -> _Held:
        """Get a token from where the rules say.

        Raises:
            ConnectionFailedError: There is none now. Without one the control plane can't be reached: it is
                left alone for a while with all its callbacks, so that they do not delay those of others.
        """
        try:
            if rules.type is AuthorizationType.SELF_ISSUED:
                return self._signed(plane, rules)
            return self._of_endpoint(plane, rules)
        except ConnectionFailedError:
            raise
        except DataFerryError as exc:
            if not exc.is_temporary:
                raise
            raise exc.retold(ConnectionFailedError) from exc

    def _signed(self, plane: ControlPlane, rules: CallbackTokens) -> _Held:
        """Sign one ourselves."""
        signer = self._signers.get(plane.participant_context_id)
        if signer is None:
            raise ConfigError(f"participant {plane.participant_context_id} has no key to sign with")
        now = self._clock.now().timestamp()
        token = signer.token(
            subject=self._data_plane_id,
            audience=rules.audience or plane.id,
            now=now,
            lifetime_s=SELF_ISSUED_LIFETIME_S,
        )
        return _Held(token=token, had_at=self._clock.monotonic(), lifetime_s=SELF_ISSUED_LIFETIME_S)

    def _of_endpoint(self, plane: ControlPlane, rules: CallbackTokens) -> _Held:
        """Ask a token endpoint.

        Raises:
            DataFerryError: As ``token`` says.
        """
        url = rules.token_endpoint or ""
        if rules.provenance is Provenance.EXTERNAL and not self._is_usable(url):
            raise AddressError("token endpoints of others are asked by https", operation=_OPERATION)
        form, headers = _request(plane, rules)
        asked_at = self._clock.monotonic()
        try:
            answer = ask(
                self._clients[rules.provenance],
                "POST",
                url,
                what=f"a token for callbacks to {plane.id}",
                form=form,
                headers=headers,
            )
            if answer.status != HTTPStatus.OK:
                raise _refusal(answer)
            token, lifetime_s = _token(answer)
        except AddressError:
            raise
        except InputError as exc:
            raise ServerError(exc.message, operation=_OPERATION) from None
        return _Held(token=token, had_at=asked_at, lifetime_s=self._lifetime_s(token, lifetime_s))

    def _is_usable(self, url: str) -> bool:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and self._may_be_plain and is_this_machine(parts.hostname or "")
        return parts.scheme == "https" or plain

    def _lifetime_s(self, token: str, told_s: float | None) -> float:
        """Return how long a token is good for: its own ``exp`` says it best.

        Source: Data Plane Signaling, "OAuth 2 Token Exchange", section "Exchange Response".
        """
        try:
            _, claims = unproved(token)
            expires_at = time_of(claims, "exp")
        except UnauthorizedError:
            expires_at = None
        if expires_at is not None:
            return expires_at - self._clock.now().timestamp()
        return told_s or 0.0


def _request(plane: ControlPlane, rules: CallbackTokens) -> tuple[dict[str, str], dict[str, str]]:
    """Return the form and the headers of a token request.

    Raises:
        ConfigError: The workload credential is not where it should be.
    """
    form: dict[str, str | None] = {
        "audience": rules.audience,
        "scope": rules.scope,
        "resource": rules.resource,
    }
    headers: dict[str, str] = {}
    if rules.type is AuthorizationType.TOKEN_EXCHANGE:
        form |= {
            "grant_type": _EXCHANGE,
            "subject_token": resolve(rules.subject_token or "").strip(),
            "subject_token_type": _JWT,
            "requested_token_type": _JWT,
            "audience": rules.audience or plane.id,
        }
    elif rules.client_authentication is ClientAuthentication.BASIC:
        pair = f"{quote_plus(rules.client_id or '')}:{quote_plus(rules.client_secret or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        form |= {"grant_type": "client_credentials"}
    else:
        form |= {
            "grant_type": "client_credentials",
            "client_id": rules.client_id,
            "client_secret": rules.client_secret,
        }
    return {name: value for name, value in form.items() if value is not None}, headers


def _token(answer: Answer) -> tuple[str, float | None]:
    """Read an answer of success: the token, and how long it is good for, None if it does not say.

    Raises:
        InputError: It is none.

    Source: RFC 6749, section 5.1.
    """
    content: Any = answer.json("the token endpoint's answer")
    try:
        kind, token = str(content["token_type"]).lower(), content["access_token"]
        told = content.get("expires_in")
        lifetime_s = None if told is None else float(told)
        usable = kind == "bearer" and bool(_TOKEN.fullmatch(token))
        usable = usable and (lifetime_s is None or 0 <= lifetime_s < _MAX_LIFETIME_S)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        usable = False
    if not usable:
        raise InputError("the token endpoint's answer is no token response")
    return token, lifetime_s


def _refusal(answer: Answer) -> DataFerryError:
    """Turn an answer without a token into our error; never in the server's own words.

    A refusal of our credentials is no other: the operator mends it, and the callbacks wait for that.
    """
    return ServerError(
        f"the token endpoint answered with {answer.status}",
        operation=_OPERATION,
        retry_after_s=answer.retry_after_s,
    )
