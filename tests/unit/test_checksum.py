"""CRC-64/NVME, before and after the library that does it fast is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from awscrt.checksums import crc64nvme as theirs

from dataferry.mechanisms import checksum


def test_our_own_sum_is_the_one_that_the_specification_has() -> None:
    """The check value of the CRC catalogue, and nothing for nothing."""
    assert checksum.own_crc64nvme(b"123456789") == 0xAE8B14860A799888
    assert checksum.own_crc64nvme(b"") == 0


@pytest.mark.parametrize("length", [1, 255, 4_096, 70_001])
def test_our_own_sum_goes_on_from_another(length: int) -> None:
    """Pieces give what the whole gives, whoever summed up either."""
    data = os.urandom(length)
    first, second = data[: length // 3], memoryview(data)[length // 3 :]
    assert checksum.own_crc64nvme(data) == theirs(data)
    assert checksum.own_crc64nvme(second, theirs(first)) == theirs(data)


def test_a_stream_is_summed_up_alike_on_both_sides_of_the_change() -> None:
    """The library takes over in the middle of a stream, and not before."""
    program = (
        "import sys\n"
        "from dataferry.mechanisms.checksum import OWN_BYTES, crc64nvme\n"
        "crc = 0\n"
        "for _ in range(OWN_BYTES // 1024):\n"
        "    crc = crc64nvme(b'x' * 1024, crc)\n"
        "assert 'awscrt' not in sys.modules\n"
        "crc = crc64nvme(b'y' * 10, crc)\n"
        "assert 'awscrt' in sys.modules\n"
        "print(crc, OWN_BYTES)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    crc, own_bytes = map(int, done.stdout.split())
    assert crc == theirs(b"x" * own_bytes + b"y" * 10)
