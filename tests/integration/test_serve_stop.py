"""SIGTERM ends the service soon, also while it waits for a store that is silent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.plane import PUSH, Rig, running

from dataferry.demo.control_plane import message

ENTRY = {"@type": "EndpointProperty"}
ADDRESS = {
    "@type": "DataAddress",
    "endpointType": PUSH,
    "endpoint": "s3://their-bucket/in/",
    "endpointProperties": [
        {**ENTRY, "name": "accessKeyId", "value": "AKIDEXAMPLE"},
        {**ENTRY, "name": "secretAccessKey", "value": "secret-of-the-other-side"},
    ],
}


@pytest.fixture
def silent_store() -> Iterator[tuple[str, threading.Event]]:
    """A store that takes connections and says nothing: its URL, and a flag that is set once it was asked."""
    asked = threading.Event()
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return
                asked.set()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    for connection in held:
        connection.close()


@pytest.mark.parametrize("wait_s", [0.0, 60.0], ids=["an attempt prepares", "the verb waits"])
def test_sigterm_does_not_wait_for_a_silent_store(
    tmp_path: Path, silent_store: tuple[str, threading.Event], wait_s: float
) -> None:
    """Preparing lets go at once, wherever it runs; the process ends with 0."""
    url, asked = silent_store
    rig = Rig(
        tmp_path / "plane",
        locations={"here": {"type": "file", "root": str(tmp_path)}},
        datasets=[{"id": "all", "source": "here:plane/", "prepare_wait_s": wait_s}],
    )
    properties = [*ADDRESS["endpointProperties"], {**ENTRY, "name": "endpointOverride", "value": url}]
    start = message("p-1", "all", PUSH, dataAddress={**ADDRESS, "endpointProperties": properties})
    with running(rig):
        caller = threading.Thread(
            target=lambda: rig.control_plane.start_flow(rig.address, start), daemon=True
        )
        caller.start()
        assert asked.wait(20)
        rig.plane.stop()  # politely for ten seconds, then with SIGKILL
        assert rig.plane.process.exit_code == 0
        caller.join(20)
