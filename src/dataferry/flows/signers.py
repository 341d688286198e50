"""What participants sign with: keys of this machine, and signers elsewhere, asked over HTTP.

A signer elsewhere is any service that answers, at the URL that the operator names::

    POST URL    {"kid": "did:web:acme.example#key-1", "alg": "ES256", "input": "<base64url>"}
    200         {"signature": "<base64url>"}

``input`` is the JWS signing input; ``signature`` is of the form that JWS wants (for ES256, R and S). What it
answers is checked against the participant's public key before it is used.

Source: RFC 7515, section 5.1; RFC 7518, section 3.4.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import httpx

from dataferry.domain.errors import InputError, ServerError
from dataferry.domain.location import Provenance
from dataferry.domain.participant import Participant
from dataferry.net.answers import ask
from dataferry.net.connections import Network
from dataferry.net.httpx_transport import guarded_client
from dataferry.secrets.jwk import public_key
from dataferry.secrets.signing import LocalKey, RemoteKey, Signer, SigningKey

TIMEOUT_S = 5.0
_OPERATION = "signer"


class Signers:
    """The signers of our participants. Thread-safe.

    Args:
        participants: Ours.
        network: How signers elsewhere are reached; they are the operator's word.

    Raises:
        ConfigError: A key can't be read.
    """

    def __init__(self, participants: Iterable[Participant], network: Network) -> None:
        self._client = guarded_client(network, Provenance.OPERATOR, timeout_s=TIMEOUT_S)
        self._signers: dict[str, Signer] = {}
        for one in participants:
            key = self._key(one)
            if key is not None and one.did is not None and one.kid is not None:
                self._signers[one.id] = Signer(one.did, one.kid, key)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, participant_context_id: str) -> Signer | None:
        """Return who signs as a participant; None if it has no key."""
        return self._signers.get(participant_context_id)

    @property
    def key_set(self) -> dict[str, Any]:
        """The public keys of all of them. Source: RFC 7517, section 5."""
        return {"keys": [signer.jwk for signer in self._signers.values()]}

    def _key(self, participant: Participant) -> SigningKey | None:
        if participant.signing_key is not None:
            return LocalKey(participant.signing_key)
        if participant.signer_url is None or participant.public_key is None:
            return None
        remote = _RemoteSigner(
            self._client,
            participant.signer_url,
            kid=participant.kid or "",
            token=participant.signer_token,
        )
        return RemoteKey(public_key(participant.public_key), remote.sign)


class _RemoteSigner:
    """One signer elsewhere."""

    def __init__(self, client: httpx.Client, url: str, *, kid: str, token: str | None) -> None:
        self._client = client
        self._url = url
        self._kid = kid
        self._headers: Mapping[str, str] = {} if token is None else {"Authorization": f"Bearer {token}"}

    def sign(self, algorithm: str, signing_input: bytes) -> bytes:
        """Have something signed.

        Raises:
            ConnectionFailedError, ServerError: It does not sign now; each is worth another try, since what it
                refuses is the operator's to mend.
        """
        try:
            answer = ask(
                self._client,
                "POST",
                self._url,
                what="the signer",
                headers=self._headers,
                document={
                    "kid": self._kid,
                    "alg": algorithm,
                    "input": base64.urlsafe_b64encode(signing_input).rstrip(b"=").decode("ascii"),
                },
            )
            if answer.status != HTTPStatus.OK:
                raise ServerError(f"the signer answered with {answer.status}", operation=_OPERATION)
            signature = answer.json("the signer's answer")["signature"]
            return base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        except (InputError, TypeError, KeyError, ValueError):
            raise ServerError("the signer's answer has no signature", operation=_OPERATION) from None
