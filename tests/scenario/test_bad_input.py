"""What is wrong is refused with a reason, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.servers.plane import PULL, PUSH, TOKEN, Rig, s3_address
from tests.servers.s3_client import keys

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs


def _post(rig: Rig, content: bytes, *, verb: str = "start") -> httpx.Response:
    """POST a raw body."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    url = f"{rig.address.url}/dataflows/{verb}"
    return httpx.post(url, content=content, headers=headers, timeout=30, trust_env=False)


def _start(dataset: str, address: Any, profile: str = PUSH, **changes: Any) -> dict[str, Any]:
    return message("bad-process", dataset, profile, dataAddress=address, **changes)


def _cases(server: JuiceFs, bucket: str) -> dict[str, tuple[dict[str, Any], set[int], str]]:
    """Each wrong message, the statuses that it may be refused with, and a word of the reason."""
    good = s3_address(server, bucket)
    nowhere = {**good, "endpoint": "s3://no-such-bucket-anywhere/"}
    http_address = {**good, "endpoint": "ftp://example.com/x"}
    intruder = s3_address(server, bucket, accessKeyId="AKIANOBODY0000000001")
    wrong_secret = s3_address(server, bucket, secretAccessKey="wrong-secret-0123456789abcdefghijk")
    climbing = {**good, "endpoint": f"s3://{bucket}/a/../../b/"}
    return {
        "unknown profile": (
            _start(bucket, good, "https://example.com/carrier-pigeon-push"),
            {400},
            "profile",
        ),
        "no address for a push": (_start(bucket, None), {400}, "dataAddress"),
        "an address for a pull": (_start(bucket, good, PULL), {400}, "dataAddress"),
        "address is text": (_start(bucket, "s3://x/y"), {400, 422}, "dataAddress"),
        "malformed address": (_start(bucket, http_address), {400}, "endpoint"),
        "missing bucket": (_start(bucket, nowhere), {422}, "bucket"),
        "missing source bucket": (_start("no-such-bucket-either", good), {422}, "bucket"),
        "unknown access key": (_start(bucket, intruder), {422}, "access key"),
        "wrong secret": (_start(bucket, wrong_secret), {422}, "the secret access key"),
        "climbing key": (_start(bucket, climbing), {400}, ".."),
        "processId is a number": (_start(bucket, good, processId=17), {400, 422}, "processId"),
        "no processId": (_start(bucket, good, processId=None), {400, 422}, "processId"),
        "no messageId": (_start(bucket, good, messageId=None), {400, 422}, "messageId"),
        "metadata is a list": (_start(bucket, good, metadata=["a"]), {400, 422}, "metadata"),
    }


CASES = [
    "unknown profile",
    "no address for a push",
    "an address for a pull",
    "address is text",
    "malformed address",
    "missing bucket",
    "missing source bucket",
    "unknown access key",
    "wrong secret",
    "climbing key",
    "processId is a number",
    "no processId",
    "no messageId",
    "metadata is a list",
]


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_start_is_refused_with_its_reason(
    case: str, rig: Rig, juicefs_b: JuiceFs, source: Any, sink: Any, bucket: str
) -> None:
    """The problem document names what is wrong; no flow, no object and no callback comes of it."""
    source.put_object(Bucket=bucket, Key="one", Body=b"1")
    body, statuses, word = _cases(juicefs_b, bucket)[case]
    answer = _post(rig, json.dumps(body).encode())
    assert answer.status_code in statuses, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert word.lower() in answer.text.lower()
    assert juicefs_b.secret_access_key not in answer.text
    _nothing_is_left(rig, sink, bucket)


def test_a_body_of_two_megabytes_is_refused(rig: Rig, sink: Any, bucket: str) -> None:
    """More than the bound is 413, however good the message."""
    body = message("bad-process", bucket, PUSH, metadata={"padding": "x" * 2_000_000})
    answer = _post(rig, json.dumps(body).encode())
    assert answer.status_code == 413
    _nothing_is_left(rig, sink, bucket)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_message_is_refused(rig: Rig, sink: Any, bucket: str, content: bytes) -> None:
    """Broken, empty, deep or other JSON is a 4xx."""
    answer = _post(rig, content)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    _nothing_is_left(rig, sink, bucket)


@pytest.mark.parametrize("token", [None, "wrong-token-0123456789"])
def test_a_caller_without_the_token_is_refused(rig: Rig, bucket: str, token: str | None) -> None:
    """No token or a wrong one is 401."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = message("bad-process", bucket, PUSH)
    url = f"{rig.address.url}/dataflows/start"
    assert httpx.post(url, json=body, headers=headers, trust_env=False).status_code == 401


def _nothing_is_left(rig: Rig, sink: Any, bucket: str) -> None:
    """No flow, no object, no callback."""
    assert rig.plane.manage("GET", "/dataflows")["items"] == []
    assert keys(sink, bucket) == []
    assert [one for one in rig.control_plane.received if one.kind != "registration"] == []
