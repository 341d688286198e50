"""Behaviour suites that ship with the product, for whoever writes a mechanism, a ledger or an executor.

Nothing in the product imports this room; it needs pytest.
"""

import pytest

pytest.register_assert_rewrite(
    "dataferry.testing.fault_cases",
    "dataferry.testing.multipart_cases",
    "dataferry.testing.reading_cases",
    "dataferry.testing.writing_cases",
)
