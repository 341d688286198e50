"""XML from strangers, attributes in headers, and errors without secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.domain.errors import ProtocolError, ThrottledError
from dataferry.domain.objects import Attributes
from dataferry.mechanisms.s3 import replies
from dataferry.mechanisms.s3.attributes import (
    decode_crc,
    decode_text,
    encode_crc,
    encode_text,
    from_headers,
    strong_etag,
    to_headers,
)
from dataferry.mechanisms.s3.errors import error_of

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    "<ListBucketResult><Contents><Key>&b;</Key></Contents></ListBucketResult>"
)
ENTITY = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Error><Code>&e;</Code></Error>'


@pytest.mark.parametrize(
    "body",
    [BOMB.encode(), BOMB.replace('"1.0"', '"1.0" encoding="utf-16"').encode("utf-16"), ENTITY.encode()],
)
def test_document_types_are_refused(body: bytes) -> None:
    """No entity is ever expanded, in whatever encoding it comes."""
    with pytest.raises(ProtocolError):
        replies.parse(body, "s3.ListObjectsV2")


@pytest.mark.parametrize(
    "body", [b"", b"not xml", b"<a>", b"\xff\xfe", b'<?xml version="1.0" encoding="x"?><a/>']
)
def test_what_is_no_xml_is_refused(body: bytes) -> None:
    """The error asks whether this is S3 at all."""
    with pytest.raises(ProtocolError, match="XML"):
        replies.parse(body, "s3.ListObjectsV2")


def test_blanks_before_a_late_reply_are_skipped() -> None:
    """CompleteMultipartUpload sends blanks to keep the connection alive."""
    body = b'  \n <?xml version="1.0"?><Error xmlns="urn:x"><Code>InternalError</Code></Error>'
    assert replies.error_in(body) == ("InternalError", "")


def test_a_truncated_listing_needs_a_token() -> None:
    """Else the rest of the bucket would be silently left out."""
    root = replies.parse(b"<L><IsTruncated>true</IsTruncated></L>", "")
    with pytest.raises(ProtocolError):
        replies.listing(root)


def test_keys_are_decoded_only_where_the_listing_says_that_they_are_encoded() -> None:
    """``+`` and ``%`` are plain characters of plain listings."""
    entry = "<Contents><Key>a+b%2B</Key><Size>1</Size></Contents>"
    plain = replies.listing(replies.parse(f"<L>{entry}</L>".encode(), ""))
    coded = replies.listing(replies.parse(f"<L><EncodingType>url</EncodingType>{entry}</L>".encode(), ""))
    assert [page.objects[0].key for page in (plain, coded)] == ["a+b%2B", "a b+"]


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), max_size=200))
def test_any_text_survives_headers(text: str) -> None:
    """Values travel in ASCII, in words of at most 75 characters; ASCII ones as they are."""
    encoded = encode_text(text)
    assert encoded.isascii()
    assert encoded == text if text.isascii() else max(map(len, encoded.split(" "))) <= 75
    if not text.isascii():
        assert decode_text(encoded) == text


def test_attributes_of_a_reply() -> None:
    """``aws-chunked`` is cut out, raw UTF-8 is read, and line breaks never come through."""
    headers: dict[str, str] = {}
    headers["content-type"] = "text/plain"
    headers["content-encoding"] = "aws-chunked, gzip"
    headers["x-amz-meta-name"] = "grüße".encode().decode("latin-1")
    headers["x-amz-meta-q"] = "=?UTF-8?Q?gr=C3=BC=C3=9Fe_da?="
    headers["x-amz-meta-folded"] = "a\tb"
    found = from_headers(headers)
    assert found == Attributes(
        content_type="text/plain",
        content_encoding="gzip",
        user_metadata=(("folded", "a b"), ("name", "grüße"), ("q", "grüße da")),
    )
    assert to_headers(Attributes(user_metadata=(("a", "x\r\ny: z"),))) == {"x-amz-meta-a": "x y: z"}


def test_only_aws_chunked_is_no_encoding() -> None:
    """An object sent in signed chunks has none of its own."""
    assert from_headers({"content-encoding": "aws-chunked"}).content_encoding is None


@given(st.integers(0, 2**64 - 1))
def test_checksums_round_trip(crc: int) -> None:
    """Eight bytes, big-endian, base64."""
    assert decode_crc(encode_crc(crc)) == crc


def test_checksums_and_etags_that_prove_nothing_are_none() -> None:
    """Composite checksums and weak ETags are not those of the bytes."""
    assert [decode_crc(it) for it in (None, "", "AAAA", "!!", "AAAAAAAAAAA=-2")] == [None] * 5
    assert [strong_etag(it) for it in ('"abc"', 'W/"abc"', "abc", "", None)] == [
        "abc",
        None,
        "abc",
        None,
        None,
    ]


def test_an_error_says_where_and_why_without_a_strangers_secrets() -> None:
    """Messages that quote signatures are dropped, long ones cut."""
    error = error_of(
        operation="s3.GetObject",
        where="s3://b/k",
        status=503,
        code="SlowDown",
        message="x" * 500,
        retry_after_s=2.0,
    )
    assert isinstance(error, ThrottledError)
    assert error.is_temporary
    assert len(str(error)) < 300
    quoted = error_of(operation="o", where="w", status=403, code="Odd", message="X-Amz-Signature=abcdef")
    assert "abcdef" not in str(quoted)
