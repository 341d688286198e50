"""What is moved in a comparison, made on the spot, and the look afterwards that it has arrived."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from servers import Server

KIB, MIB = 1024, 1024 * 1024
PART_BYTES = 16 * MIB
THREADS = 8
# What is compared of a cargo that has arrived: so many objects, and so much at three places of each.
SAMPLED_OBJECTS, SAMPLED_BYTES = 64, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """Some objects of one size, in a bucket of that name.

    Attributes:
        name: Of the bucket, and in results.
        folder: Of all keys.
    """

    name: str
    objects: int
    object_bytes: int
    folder: str = ""

    @property
    def total_bytes(self) -> int:
        """Of all objects."""
        return self.objects * self.object_bytes

    @property
    def words(self) -> str:
        """How much it is, for people."""
        if self.objects == 1:
            return f"one object of {sized(self.object_bytes)}"
        return f"{self.objects:,} objects of {sized(self.object_bytes)}"

    def keys(self) -> Iterator[str]:
        """The keys, in ten folders."""
        for number in range(self.objects):
            yield f"{self.folder}folder-{number % 10}/object-{number:06}.bin"


def sized(count: int) -> str:
    """Write a number of bytes in the largest unit that leaves it whole."""
    for name, unit in (("GiB", 1024 * MIB), ("MiB", MIB), ("KiB", KIB)):
        if count and count % unit == 0:
            return f"{count // unit:,} {name}"
    return f"{count:,} bytes"


def client(server: Server, *, connections: int = THREADS) -> Any:
    """Return a boto3 client for making and checking data."""
    return boto3.client(
        "s3",
        endpoint_url=server.plain_url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        config=Config(max_pool_connections=connections, request_checksum_calculation="when_required"),
    )


def make(server: Server, cargo: Cargo) -> None:
    """Make the bucket and its objects, of random bytes."""
    s3, block = client(server), os.urandom(PART_BYTES)
    s3.create_bucket(Bucket=cargo.name)
    with ThreadPoolExecutor(THREADS) as threads:
        if cargo.object_bytes <= PART_BYTES:
            puts = [
                threads.submit(s3.put_object, Bucket=cargo.name, Key=key, Body=_slice(block, number, cargo))
                for number, key in enumerate(cargo.keys())
            ]
            for put in puts:
                put.result()
            return
        for key in cargo.keys():  # noqa: SIM118 - a method of its own
            _make_large(s3, threads, cargo, key, block)


def _slice(block: bytes, number: int, cargo: Cargo) -> bytes:
    start = number * 64 % (PART_BYTES - cargo.object_bytes + 1)
    return block[start : start + cargo.object_bytes]


def _make_large(s3: Any, threads: ThreadPoolExecutor, cargo: Cargo, key: str, block: bytes) -> None:
    where = {"Bucket": cargo.name, "Key": key}
    upload_id = s3.create_multipart_upload(**where)["UploadId"]
    sizes = [PART_BYTES] * (cargo.object_bytes // PART_BYTES)
    if cargo.object_bytes % PART_BYTES:
        sizes.append(cargo.object_bytes % PART_BYTES)

    def put(part: tuple[int, int]) -> dict[str, object]:
        number, size = part
        # Parts differ everywhere, so that a sample knows one from another.
        turn = number * 4 * KIB % PART_BYTES
        body = (block[turn:] + block[:turn])[:size]
        reply = s3.upload_part(**where, UploadId=upload_id, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": reply["ETag"]}

    parts = list(threads.map(put, enumerate(sizes, 1)))
    s3.complete_multipart_upload(**where, UploadId=upload_id, MultipartUpload={"Parts": parts})


def _check_listing(server: Server, bucket: str, cargo: Cargo) -> None:
    """Compare a bucket's listing with the cargo.

    Raises:
        SystemExit: Objects are missing, or of another size.
    """
    found = {item["Key"]: item["Size"] for page in _pages(server, bucket) for item in page}
    if found != dict.fromkeys(cargo.keys(), cargo.object_bytes):
        raise SystemExit(f"{bucket}: {len(found)} objects of {cargo.objects} arrived, or with wrong sizes")


def check(source: Server, sink: Server, bucket: str, cargo: Cargo) -> None:
    """Look that a bucket has what was to be brought there: every name and size, and a sample of the bytes.

    The sample is spread: ``SAMPLED_OBJECTS`` at most, the first and the last among them, and of each the
    first, the middle and the last ``SAMPLED_BYTES``, which is all of a small one. Takes no part in what is
    measured.

    Args:
        source: Where the cargo was made, in the bucket of its name.
        sink: Where it was brought.
        bucket: There.
        cargo: What it was.

    Raises:
        SystemExit: Objects are missing, or of another size, or have other bytes.
    """
    _check_listing(sink, bucket, cargo)
    ends = (client(source), cargo.name), (client(sink), bucket)
    with ThreadPoolExecutor(THREADS) as threads:

        def same(key: str) -> bool:
            return all(
                _read(*ends[0], key, start, size) == _read(*ends[1], key, start, size)
                for start, size in _sampled_ranges(cargo.object_bytes)
            )

        keys = _sampled_keys(cargo)
        for key, is_same in zip(keys, threads.map(same, keys), strict=True):
            if not is_same:
                raise SystemExit(f"{bucket}: {key} arrived with other bytes than it has at its source")


def _sampled_keys(cargo: Cargo) -> list[str]:
    """Names spread evenly over all, the first and the last among them."""
    keys, most = list(cargo.keys()), min(cargo.objects, SAMPLED_OBJECTS)
    return [keys[number * (len(keys) - 1) // max(1, most - 1)] for number in range(most)]


def _sampled_ranges(object_bytes: int) -> list[tuple[int, int]]:
    """Where an object is read, and how many bytes: all of one that is no longer than that."""
    if object_bytes <= 3 * SAMPLED_BYTES:
        return [(0, object_bytes)]
    last = object_bytes - SAMPLED_BYTES
    return [(start, SAMPLED_BYTES) for start in (0, last // 2, last)]


def _read(s3: Any, bucket: str, key: str, start: int, size: int) -> bytes:
    if not size:
        return b""
    reply = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{start + size - 1}")
    data: bytes = reply["Body"].read()
    return data


def remove(server: Server, bucket: str) -> None:
    """Remove a bucket's objects."""
    s3 = client(server)
    # botocore has given up this header for checksums that MinIO's older gateways do not know.
    s3.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
    for page in list(_pages(server, bucket)):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": item["Key"]} for item in page]})


def _add_md5(params: dict[str, Any], **_: object) -> None:
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def _pages(server: Server, bucket: str) -> Iterator[list[dict[str, Any]]]:
    for page in client(server).get_paginator("list_objects_v2").paginate(Bucket=bucket):
        if page.get("Contents"):
            yield page["Contents"]
