"""Our signatures are those of botocore."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import patch

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from dataferry.mechanisms.s3.signing import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    Credentials,
    Signer,
    encode_path,
    encode_query,
)

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
TOKENS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1))  # noqa: DTZ001 - made aware below


def theirs(
    method: str,
    url: str,
    headers: dict[str, str],
    now: datetime,
    credentials: Credentials,
    region: str,
    body: bytes,
) -> str:
    """Return botocore's Authorization header."""
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    if not body:
        request.context["payload_signing_enabled"] = False
        request.context["client_config"] = SimpleNamespace(s3={"payload_signing_enabled": False})
    else:
        request.context["client_config"] = SimpleNamespace(s3={"payload_signing_enabled": True})
    signer = S3SigV4Auth(
        BotoCredentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token),
        "s3",
        region,
    )
    with patch("botocore.auth.get_current_datetime", return_value=now):
        signer.add_auth(request)
    return str(request.headers["Authorization"])


@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "POST", "DELETE"]),
    key=KEYS,
    query=st.lists(st.tuples(TOKENS, KEYS), max_size=4, unique_by=lambda it: it[0]),
    extra=st.dictionaries(TOKENS.map(lambda it: "x-amz-meta-" + it), VALUES, max_size=4),
    now=TIMES,
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    token=st.none() | st.text("abcXYZ/+=", min_size=1, max_size=40),
    region=st.sampled_from(["us-east-1", "eu-central-1"]),
    body=st.binary(max_size=20),
)
def test_signatures_equal_botocores(
    method: str,
    key: str,
    query: list[tuple[str, str]],
    extra: dict[str, str],
    now: datetime,
    secret: str,
    token: str | None,
    region: str,
    body: bytes,
) -> None:
    """For any key, query, headers, credentials, region, day and body, signed or not."""
    credentials = Credentials(access_key_id="AKIATEST", secret_access_key=secret, session_token=token)
    now = now.replace(tzinfo=UTC)
    path, text = encode_path(f"/bucket/{key}"), encode_query(query)
    digest = hashlib.sha256(body).hexdigest() if body else UNSIGNED_PAYLOAD
    ours = Signer(region).sign(
        method,
        path,
        text,
        {"Host": "localhost:9000", **extra},
        credentials=credentials,
        now=now,
        payload_sha256=digest,
    )
    url = f"http://localhost:9000{path}" + (f"?{text}" if text else "")
    assert ours["Authorization"] == theirs(method, url, extra, now, credentials, region, body)


def test_the_kept_key_is_of_its_day_and_secret() -> None:
    """A signer that lives past midnight, or whose credentials are renewed, signs as a fresh one does."""
    first = Credentials(access_key_id="AKIATEST", secret_access_key="one")
    second = Credentials(access_key_id="AKIATEST", secret_access_key="two")
    evening = datetime(2026, 11, 23, 23, 59, tzinfo=UTC)
    signer = Signer("us-east-1")
    for credentials, now in (
        (first, evening),
        (first, evening + timedelta(minutes=2)),
        (second, evening),
        (first, evening),
    ):
        ours, fresh = (
            it.sign(
                "GET", "/b", "", {"Host": "h"}, credentials=credentials, now=now, payload_sha256=EMPTY_SHA256
            )
            for it in (signer, Signer("us-east-1"))
        )
        assert ours == fresh


def test_credentials_do_not_show() -> None:
    """Neither repr nor str has any of it."""
    shown = repr(Credentials(access_key_id="AKIAVISIBLE", secret_access_key="hidden", session_token="token"))
    assert not [it for it in ("AKIAVISIBLE", "hidden", "token='") if it in shown]
