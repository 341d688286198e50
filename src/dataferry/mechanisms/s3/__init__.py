"""Amazon S3 and what speaks its protocol: objects, prefixes and whole buckets.

The dozen calls are our own on pinned connections; botocore is loaded only to find ambient credentials.
"""

from dataferry.mechanisms.s3.mechanism import MECHANISM

__all__ = ["MECHANISM"]
