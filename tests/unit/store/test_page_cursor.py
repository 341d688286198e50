"""Page cursors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.domain.errors import InputError
from dataferry.store import pages
from dataferry.store.times import from_text, to_text

moments = st.datetimes(timezones=st.just(UTC))


@given(moment=moments, id=st.text(max_size=200))
def test_a_cursor_comes_back(moment: datetime, id: str) -> None:
    """Whatever the time and the id, a cursor comes back as the same place, and is safe in a URL."""
    cursor = pages.encode(moment, id)
    assert pages.decode(cursor) == (moment, id)
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(cursor=st.text(max_size=300) | st.binary(max_size=100).map(lambda raw: raw.hex()))
def test_nonsense_is_the_callers_fault(cursor: str) -> None:
    """Whatever else comes is refused as input, by no other error."""
    try:
        place = pages.decode(cursor)
    except InputError:
        return
    assert pages.decode(pages.encode(*place)) == place


@pytest.mark.parametrize(
    "cursor",
    [
        "x" * 100_000,
        "W10",
        "bnVsbA",
        "WzEsMl0",
        "WyJ4IiwieSJd",
        pages.encode(datetime(2026, 11, 23, tzinfo=UTC), "x"),
    ],
)
def test_flow_cursors_need_a_uuid(cursor: str) -> None:
    """A cursor that is too long, of another shape, or of another list is refused."""
    with pytest.raises(InputError):
        pages.decode_flow(cursor)


@given(first=moments, second=moments)
def test_times_sort_as_text(first: datetime, second: datetime) -> None:
    """The order of times as text is their order in time."""
    assert (to_text(first) < to_text(second)) == (first < second)
    assert from_text(to_text(first)) == first


def test_times_are_kept_in_utc() -> None:
    """A time of another zone is the same moment; one without a zone is refused."""
    there = datetime(2026, 11, 23, 12, tzinfo=timezone(timedelta(hours=5)))
    assert to_text(there) == "2026-11-23T07:00:00.000000Z"
    with pytest.raises(ValueError, match="time zone"):
        to_text(datetime(2026, 11, 23))  # noqa: DTZ001 - that is the point
