"""Which names patterns select, against a slow and obvious matcher."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.domain.errors import InputError
from dataferry.engine.selection import MAX_CHARS, MAX_PATTERNS, Selection

# Few characters, so that names and patterns meet; what regular expressions obey is among them.
CHARACTERS = "ab.*[\\\n"
LITERALS = st.sampled_from(CHARACTERS).map(lambda character: ("literal", character))
CLASSES = st.tuples(
    st.sampled_from(["in", "not in"]), st.lists(st.sampled_from("ab.-"), min_size=1, max_size=3).map("".join)
)
TOKENS = st.one_of(LITERALS, LITERALS, CLASSES, st.just(("any", "")), st.just(("star", "")))
Token = tuple[str, str]
# Two stars in a row would be ``**``.
LEVEL = st.lists(TOKENS, min_size=1, max_size=4).map(
    lambda tokens: [
        token for at, token in enumerate(tokens) if token[0] != "star" or tokens[at - 1 : at] != [token]
    ]
)
LEVELS = st.lists(LEVEL | st.none(), min_size=1, max_size=5)
NAMES = st.text(alphabet=CHARACTERS + "///", max_size=12)


def written(levels: list[list[Token] | None]) -> str:
    """A pattern from the root, as its author would write it; None is ``**``."""
    return "/" + "/".join("**" if level is None else "".join(map(_written, level)) for level in levels)


def _written(token: Token) -> str:
    kind, value = token
    if kind == "literal":
        return f"\\{value}"
    if kind in {"in", "not in"}:
        inner = "".join("\\" + character for character in value)
        return f"[!{inner}]" if kind == "not in" else f"[{inner}]"
    return "?" if kind == "any" else "*"


def matches(levels: list[list[Token] | None], parts: list[str]) -> bool:
    """Say whether levels match parts of a name: whatever can be tried is tried."""
    if not levels:
        return not parts
    if not any(levels):
        return bool(parts)
    if levels[0] is None:
        return any(matches(levels[1:], parts[taken:]) for taken in range(len(parts) + 1))
    return bool(parts) and part_matches(levels[0], parts[0]) and matches(levels[1:], parts[1:])


def part_matches(tokens: list[Token], text: str) -> bool:
    """Say whether one level matches one part."""
    if not tokens:
        return not text
    (kind, value), rest = tokens[0], tokens[1:]
    if kind == "star":
        return any(part_matches(rest, text[taken:]) for taken in range(len(text) + 1))
    if not text:
        return False
    fits = {
        "literal": text[0] == value,
        "any": True,
        "in": text[0] in value,
        "not in": text[0] not in value,
    }[kind]
    return fits and part_matches(rest, text[1:])


@given(levels=LEVELS, name=NAMES)
def test_patterns_match_what_an_obvious_matcher_does(levels: list[list[Token] | None], name: str) -> None:
    """Every kind of token, in every order, on names with empty levels and odd characters."""
    expected = matches(levels, name.split("/"))

    assert Selection.of([written(levels)]).selects(name) is expected
    assert Selection.of([], [written(levels)]).selects(name) is not expected


@given(levels=LEVELS, name=NAMES)
def test_listing_may_begin_and_end_where_patterns_say(levels: list[list[Token] | None], name: str) -> None:
    """No name that is selected stands before the beginning, or where the end is already past."""
    selection = Selection.of([written(levels)])

    if selection.selects(name):
        assert selection.start_after is None or name > selection.start_after
        assert not selection.is_past(name)


@pytest.mark.parametrize(
    ("pattern", "selected", "left_out"),
    [
        ("*.csv", ["a.csv", "x/y/a.csv", ".csv"], ["a.csv/b", "a.CSV", "a.csv.gz"]),
        ("/*.csv", ["a.csv"], ["x/a.csv"]),
        ("2026/11/**", ["2026/11/a", "2026/11/x/y", "2026/11/"], ["2026/11", "2026/110/a", "x/2026/11/a"]),
        ("2026/*/a?.bin", ["2026/11/a1.bin"], ["2026/11/12/a1.bin", "2026/11/a.bin", "x/2026/11/a1.bin"]),
        ("logs/**/*.gz", ["logs/a.gz", "logs/x/y/a.gz"], ["a.gz", "logs/x/a"]),
        ("**/raw/*", ["raw/a", "x/y/raw/a"], ["raw", "raw/x/a"]),
        ("tmp/", ["tmp/a", "x/tmp/y/z"], ["tmp", "x/tmp", "xtmp/a"]),
        ("/tmp/", ["tmp/a"], ["x/tmp/a"]),  # noqa: S108 - a pattern
        ("a/tmp/", ["a/tmp/b"], ["x/a/tmp/b"]),
        ("[a-c]-[!0-9]", ["b-x", "deep/a-y"], ["d-x", "a-1", "a-/"]),
        (r"\*\[1]", ["*[1]"], ["x[1]"]),
        ("a[+-9]b", ["a1b"], ["a/b"]),
        ("**", ["a", "a/b", "", "a/"], []),
        ("a//b", ["a//b"], ["a/b"]),
        ("//b", ["/b"], ["b", "x/b"]),
    ],
)
def test_patterns_mean_what_the_page_says(pattern: str, selected: list[str], left_out: list[str]) -> None:
    """The examples of docs/howto/select.md, and their neighbours."""
    selection = Selection.of([pattern])
    assert [name for name in selected + left_out if selection.selects(name)] == selected


def test_exclude_wins_and_several_includes_add_up() -> None:
    """Whatever the order in which they are given."""
    selection = Selection.of(["*.csv", "raw/**"], ["*.tmp", "raw/old/"])
    names = ["a.csv", "raw/a", "raw/a.tmp", "raw/old/a.csv", "b.txt"]
    assert [name for name in names if selection.selects(name)] == ["a.csv", "raw/a"]
    assert [name for name in names if Selection.of([], ["*.csv"]).selects(name)] == [
        "raw/a",
        "raw/a.tmp",
        "b.txt",
    ]
    assert all(map(Selection().selects, names))


def test_two_origins_must_both_select() -> None:
    """What is asked for never widens what is offered."""
    offered, asked = Selection.of(["2026/**"], ["*.key"]), Selection.of(["*.csv", "*.key", "2025/**"])
    both = offered & asked
    assert both.selects("2026/a.csv")
    assert not any(map(both.selects, ["2025/a.csv", "2026/a.key", "2026/a.txt"]))
    assert both.identity != Selection.of(["2026/**", "*.csv", "*.key", "2025/**"], ["*.key"]).identity
    assert both.start_after == "2026"


def test_the_same_patterns_are_the_same_selection() -> None:
    """In another order, or twice; others never are."""
    assert Selection.of(["a", "b"], ["c"]).identity == Selection.of(["b", "a", "a"], ["c"]).identity
    assert Selection.of().identity == ""
    different = [(["a", "b"], []), (["a"], ["b"]), (["ab"], []), ([], ["a", "b"]), (["a\nb"], [])]
    assert len({Selection.of(*patterns).identity for patterns in different}) == len(different)


@pytest.mark.parametrize(
    ("pattern", "at"),
    [
        ("", 1), ("/", 1), ("a**", 2), ("x/a**b", 4), ("***", 1), ("a[", 2), ("a[]", 2), ("[a/b]", 1),
        ("[z-a]", 2), ("a\\", 2), ("a\\/b", 2), ("*.{csv,json}", 3), ("[!", 1), ("[a\\", 3),
    ],
)  # fmt: skip
def test_malformed_patterns_are_refused_with_the_position(pattern: str, at: int) -> None:
    """Nothing is guessed."""
    with pytest.raises(InputError, match=f"malformed at character {at}:"):
        Selection.of([], [pattern])


def test_patterns_are_bounded() -> None:
    """They may be a stranger's."""
    for patterns in (["a"] * (MAX_PATTERNS + 1), ["a" * (MAX_CHARS + 1)]):
        with pytest.raises(InputError, match="more than"):
            Selection.of(patterns)
    half = Selection.of(["a" * (MAX_CHARS // 2 + 1)])
    with pytest.raises(InputError, match="more than"):
        _ = half & half


@pytest.mark.parametrize(
    "pattern", ["*a" * 4000 + "b", "**/*a/" * 1300 + "b", "**/" + "*a*a/" * 1000 + "b", "*" + "[!b]" * 2000]
)
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    """Patterns that make others try again and again end on a long name of the worst kind."""
    assert not Selection.of([pattern]).selects("aaa/" * 256 + "aaaa" * 64 + "/")
    assert not Selection.of([pattern]).selects("a" * 1024 + "/")


def test_many_names_are_selected_one_by_one() -> None:
    """Nothing is kept of a name that was looked at."""
    selection = Selection.of(["2026/11/**", "*.csv"], ["tmp/"])
    found = sum(selection.selects(f"2026/{n % 12}/{n}.bin") for n in range(300_000))
    assert found == 300_000 // 12


def test_a_pattern_that_is_not_utf_8_is_refused() -> None:
    """A question mark stands for the byte: patterns are kept, and compared, as text."""
    with pytest.raises(InputError, match=r"'bad\\xff' is not UTF-8: write \? for"):
        Selection.of([], ["bad\udcff"])
    assert not Selection.of([], ["bad?"]).selects("bad\udcff")
