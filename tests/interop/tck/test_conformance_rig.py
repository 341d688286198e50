"""What the conformance run rests on: where the kit's data goes, and that nothing is lost from its result."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from tests.interop.tck import configuration, report
from tests.interop.tck.forwarding_sink import ForwardingSink
from tests.interop.tck.kit import Outcome


class _KitsServer(BaseHTTPRequestHandler):
    """Answers as the kit's callback server: 404 but for one callback."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Echo the callback that it knows."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.path == "/transfers/p1/dataflow/completed" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def sink() -> Iterator[ForwardingSink]:
    """A sink before a server that answers as the kit's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _KitsServer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        with ForwardingSink(server.server_address[1]) as sink:
            yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_callbacks_reach_the_kit_and_its_answers_come_back(sink: ForwardingSink) -> None:
    """A callback is handed on with its body; the kit's refusal of another is not hidden."""
    known = httpx.post(f"{sink.url}/transfers/p1/dataflow/completed", json={"state": "COMPLETED"})
    other = httpx.post(f"{sink.url}/transfers/p2/dataflow/completed", json={})
    assert (known.status_code, known.json()) == (200, {"state": "COMPLETED"})
    assert other.status_code == 404
    assert sink.received == []


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_data_is_taken_at_the_address_that_the_kit_names(sink: ForwardingSink, method: str) -> None:
    """The kit names its root as the endpoint to push to."""
    answer = httpx.request(method, f"{sink.url}/", content=b"x" * 1_000_000)
    assert answer.status_code == 201
    assert sink.received == [1_000_000]


def test_a_test_that_did_not_run_is_a_failure() -> None:
    """Nothing is left out: a test of the list that the kit did not report counts as failed."""
    ran = Outcome(test="dp_c_pull_01_01", status="passed", title="DP_C_PULL:01-01: Verify", reason="")
    found = report.complete([ran], configuration.TESTS)
    assert len(configuration.TESTS) == len(found)
    assert [ran] == [one for one in found if one.passed]
    assert "1 passed, 27 failed" in report.page(found, kit_from="here")


def test_a_skipped_test_is_not_passed() -> None:
    """The kit can't leave a test out without the page saying so."""
    skipped = Outcome(test="dp_c_pull_01_01", status="skipped", title="DP_C_PULL:01-01: V", reason="off")
    text = report.page([skipped], kit_from="here")
    assert "0 passed, 1 failed" in text
    assert "| DP_C_PULL:01-01 | V | skipped | off |" in text
    assert "not complete" in text


def test_each_test_of_the_list_has_a_dataset_that_the_plane_knows() -> None:
    """A dataset id that is misspelt would make a test fail for the rig's fault."""
    known = {configuration.READY, configuration.SHORT, configuration.DEFERRED}
    chosen = configuration.choices()
    assert known == {value for name, value in chosen.items() if name.endswith("_DATASETID")}
    assert len(configuration.TESTS) == sum(name.endswith("_DATASETID") for name in chosen)
