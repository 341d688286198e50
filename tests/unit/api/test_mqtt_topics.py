"""Topics: one level an id, whatever it is made of, and a branch for each participant."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.api.mqtt.topics import MAX_LEVEL_CHARS, Topics, level

FLOW = UUID("00000000-0000-4000-8000-000000000001")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plant-7", "plant-7"),
        ("did:web:example.com", "did:web:example.com"),
        ("a/b", "a%2Fb"),
        ("+", "%2B"),
        ("#", "%23"),
        ("$SYS", "%24SYS"),
        ("a\x00b", "a%00b"),
        ("100%", "100%25"),
        ("~", "%7E"),
        ("ü", "%C3%BC"),
        ("", ""),
    ],
)
def test_levels(text: str, expected: str) -> None:
    """Ordinary ids stay readable; what means something in a topic does not."""
    assert level(text) == expected


@given(st.text(alphabet=st.characters(), min_size=1, max_size=300))
def test_a_level_is_one_level_and_no_wildcard(text: str) -> None:
    """Halves of surrogate pairs, line ends and all: short, ASCII, and harmless."""
    made = level(text)
    assert 1 <= len(made) <= MAX_LEVEL_CHARS
    assert made.isascii()
    assert made.isprintable()
    assert not set(made) & set("/+#$ ")


@given(st.text(max_size=120), st.text(max_size=120))
def test_two_ids_have_two_levels(one: str, other: str) -> None:
    """Also where both are cut."""
    long = "x" * MAX_LEVEL_CHARS
    assert (level(one) == level(other)) == (one == other)
    assert (level(long + one) == level(long + other)) == (one == other)


def test_an_id_that_looks_like_a_cut_one_is_another() -> None:
    """Nobody can choose an id that has the level of somebody else's long one."""
    cut = level("x" * 200)
    assert level(cut) != cut


def test_topics_of_one_participant() -> None:
    """The layout that one expects; others than the one that is known have a branch of their own."""
    topics = Topics(prefix="a/b", data_plane_id="plane", only_participant="default")
    assert topics.status == "a/b/plane/status"
    assert topics.state(FLOW, "default") == f"a/b/plane/dataflows/{FLOW}/state"
    assert topics.progress(FLOW, "default") == f"a/b/plane/dataflows/{FLOW}/progress"
    assert topics.orchestration(FLOW, "default") == f"a/b/plane/orchestrations/{FLOW}/state"
    assert topics.state(FLOW, "late") == f"a/b/plane/participants/late/dataflows/{FLOW}/state"


def test_topics_of_several() -> None:
    """Everybody has a branch."""
    topics = Topics(prefix="p", data_plane_id="plane", only_participant=None)
    assert topics.state(FLOW, "default") == f"p/plane/participants/default/dataflows/{FLOW}/state"
    assert topics.orchestration(FLOW, "x") == f"p/plane/participants/x/orchestrations/{FLOW}/state"
