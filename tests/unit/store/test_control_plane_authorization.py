"""How control planes prove themselves, in rows: whole again when they are read, and sealed."""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import create_engine, text

from dataferry.domain.authorization import AuthorizationType, CallbackTokens, CallerTokens, Claim
from dataferry.domain.location import ControlPlane, Provenance
from dataferry.secrets.redaction import MASK, SecretValues
from dataferry.secrets.sealing import Sealer
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import StillClock

SECRET = "what-we-get-tokens-with"
WHOLE = ControlPlane(
    id="cp",
    endpoint="https://cp.example",
    provenance=Provenance.EXTERNAL,
    authorization=CallerTokens(
        type=AuthorizationType.CLIENT_CREDENTIALS,
        jwks={"keys": [{"kty": "EC", "kid": "k"}]},
        provenance=Provenance.EXTERNAL,
        relaxed=(Claim.ID,),
    ),
    callback_authorization=CallbackTokens(
        type=AuthorizationType.CLIENT_CREDENTIALS,
        token_endpoint="https://cp.example/token",
        provenance=Provenance.EXTERNAL,
        client_id="us",
        client_secret=SECRET,
    ),
)


def test_it_comes_back_as_it_was(store: Store) -> None:
    """With its enumerations, and usable as a key of what is kept for it."""
    with store.transaction() as tx:
        tx.control_planes.put(WHOLE)
    with store.snapshot() as tx:
        read = tx.control_planes.get("cp")
    assert read == WHOLE
    assert read is not None
    assert hash(read.callback_authorization) == hash(WHOLE.callback_authorization)


def test_its_secret_is_sealed_and_left_out_of_the_logs(tmp_path: Path) -> None:
    """In the database's files, and in the log of who reads it."""
    reading = SecretValues()
    for secrets in (SecretValues(), reading):
        opened = Store.open(
            f"sqlite:///{tmp_path}/s.db", sealer=Sealer(bytes(32)), clock=StillClock(), secrets=secrets
        )
        with opened.transaction() as tx:
            if secrets is reading:
                tx.control_planes.get("cp")
            else:
                tx.control_planes.put(WHOLE)
        opened.close()
    assert reading.redact(SECRET) == MASK
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("s.db*"))


def test_rows_of_older_versions_are_read(tmp_path: Path, sqlite_store: Store) -> None:
    """What was sealed before there was any of this has none of it."""
    store = sqlite_store
    with store.transaction() as tx:
        tx.control_planes.put(ControlPlane(id="cp", token="what-it-calls-us-with"))
    old = {"token": "what-it-calls-us-with", "callback_token": None, "management_key": None}
    sealed = Sealer(bytes(32)).seal(json.dumps(old), purpose="control_planes.secrets:cp")
    engine = create_engine(f"sqlite:///{tmp_path}/store.db")
    with engine.begin() as connection:
        connection.execute(text("UPDATE control_planes SET secrets_sealed = :sealed"), {"sealed": sealed})
    engine.dispose()
    with store.snapshot() as tx:
        assert tx.control_planes.get("cp") == ControlPlane(id="cp", token="what-it-calls-us-with")
