"""Whatever credential is read or written is left out of the logs from then on."""

from __future__ import annotations

from pathlib import Path

from tests.unit.store.sample_rows import PLANTED, flow

from dataferry.domain.location import ControlPlane
from dataferry.secrets.redaction import MASK, SecretValues
from dataferry.secrets.sealing import Sealer
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import StillClock

TOKEN, CALLBACK_TOKEN = "what-it-calls-us-with", "what-we-call-it-with"


def opened(directory: Path, secrets: SecretValues) -> Store:
    """The store in a directory."""
    return Store.open(
        f"sqlite:///{directory}/s.db", sealer=Sealer(bytes(32)), clock=StillClock(), secrets=secrets
    )


def test_what_is_written_and_what_is_read_is_left_out(tmp_path: Path) -> None:
    """By the process that writes the row, and by one that only reads it after a restart."""
    made = flow()
    line = f"{PLANTED} {TOKEN} {CALLBACK_TOKEN} https://cp.example"
    masked = f"{MASK} {MASK} {MASK} https://cp.example"
    writing, reading = SecretValues(), SecretValues()
    store = opened(tmp_path, writing)
    with store.transaction() as tx:
        tx.flows.insert(made)
        tx.control_planes.put(
            ControlPlane(id="cp", endpoint="https://cp.example", token=TOKEN, callback_token=CALLBACK_TOKEN)
        )
    store.close()
    assert writing.redact(line) == masked
    assert reading.redact(line) == line
    store = opened(tmp_path, reading)
    with store.snapshot() as tx:
        tx.flows.get(made.id)
        tx.control_planes.get("cp")
    store.close()
    assert reading.redact(line) == masked
