"""Run the conformance kit of Data Plane Signaling against a real ``dataferry serve``.

``make conformance`` starts this. It starts two S3 servers, a plane, and the place where the kit's data goes;
runs every data plane test that the kit has; prints ``N passed, N failed``; and writes
docs/reference/conformance.md. Every message that passes is also held against the published JSON Schemas. Exit
code 0 only if all passed and no message of ours differs from its schema; 2 if the kit could not be run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.interop.tck import configuration, report
from tests.interop.tck.forwarding_sink import ForwardingSink
from tests.interop.tck.kit import Kit, KitError, Outcome
from tests.interop.tck.relay import Exchange, Relay
from tests.interop.tck.schemas import MessageSchemas
from tests.servers.authority import Authority, TlsFront
from tests.servers.plane import TOKEN
from tests.servers.s3_client import s3_client

from dataferry.demo.control_plane import PlaneAddress, ScriptedControlPlane, message
from dataferry.demo.planes import PlaneProcess
from dataferry.demo.processes import free_port
from dataferry.demo.servers import JuiceFs

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "conformance.md"
# The kit's own: how long it waits for a state or a callback.
WAIT_S = 15


def run(directory: Path, kit: Kit) -> tuple[list[Outcome], list[Exchange]]:
    """Run the kit against a plane; what was started is ended.

    Returns:
        What became of each test, and every message that passed between plane and control plane.

    Args:
        directory: For servers, the plane and their logs.
        kit: Resolved.
    """
    with ExitStack() as stack:
        for name in ("provider", "consumer"):
            # The logs of the kit and the plane stay; what the S3 servers stored need not.
            stack.callback(shutil.rmtree, directory / name, ignore_errors=True)
        provider = stack.enter_context(JuiceFs(directory / "provider"))
        consumer = stack.enter_context(JuiceFs(directory / "consumer"))
        _fill(provider, consumer)
        kit_port, plane_port = free_port(), free_port()
        sink = stack.enter_context(ForwardingSink(kit_port))
        # The profile has addresses of the gateway be https, and the kit follows them there.
        authority = Authority(directory)
        front = stack.enter_context(TlsFront(plane_port, authority.certificate("localhost")))
        provider_did = f"did:web:localhost%3A{front.port}"
        settings = configuration.settings(
            provider,
            consumer,
            sink.url,
            public_url=f"https://localhost:{front.port}",
            did=provider_did,
        )
        plane = stack.enter_context(PlaneProcess("plane", directory / "plane", settings, port=plane_port))
        relay = stack.enter_context(Relay(plane.port))
        found = kit.run(
            {
                "dataspacetck.dps.dataplane.url": f"{relay.url}/api/v1",
                "dataspacetck.dps.dataplane.authorization": f"Bearer {TOKEN}",
                "dataspacetck.dps.default.wait": str(WAIT_S),
                "dataspacetck.dps.dataplane.provider.id": provider_did,
                "dataspacetck.dps.dataplane.counterparty.id": f"did:web:localhost%3A{sink.port}",
                "dataspacetck.callback.address": sink.url,
                "dataspacetck.host": "127.0.0.1",
                "dataspacetck.port": str(kit_port),
                "dataspacetck.debug": "true",
                "dataspacetck.ansi": "false",
                **configuration.choices(),
            },
            trust=authority.java_trust_store(),
        )
        if set(sink.received) != {configuration.OBJECT_BYTES}:
            raise KitError(f"not the dataset arrived at the sink, but objects of {set(sink.received)} bytes")
        _say_the_rest(relay, sink)
        return found, [*relay.exchanges, *sink.exchanges]


def _say_the_rest(relay: Relay, sink: ForwardingSink) -> None:
    """Exchange the messages that the kit does not: ``errored``, and the words of RC2."""
    control_plane = ScriptedControlPlane()
    plane = PlaneAddress(url=f"{relay.url}/api/v1", token=TOKEN)
    control_plane.start_flow(plane, message("missing", configuration.MISSING, configuration.S3_PULL))
    older = message("older", configuration.READY, configuration.S3_PULL)
    older["transferType"] = older.pop("profile")
    control_plane.prepare(plane, {**older, "callbackAddress": sink.url})
    control_plane.status(plane, "older")
    control_plane.notify(plane, "older", "terminate", reason="enough")
    deadline = time.monotonic() + WAIT_S
    while not any(one.path.endswith("/errored") for one in sink.exchanges):
        if time.monotonic() > deadline:
            raise KitError(f"no errored callback within {WAIT_S} s")
        time.sleep(0.1)


def _fill(provider: JuiceFs, consumer: JuiceFs) -> None:
    """Make the buckets, and the object that all datasets are."""
    client = s3_client(provider)
    client.create_bucket(Bucket=configuration.SOURCE_BUCKET)
    body = bytes(range(256)) * (configuration.OBJECT_BYTES // 256)
    client.put_object(Bucket=configuration.SOURCE_BUCKET, Key="data.bin", Body=body)
    s3_client(consumer).create_bucket(Bucket=configuration.LANDING_BUCKET)


def main() -> int:
    """Run, print and write; return the exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--kit-from", default="Maven Central", help="where the kit came from, for the page (%(default)s)"
    )
    kit_from = options.parse_args().kit_from
    directory = Path(tempfile.mkdtemp(prefix="dataferry-conformance-"))
    kit = Kit(directory / "kit")
    try:
        kit.resolve()
        found, exchanges = run(directory, kit)
        checked = MessageSchemas.of_kit(kit.archive).check(exchanges)
    except KitError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - the command's output
        return 2
    found = report.complete(found, configuration.TESTS)
    PAGE.write_text(report.page(found, checked, kit_from=kit_from))
    for one in found:
        print(f"{one.status:7} {one.title}")  # noqa: T201
        if not one.passed:
            print(f"        {one.reason}")  # noqa: T201
    passed = sum(one.passed for one in found)
    faults = [f"{one.what}: {fault}" for one in checked if one.ours for fault in one.faults]
    print(*faults, f"{len(checked)} messages held against their schemas", sep="\n")  # noqa: T201
    print(f"logs: {directory}")  # noqa: T201
    print(f"{passed} passed, {len(found) - passed} failed")  # noqa: T201
    return 0 if passed == len(found) and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
