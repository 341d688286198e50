"""The servers of the tests do what other tests rely on."""

from __future__ import annotations

import http.client

import botocore.exceptions
import pytest
from tests.servers.moto import MotoServer
from tests.servers.plane import Rig
from tests.servers.proxy import Faults, Proxy
from tests.servers.s3_client import digests, open_uploads, s3_client

from dataferry.demo.servers import JuiceFs


def test_two_s3_servers_run_at_once_and_know_only_their_own_keys(
    juicefs_pair: tuple[JuiceFs, JuiceFs], bucket: str
) -> None:
    """Each server takes its own credentials and refuses the other's."""
    ours, theirs = juicefs_pair
    s3_client(ours).create_bucket(Bucket=bucket)
    with pytest.raises(botocore.exceptions.ClientError, match="InvalidAccessKeyId"):
        s3_client(ours, endpoint_url=theirs.endpoint_url).list_buckets()


def test_moto_answers(moto_s3: MotoServer, bucket: str) -> None:
    """What is put is there."""
    client = s3_client(moto_s3)
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="a", Body=b"")
    assert list(digests(client, bucket)) == ["a"]


def test_open_uploads_are_seen(juicefs: JuiceFs, bucket: str) -> None:
    """An upload that nobody completed shows."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket=bucket)
    upload = client.create_multipart_upload(Bucket=bucket, Key="deep/er/key")["UploadId"]
    assert open_uploads(client, bucket, "deep/er/key") == [upload]


def test_the_proxy_counts_and_cuts(juicefs: JuiceFs, bucket: str) -> None:
    """Bytes are counted both ways; a connection dies at the byte that was set."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="a", Body=bytes(1 << 20))
    with Proxy(juicefs.port) as proxy:
        through = s3_client(juicefs, endpoint_url=proxy.endpoint_url)
        through.get_object(Bucket=bucket, Key="a")["Body"].read()
        # It counts what it has passed on, and so a moment after it is here.
        Rig.wait_for(lambda: proxy.bytes_down > 1 << 20, what="counted")
        proxy.faults = Faults(cut_down_after_bytes=300_000)
        with pytest.raises((botocore.exceptions.BotoCoreError, OSError, http.client.HTTPException)):
            through.get_object(Bucket=bucket, Key="a")["Body"].read()
