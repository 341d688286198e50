"""Copies a bucket with boto3's transfer manager, as its users would write it; one contestant's program.

Run: ``boto3_copy.py SOURCE_BUCKET SINK_BUCKET``, with two servers as JSON in ``BENCH_PAIR``.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

MIB = 1024 * 1024
THREADS = 10  # the transfer manager's own default


def main() -> None:
    """Copy every object: streamed from one client into the other's managed upload."""
    settings = json.loads(os.environ["BENCH_PAIR"])
    config = Config(max_pool_connections=2 * THREADS)
    source, sink = (
        boto3.client("s3", config=config, region_name="us-east-1", **settings[end])
        for end in ("source", "sink")
    )
    transfer = TransferConfig(
        multipart_chunksize=16 * MIB, multipart_threshold=16 * MIB, max_concurrency=THREADS
    )

    def copy(item: dict[str, Any]) -> None:
        body = source.get_object(Bucket=sys.argv[1], Key=item["Key"])["Body"]
        sink.upload_fileobj(body, sys.argv[2], item["Key"], Config=transfer)

    pages = source.get_paginator("list_objects_v2").paginate(Bucket=sys.argv[1])
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(copy, (item for page in pages for item in page.get("Contents", ()))):
            pass


if __name__ == "__main__":
    main()
