"""DIDs: where a document is asked for, and whose keys in it speak."""

from __future__ import annotations

from typing import Any

import pytest

from dataferry.domain.errors import InputError
from dataferry.secrets.did import DidDocument, document_url, is_web_did

DID = "did:web:consumer.example"
KEY = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}


@pytest.mark.parametrize(
    ("did", "url"),
    [
        ("did:web:a.example", "https://a.example/.well-known/did.json"),
        ("did:web:a.example%3A8443", "https://a.example:8443/.well-known/did.json"),
        ("did:web:a.example:people:ann", "https://a.example/people/ann/did.json"),
        ("did:web:localhost%3A80", "https://localhost:80/.well-known/did.json"),
    ],
)
def test_a_did_says_where_its_document_is(did: str, url: str) -> None:
    """Host, port and path, by https."""
    assert document_url(did) == url


def test_plain_http_is_for_this_machine_and_by_leave() -> None:
    """The development switch changes nothing for other hosts."""
    assert document_url("did:web:localhost%3A80", may_be_plain=True).startswith("http://localhost:80/")
    assert document_url("did:web:127.0.0.1", may_be_plain=True).startswith("http://127.0.0.1/")
    assert document_url("did:web:localhost.example", may_be_plain=True).startswith("https://")


@pytest.mark.parametrize(
    "did",
    [
        "",
        "did:web:",
        "did:key:z6Mk",
        "did:web:a.example%2Fpath",
        "did:web:user%40a.example",
        "did:web:a.example%3A",
        "did:web:a.example%3A99999999",
        "did:web:a.example:..",
        "did:web:a.example:x%2Fy",
        "did:web:a.example::x",
        "did:web:a.example?x",
        "did:web:a.example#key",
        "did:web:a b",
        "did:web:a.example%0d%0aHost:x",
        "did:web:%5B::1%5D",
        "did:web:" + "a" * 600,
        "https://a.example",
    ],
)
def test_what_is_no_web_did_leads_nowhere(did: str) -> None:
    """Nothing of a DID gets into a URL but host, port and plain segments."""
    assert not is_web_did(did)
    with pytest.raises(InputError):
        document_url(did)


def document(**changes: Any) -> dict[str, Any]:
    """A document with one key."""
    method = {"id": f"{DID}#one", "type": "JsonWebKey2020", "controller": DID, "publicKeyJwk": KEY}
    return {"id": DID, "verificationMethod": [method], "authentication": [f"{DID}#one"], **changes}


@pytest.mark.parametrize("kid", [f"{DID}#one", "#one", "one"])
def test_a_key_is_found_by_its_id(kid: str) -> None:
    """In full, as a fragment, or by the fragment's name."""
    assert DidDocument.of(DID, document()).key(kid) == KEY


def test_relative_ids_and_embedded_methods_are_understood() -> None:
    """A method may stand in the purpose itself, and leave the DID out of its id."""
    method = {"id": "#two", "publicKeyJwk": KEY}
    found = DidDocument.of(DID, document(verificationMethod=None, assertionMethod=[method]))

    assert found.key(f"{DID}#two") == KEY


@pytest.mark.parametrize(
    "changes",
    [
        {"authentication": []},
        {"authentication": [f"{DID}#other"]},
        {"verificationMethod": []},
        {"verificationMethod": "x"},
        {"verificationMethod": [None, 7, {"id": 7}]},
        {
            "verificationMethod": [
                {"id": f"{DID}#one", "controller": "did:web:evil.example", "publicKeyJwk": KEY}
            ]
        },
        {"verificationMethod": [{"id": f"{DID}#one", "publicKeyJwk": {**KEY, "d": "private"}}]},
        {"verificationMethod": [{"id": f"{DID}#one", "publicKeyMultibase": "z6"}]},
        {"authentication": None, "keyAgreement": [f"{DID}#one"]},
    ],
    ids=str,
)
def test_other_keys_do_not_speak_for_the_subject(changes: dict[str, Any]) -> None:
    """For another purpose, another's, of another shape, or no public one: not found."""
    assert DidDocument.of(DID, document(**changes)).key(f"{DID}#one") is None


@pytest.mark.parametrize("content", [None, [], "x", {}, {"id": "did:web:other.example"}])
def test_another_document_is_refused(content: Any) -> None:
    """A host that answers with somebody else's document proves nothing."""
    with pytest.raises(InputError):
        DidDocument.of(DID, content)
