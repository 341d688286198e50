"""How the plane under test is configured, and which of it each test of the kit asks for.

Nothing here is known to the product: datasets and landing zones as any operator may write them. A test
differs from another only by the dataset and the profile that it names, which the kit lets its user choose:

* ``ready``: prepared within the call; nothing moves, since the other side would move it or no address came.
* ``short``: its bytes take some seconds (rate-limited), so that STARTED is seen before ``completed``.
* ``deferred``: as ``short``, but prepared after the call (``prepare_wait_s = 0``): it is answered with 202.

The landing zone of ``short`` has a fallback ``source``: the kit's ``started`` notification brings no address,
and still expects data to arrive. All pushes of the kit go to one URL, where the plane lets one flow write at
a time: so those that a test leaves running must end soon.
"""

from __future__ import annotations

from typing import Any

from tests.servers.plane import CALLBACK_TOKEN, MIB, TOKEN, s3_location
from tests.servers.s3_client import S3Server

S3_PULL = "https://w3id.org/dspace-sig/profile/s3-pull"
S3_PUSH = "https://w3id.org/dspace-sig/profile/s3-push"

READY = "conformance-ready"
SHORT = "conformance-short"
DEFERRED = "conformance-deferred"
# No test of the kit sees ``errored``: the rig asks for what is not there.
MISSING = "conformance-missing"

SOURCE_BUCKET = "conformance-source"
LANDING_BUCKET = "conformance-landing"
# Two and a half seconds.
OBJECT_BYTES = 10 * MIB
BYTES_PER_S = 4 * MIB
# Tests leave flows behind that are still moving: they take no place from those that follow.
FLOW_CONCURRENCY = 32

# Every test of a data plane that the kit's release has; it runs them all, known here or not.
TESTS = (
    *(f"dp_c_pull_{case}" for case in ("01_01", "01_02", "02_01", "02_02", "03_01", "04_01")),
    *(f"dp_p_pull_{case}" for case in ("01_01", "01_02", "02_01", "02_02", "04_01")),
    *(f"dp_c_push_{case}" for case in ("01_01", "01_02", "02_01", "02_02", "03_01", "04_01")),
    *(f"dp_p_push_{case}" for case in ("01_01", "01_02", "02_01", "02_02", "03_01", "04_01")),
    *(f"dp_c_http_pull_{case}" for case in ("01_01", "02_01")),
    *(f"dp_p_http_pull_{case}" for case in ("01_01", "02_01", "02_02")),
)
# Tests whose subject is the S3 wire as well as any: the kit's own default would be its bare ``http-pull``.
S3_TESTS = {"dp_c_pull": S3_PULL, "dp_p_pull": S3_PULL, "dp_c_push": S3_PUSH}


def settings(
    provider: S3Server, consumer: S3Server, callbacks_url: str, *, public_url: str, did: str
) -> dict[str, Any]:
    """Return the plane's configuration.

    Args:
        provider: Has the data.
        consumer: Where data lands.
        callbacks_url: The kit's signaling API.
        public_url: Where the plane is reached by https: its data, and its refresh endpoints.
        did: Of the plane's participant; the kit is a partner with a DID too, whose document it serves by
            plain http.
    """
    return {
        "server": {"public_url": public_url, "allow_http_on_loopback": True},
        "participants": [{"id": "default", "did": did}],
        "control_planes": [
            {
                "id": "conformance-kit",
                "endpoint": callbacks_url,
                "token": TOKEN,
                "callback_token": CALLBACK_TOKEN,
                "register": True,
            }
        ],
        "locations": {
            "source": _shared(provider),
            "landing": _shared(consumer),
        },
        "datasets": [
            _dataset(READY),
            _dataset(SHORT, bandwidth_bytes_per_s=BYTES_PER_S),
            _dataset(DEFERRED, bandwidth_bytes_per_s=BYTES_PER_S, prepare_wait_s=0),
            {"id": MISSING, "source": f"source:{SOURCE_BUCKET}/missing.bin", "prepare_wait_s": 0},
        ],
        "landing_zones": [
            _zone(READY, require_token_renewal=True),
            _zone(SHORT, source=f"source:{SOURCE_BUCKET}/data.bin", bandwidth_bytes_per_s=BYTES_PER_S),
            _zone(DEFERRED, prepare_wait_s=0),
        ],
        "engine": {"flow_concurrency": FLOW_CONCURRENCY, "workers": 2},
        "egress": {"allow_private_networks": True},
    }


def _shared(server: S3Server) -> dict[str, Any]:
    """A location whose credentials the operator named for sharing: what grants hand out."""
    return s3_location(
        server,
        share_access_key_id=server.access_key_id,
        share_secret_access_key=server.secret_access_key,
    )


def _dataset(dataset_id: str, **more: Any) -> dict[str, Any]:
    return {"id": dataset_id, "source": f"source:{SOURCE_BUCKET}/data.bin", **more}


def _zone(dataset_id: str, **more: Any) -> dict[str, Any]:
    """A landing zone of one dataset; each process lands below a name of its own."""
    return {
        "name": dataset_id,
        "datasets": [dataset_id],
        "sink": f"landing:{LANDING_BUCKET}/{{processId}}/",
        **more,
    }


def choices() -> dict[str, str]:
    """Return the kit's properties that name dataset, profile and agreement of each test."""
    chosen: dict[str, str] = {}
    for test in TESTS:
        group, case = test[:-6], test[-5:]
        prefix = test.upper()
        usual = SHORT if group == "dp_p_push" else READY
        chosen[f"{prefix}_DATASETID"] = {"03_01": SHORT, "04_01": DEFERRED}.get(case, usual)
        chosen[f"{prefix}_AGREEMENTID"] = "conformance-agreement"
        if group in S3_TESTS:
            chosen[f"{prefix}_PROFILE"] = S3_TESTS[group]
    return chosen
