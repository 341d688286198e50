"""An independent S3 client for tests: botocore, so that our own S3 calls are not their own witness."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import botocore.session
from botocore.config import Config


class S3Server(Protocol):
    """What the S3 servers of the tests have in common."""

    access_key_id: str
    secret_access_key: str

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        ...


def s3_client(server: S3Server, *, endpoint_url: str | None = None) -> Any:
    """Return a botocore S3 client for a server, optionally by way of a proxy."""
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=endpoint_url or server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
    )


def keys(client: Any, bucket: str) -> list[str]:
    """Return every key of a bucket."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def digests(client: Any, bucket: str) -> dict[str, str]:
    """Return the SHA-256 of every object of a bucket, by key."""
    return {key: digest(client, bucket, key) for key in keys(client, bucket)}


def digest(client: Any, bucket: str, key: str) -> str:
    """Return the SHA-256 of an object, read in pieces."""
    total = hashlib.sha256()
    for piece in client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20):
        total.update(piece)
    return total.hexdigest()


def open_uploads(client: Any, bucket: str, *prefixes: str) -> list[str]:
    """Return the ids of multipart uploads that are neither completed nor aborted.

    Args:
        client: Of the server.
        bucket: Whose.
        prefixes: Keys to ask for besides all: some servers list uploads of an exact prefix only.
    """
    found = set()
    for prefix in ("", *prefixes):
        answer = client.list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        found |= {upload["UploadId"] for upload in answer.get("Uploads", [])}
    return sorted(found)
