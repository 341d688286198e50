"""Redaction of log lines."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.secrets import redaction
from dataferry.secrets.redaction import MASK, MAX_REMEMBERED, SecretValues, redact, secrets_in

SECRET = 'p/a+s"s w\\rd=1'
SIGNATURE = "f00dfeedf00dfeed"


@pytest.mark.parametrize(
    "spelling", [SECRET, quote(SECRET, safe=""), quote(SECRET), json.dumps(SECRET), repr(SECRET)]
)
def test_registered_secrets_are_masked_in_every_spelling(spelling: str) -> None:
    """A secret is cut out plain, in URLs, in JSON and in reprs."""
    values = SecretValues([SECRET])
    masked = values.redact(f"before {spelling} after")
    assert masked.strip("'\"").replace("'", "").replace('"', "") == f"before {MASK} after"


def test_the_longer_secret_goes_first() -> None:
    """A secret that begins with another one leaves no rest."""
    assert SecretValues(["secret", "secret-and-more"]).redact("secret-and-more") == MASK


def test_short_values_are_no_secrets() -> None:
    """Registering a short or no value does not cut words out of the logs."""
    values = SecretValues(["test"])
    values.add(None, "", "abcde")
    assert values.redact("test abcde") == "test abcde"


def test_a_registry_shows_no_secret() -> None:
    """Its repr is a count."""
    assert "hunter2hunter2" not in repr(SecretValues(["hunter2hunter2"]))


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Bearer {SIGNATURE}",
        f"authorization: Basic {SIGNATURE}",
        f"Authorization: AWS4-HMAC-SHA256 Credential=AK/2026/x, SignedHeaders=host, Signature={SIGNATURE}",
        f"{{'Authorization': 'Bearer {SIGNATURE}'}}",
        f'{{"X-Amz-Security-Token": "{SIGNATURE}"}}',
        f"[('x-amz-security-token', '{SIGNATURE}')]",
        f"[(b'authorization', b'{SIGNATURE}')]",
        f"X-Amz-Signature: {SIGNATURE}",
        f"x-api-key={SIGNATURE}",
        f"Set-Cookie: a={SIGNATURE}; Path=/",
        f"https://s3/b/k?X-Amz-Signature={SIGNATURE}&a=b",
        f"https://s3/b/k?a=b&X-Amz-Credential={SIGNATURE}%2F2026",
        f"https://x.blob/c?sv=1&sig={SIGNATURE}",
        f"GET /data?token={SIGNATURE} 200",
        f"https://user:{SIGNATURE}@host/path",
        f"token was bearer {SIGNATURE}",
    ],
)
def test_what_looks_like_a_credential_is_masked(line: str) -> None:
    """Headers, signed URLs and passwords in URLs are masked though nobody registered them."""
    masked = redact(line)
    assert SIGNATURE not in masked
    assert MASK in masked
    assert redact(masked) == masked


@pytest.mark.parametrize(
    "line",
    [
        "the author signed the token of honour",
        "https://host:8080/path?part=3&key=a",
        "2026-11-23T01:12:14Z moved 17 objects, 3 failed: authorized by ops",
        '{"authorization": null, "objects": 3}',
    ],
)
def test_ordinary_lines_stay(line: str) -> None:
    """What is no credential is not cut."""
    assert redact(line) == line


_WORDS = (
    "Authorization proxy-authorization Set-Cookie X-API-Key x-amz-signature BEARER Basic ?token &sig ;code"
)
_ODD = "ba\u017fic coo\u212aie BAS\u0130C dfk_ https:// me:pw@host abcdefghijklmnopqrstuv /data/flow/object"
_FRAGMENTS = st.sampled_from([*_WORDS.split(), *_ODD.split(), " ", ": ", "=", '"'])


@given(text=st.lists(_FRAGMENTS | st.text(max_size=6), max_size=8).map("".join))
def test_no_pattern_matches_what_is_passed_over(text: str) -> None:
    """Lines that are soon seen to hold nothing are those that the patterns would leave as they are."""
    patterns = (
        redaction._HEADERS, redaction._QUERY, redaction._BEARER, redaction._API_KEY, redaction._USERINFO,
    )  # fmt: skip

    if redaction._is_plain(text):
        assert not [pattern for pattern in patterns if pattern.search(text)]


@pytest.mark.parametrize("secret", ["secret-1", "a-secret-that-is-longer"])
def test_a_text_as_short_as_the_shortest_secret_may_be_one(secret: str) -> None:
    """What is passed over is too short for any of them."""
    values = SecretValues([secret, "a-secret-that-is-longer"])

    assert values.redact(secret) == MASK
    assert values.redact(secret[:-1]) == secret[:-1]


def test_only_the_secret_of_a_url_goes() -> None:
    """The rest of a signed URL stays readable."""
    masked = redact(f"https://s3/b/k?X-Amz-Date=2026&X-Amz-Signature={SIGNATURE}&x-id=GetObject")
    assert masked == f"https://s3/b/k?X-Amz-Date=2026&X-Amz-Signature={MASK}&x-id=GetObject"


@given(value=st.text(min_size=1, max_size=40))
def test_json_stays_json(value: str) -> None:
    """A line of JSON with a header in it can still be read after it was masked."""
    line = json.dumps({"headers": {"Authorization": value, "Host": "h"}, "n": 1})
    assert json.loads(redact(line))["n"] == 1


def test_what_came_by_is_remembered_up_to_a_bound() -> None:
    """The ones that came by longest ago go first; what was configured stays."""
    values = SecretValues(["configured-secret"])
    values.remember("first-secret", "second-secret", None, "short")
    for number in range(MAX_REMEMBERED - 2):
        values.remember(f"secret-number-{number}")
    values.remember("first-secret")
    values.remember("one-secret-too-many")
    line = "configured-secret first-secret second-secret one-secret-too-many short"
    assert values.redact(line) == f"{MASK} {MASK} second-secret {MASK} short"


def test_secrets_are_found_by_their_names() -> None:
    """In DataAddresses and in objects of any depth; places, kinds and ordinary values are none."""
    value = {
        "endpoint": "https://store.example",
        "endpointProperties": [
            {"@type": "EndpointProperty", "name": "secretAccessKey", "value": "one"},
            {"name": "https://w3id.org/edc/v0.0.1/ns/accessKeyId", "value": "two"},
            {"name": "region", "value": "eu"},
            {"name": "tokenUrl", "value": "https://t.example"},
        ],
        "metadata": {
            "destinationDataAddress": {"sessionToken": "three", "bucket": "b", "authType": "bearer"}
        },
        "token": 7,
    }
    assert {"one", "two", "three"} == set(secrets_in(value))
