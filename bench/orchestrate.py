"""How quickly requests of many entries are accepted when they come at once, and how they end.

    .venv/bin/python bench/orchestrate.py [--requests 50] [--entries 500] [--seconds 60]

A real ``dataferry serve``, a stand-in for the connector and a small HTTP server, all on this machine. Prints
the times of acceptance, then every five seconds how many entries are saved and the service's memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
from tests.servers.edc import EdcConnector
from tests.servers.http_store import HttpStore, Kept
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, entry

from dataferry.demo.planes import PlaneProcess


def _accepted(url: str, body: bytes, requests: int) -> list[float]:
    """Post all requests at once; return how long each took to be answered, in seconds."""
    times: list[float] = []
    together = threading.Barrier(requests)

    def post() -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            client.get(f"{url}/healthz")
            together.wait()
            began = time.perf_counter()
            headers = {"X-Api-Key": KEY, "Content-Type": "application/json"}
            client.post(f"{url}/orchestrate", content=body, headers=headers).raise_for_status()
            times.append(time.perf_counter() - began)

    threads = [threading.Thread(target=post) for _ in range(requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(times)


def _ended(plane: PlaneProcess) -> tuple[int, int]:
    with httpx.Client(trust_env=False, timeout=60, headers={"X-Api-Key": KEY}) as client:
        found = client.get(f"{plane.url}/status").json()["response"]["orchestration_processes"].values()
    return sum(one["entries_saved"] for one in found), sum(one["entries_failed"] for one in found)


def _memory(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--entries", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        EdcConnector(key=CONNECTOR_KEY) as edc,
        HttpStore() as data,
    ):
        data.objects["/c"] = Kept(b"x" * 100)
        edc.offer("c", f"{data.url}/c")
        settings = {
            "egress": {"allow_private_networks": True},
            "orchestrator": {
                "api_key": KEY,
                "data_storage_path": f"{directory}/stored",
                "connectors": [{"address": edc.address, "api_key": CONNECTOR_KEY}],
            },
        }
        plane = PlaneProcess("orchestrator", Path(directory) / "plane", settings)
        with plane:
            request = {"data": [entry("c")] * asked.entries, "connectorAddress": edc.address}
            times = _accepted(plane.url, json.dumps(request).encode(), asked.requests)
            print(
                f"accepted, ms: least {times[0] * 1000:.0f}, median {statistics.median(times) * 1000:.0f},"
                f" most {times[-1] * 1000:.0f}"
            )
            began = time.monotonic()
            while time.monotonic() - began < asked.seconds:
                saved, failed = _ended(plane)
                print(
                    f"{time.monotonic() - began:.0f} s: {saved} saved, {failed} failed,"
                    f" {_memory(plane.process.pid)} KiB"
                )
                if saved + failed == asked.requests * asked.entries:
                    break
                time.sleep(5)


if __name__ == "__main__":
    main()
