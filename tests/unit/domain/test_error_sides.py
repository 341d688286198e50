"""The side of an error stays with it, whoever tells it."""

from __future__ import annotations

import pickle

from dataferry.domain.errors import AccessDeniedError, ConnectionFailedError


def test_it_travels_between_processes() -> None:
    """Lanes are processes of their own, and report what failed there."""
    error = AccessDeniedError("no", operation="http.PUT")
    error.of_sink = True
    found = pickle.loads(pickle.dumps(error))  # noqa: S301 - written a moment ago
    assert (found.kind, str(found), found.of_sink) == (error.kind, str(error), True)


def test_it_is_retold() -> None:
    """Also as another kind."""
    error = AccessDeniedError("no")
    assert not error.retold().of_sink
    error.of_sink = True
    assert error.retold().of_sink
    assert error.retold(ConnectionFailedError).of_sink
