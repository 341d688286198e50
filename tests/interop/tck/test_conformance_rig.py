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
from tests.interop.tck.relay import Exchange
from tests.interop.tck.schemas import MessageSchemas


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
    assert "1 passed, 27 failed" in report.page(found, [], kit_from="here")


def test_a_skipped_test_is_not_passed() -> None:
    """The kit can't leave a test out without the page saying so."""
    skipped = Outcome(test="dp_c_pull_01_01", status="skipped", title="DP_C_PULL:01-01: V", reason="off")
    text = report.page([skipped], [], kit_from="here")
    assert "0 passed, 1 failed" in text
    assert "| DP_C_PULL:01-01 | V | skipped | off |" in text
    assert "not complete" in text


def test_each_test_of_the_list_has_a_dataset_that_the_plane_knows() -> None:
    """A dataset id that is misspelt would make a test fail for the rig's fault."""
    known = {configuration.READY, configuration.SHORT, configuration.DEFERRED}
    chosen = configuration.choices()
    assert known == {value for name, value in chosen.items() if name.endswith("_DATASETID")}
    assert len(configuration.TESTS) == sum(name.endswith("_DATASETID") for name in chosen)


@pytest.fixture(scope="module")
def schemas() -> MessageSchemas:
    """Two messages, one of which holds the other's address."""
    address = {"type": "object", "required": ["@type"]}
    status = {
        "$id": "a-relative-id.json",
        "type": "object",
        "required": ["state"],
        "properties": {
            "dataAddress": {"$ref": "https://w3id.org/dspace/2025/1/transfer/data-address-schema.json"}
        },
    }
    return MessageSchemas(
        {"DataFlowStatusMessage.schema.json": status, "DataFlowStartMessage.schema.json": {"type": "object"}},
        address,
    )


def _start(answer: bytes, *, status: int = 200, location: str = "") -> Exchange:
    return Exchange(
        method="POST",
        path="/api/v1/dataflows/start",
        request=b"{}",
        status=status,
        answer=answer,
        location=location,
    )


def test_a_message_that_differs_from_its_schema_is_named(schemas: MessageSchemas) -> None:
    """A field that is missing, also in the address, whose schema is another's, and what is no JSON."""
    missing, nested, garbage = schemas.check(
        [_start(b"{}"), _start(b'{"state": "STARTED", "dataAddress": {}}'), _start(b"oops")]
    )[::2]
    assert missing.ours
    assert missing.faults == ("$: 'state' is a required property",)
    assert nested.faults == ("$.dataAddress: '@type' is a required property",)
    assert garbage.faults == ("it is no JSON",)


def test_a_callback_is_held_against_the_schema_whatever_it_was_answered(schemas: MessageSchemas) -> None:
    """What the plane sends is checked; that the kit's server did not want it is no excuse."""
    sent = Exchange(
        method="POST", path="/transfers/p1/dataflow/errored", request=b"{}", status=404, answer=b""
    )
    (checked,) = schemas.check([sent])
    assert (checked.what, checked.ours, len(checked.faults)) == ("callback errored", True, 1)


@pytest.mark.parametrize(
    ("location", "faults"), [("/api/v1/dataflows/p1/status", 0), ("", 1), ("/dataflows/status", 1)]
)
def test_an_answer_of_202_says_where_to_ask(schemas: MessageSchemas, location: str, faults: int) -> None:
    """The Location header is as much a part of the answer as its body."""
    answer, request = schemas.check([_start(b'{"state": "STARTING"}', status=202, location=location)])
    assert faults == len(answer.faults)
    assert not request.ours


def test_a_refused_message_is_not_held_against_a_schema(schemas: MessageSchemas) -> None:
    """A problem document is no message of the specification."""
    assert schemas.check([_start(b"{}", status=400)]) == []
