"""Keys that sign elsewhere: the contract, and what comes back that is not right."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from tests.servers.remote_signer import RemoteSigner
from tests.unit.token_rig import KID, participant

from dataferry.domain.errors import DataFerryError, RetryClass
from dataferry.domain.participant import Participant
from dataferry.flows.signers import Signers
from dataferry.net.connections import Network

pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
NOW = 1_800_000_000.0


def signed(ours: Participant) -> str:
    """Have a token signed by a participant."""
    with closing(Signers([ours], Network())) as signers:
        signer = signers.get("default")
        assert signer is not None
        return signer.token(subject="us", audience="them", now=NOW)


def remote(signer: RemoteSigner, **changes: Any) -> Participant:
    """A participant whose key is elsewhere."""
    there = {"signing_key": None, "signer_url": signer.url, "signer_token": signer.token}
    return participant(**{**there, "public_key": signer.public_pem, **changes})


@pytest.mark.parametrize(
    "key",
    [
        ECKey.generate_key("P-256"),
        ECKey.generate_key("P-384"),
        OKPKey.generate_key("Ed25519"),
        RSAKey.generate_key(2048),
    ],
    ids=["P-256", "P-384", "Ed25519", "RSA"],
)
def test_each_kind_of_key_signs_elsewhere(key: Any) -> None:
    """What it made is a JWT as any other, under the participant's key id."""
    with RemoteSigner(key) as signer:
        text = signed(remote(signer))
    read = jwt.decode(text, key, algorithms=["ES256", "ES384", "EdDSA", "RS256"])
    assert (read.header["kid"], read.claims["sub"], read.claims["aud"]) == (KID, "us", "them")
    assert (signer.asked[0]["kid"], signer.asked[0]["alg"]) == (KID, read.header["alg"])


def test_a_signature_of_another_key_goes_nowhere() -> None:
    """It is checked before it is used; and tried again, as keys may be being changed."""
    with RemoteSigner() as signer:
        ours = remote(signer)
        signer.key = ECKey.generate_key("P-256")
        with pytest.raises(DataFerryError, match="public_key") as failed:
            signed(ours)
    assert failed.value.retry is RetryClass.TEMPORARY


@pytest.mark.parametrize("status", [401, 404, 429, 500, 302])
def test_a_signer_that_does_not_sign_is_asked_again(status: int) -> None:
    """Whatever it answers; its token is not in what is said."""
    with RemoteSigner() as signer:
        signer.status = status
        with pytest.raises(DataFerryError) as failed:
            signed(remote(signer))
    assert failed.value.retry is RetryClass.TEMPORARY
    assert signer.token not in str(failed.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"signature": 7}', b'{"signature": "%%"}', b'{"signature": ""}', b"x" * 99_999],
)
def test_an_answer_without_a_signature(body: bytes) -> None:
    """No token comes of it."""
    with RemoteSigner() as signer:
        signer.body = body
        with pytest.raises(DataFerryError) as failed:
            signed(remote(signer))
    assert failed.value.retry is RetryClass.TEMPORARY


def test_a_wrong_token_at_the_signer_signs_nothing() -> None:
    """It is the signer that decides who may have something signed."""
    with RemoteSigner() as signer, pytest.raises(DataFerryError, match="401"):
        signed(remote(signer, signer_token="wrong"))


def test_the_key_set_has_public_keys_only() -> None:
    """Of keys here and elsewhere, each under its id."""
    with (
        RemoteSigner() as signer,
        closing(Signers([participant(), remote(signer, id="other")], Network())) as ours,
    ):
        keys = ours.key_set["keys"]
    assert [(key["kid"], key["use"], key["alg"], "d" in key) for key in keys] == [
        (KID, "sig", "ES256", False)
    ] * 2
