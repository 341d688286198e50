"""Errors: what one that is told to many keeps, and what each of them gets for itself."""

from __future__ import annotations

import pytest

from dataferry.domain.errors import ConflictError, DatabaseUnavailableError, DataFerryError, ThrottledError

TOLD = ThrottledError("slow down", operation="s3.PutObject", retry_after_s=3.0)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(None, ThrottledError), (ConflictError, ConflictError), (DatabaseUnavailableError,) * 2],
)
def test_an_error_is_retold_as_an_object_of_its_own(
    kind: type[DataFerryError] | None, expected: type[DataFerryError]
) -> None:
    """With the same words, operation and time to wait, as the same kind or as the one that is asked for."""
    retold = TOLD.retold(kind)
    assert retold is not TOLD
    assert type(retold) is expected
    said = (retold.message, retold.operation, retold.retry_after_s)
    assert said == (TOLD.message, TOLD.operation, TOLD.retry_after_s)
