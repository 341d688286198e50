"""Bodies that are compared with the source's own checksum before their last bytes are sent (rule 8).

A whole object is visible once its request has all its bytes, so that any later comparison comes too late.
"""

from __future__ import annotations

import hashlib

from dataferry.domain.errors import IntegrityError
from dataferry.domain.objects import ObjectInfo, PartReceipt
from dataferry.engine.proofs.etags import md5_of
from dataferry.engine.proofs.verification import compare_with_source
from dataferry.mechanisms.base import PartWrite
from dataferry.mechanisms.checksum import crc64nvme


class ProvedBody:
    """A whole object on its way.

    Args:
        body: The sink's.
        source: As the reply that is read describes it.
        length_bytes: Of the body.
        wants_md5: Sum up the MD5 too.
        trusts_etag: The source's ETag, where it has the form of an MD5, must be that of the bytes.
    """

    def __init__(
        self, body: PartWrite, source: ObjectInfo, length_bytes: int, *, wants_md5: bool, trusts_etag: bool
    ) -> None:
        self._body = body
        self._source = source
        self._left = length_bytes
        self._sum = crc64nvme
        self._crc64nvme = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if wants_md5 else None
        self._expected = md5_of(source.validator) if trusts_etag else None

    @property
    def md5(self) -> str | None:
        """Of what was sent so far, in hexadecimal; None if it is not summed up."""
        return None if self._md5 is None else self._md5.hexdigest()

    def send(self, data: memoryview) -> None:
        """Add to the sums, and send; what is the last is compared first.

        Raises:
            IntegrityError: The bytes read are not those that the source has a checksum of.
        """
        if self._source.crc64nvme is not None:
            self._crc64nvme = self._sum(data, self._crc64nvme)
        if self._md5 is not None:
            self._md5.update(data)
        self._left -= len(data)
        if self._left <= 0:
            self._compare()
        self._body.send(data)

    def finish(self) -> PartReceipt:
        """End the body.

        Raises:
            IntegrityError: The sink summed up other bytes than we did.
        """
        receipt = self._body.finish()
        if self._source.crc64nvme is not None and receipt.crc64nvme not in (None, self._crc64nvme):
            raise IntegrityError(f"{self._source.name}: the bytes changed on their way", operation="write")
        return receipt

    def cancel(self) -> None:
        """Drop it."""
        self._body.cancel()

    def _compare(self) -> None:
        if self._source.crc64nvme is not None:
            compare_with_source(self._source, self._crc64nvme)
        if self.md5 is not None and self._expected not in (None, self.md5):
            raise IntegrityError(
                f"{self._source.name}: the bytes read do not have the MD5 that is the source's ETag",
                operation="read",
            )
