"""What signing one S3 request costs: ours, and botocore's.

Run: ``.venv/bin/python bench/signing.py``
"""

from __future__ import annotations

import timeit
from datetime import UTC, datetime

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from dataferry.mechanisms.s3.signing import Credentials, Signer

RUNS = 5_000
PATH = "/bucket/some/long/key/name.bin"
HOST = "127.0.0.1:9000"
KEY_ID, SECRET = "AKIDEXAMPLE", "an example of a secret of usual length"


def main() -> None:
    """Print microseconds a request, the best of five runs each."""
    signer, own = Signer("us-east-1"), Credentials(access_key_id=KEY_ID, secret_access_key=SECRET)
    theirs = S3SigV4Auth(BotocoreCredentials(KEY_ID, SECRET), "s3", "us-east-1")

    def ours_once() -> None:
        signer.sign("GET", PATH, "", {"Host": HOST}, credentials=own, now=datetime.now(UTC))

    def botocore_once() -> None:
        theirs.add_auth(AWSRequest("GET", f"http://{HOST}{PATH}"))

    for name, once in (("ours", ours_once), ("botocore", botocore_once)):
        best = min(timeit.repeat(once, number=RUNS, repeat=5))
        print(f"{name:9} {1e6 * best / RUNS:6.1f} µs a request")


if __name__ == "__main__":
    main()
