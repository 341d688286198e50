"""Which objects of a source a transfer is about: patterns over their names.

The language is that of docs/howto/select.md: ``*``, ``?`` and ``[...]`` within a level, ``**`` for any number
of levels. Patterns may come from a stranger, so matching takes at most (length of the name) x (length of all
patterns) steps: each is translated into atomic groups, in which nothing is tried twice. That is right since a
level's pattern takes exactly one level, so that the earliest match of what stands between two ``**`` leaves
most for the rest, as it does between two ``*`` of a level.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from dataferry.domain.errors import InputError
from dataferry.domain.names import is_text, quoted

# All patterns of a selection together: a name of 1,000 characters then takes eight million steps at worst.
MAX_CHARS = 8192
MAX_PATTERNS = 200
# Any number of levels.
ACROSS = None
_ESCAPED = "\\"
_SHOWN_CHARS = 100


@dataclass(frozen=True, slots=True)
class _Level:
    """One level of a pattern.

    Attributes:
        pieces: What stands between its ``*``, each a regular expression of fixed length.
        text: What it stands for, if it stands for one text only.
    """

    pieces: tuple[str, ...]
    text: str | None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Patterns of one origin: ``include``, everything if it is empty, without ``exclude``."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @cached_property
    def _includes(self) -> Callable[[str], bool]:
        return _matcher(self.include)

    @cached_property
    def _excludes(self) -> Callable[[str], bool]:
        return _matcher(self.exclude)

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """The folders that hold all that is included, each with ``/`` at its end; empty is anywhere."""
        found = {_folder(_parsed(pattern)) for pattern in self.include}
        return () if "" in found else tuple(sorted(found))

    def selects(self, name: str) -> bool:
        """Say whether a name is selected."""
        return (not self.include or self._includes(name)) and not (self.exclude and self._excludes(name))


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a transfer is about. Without rules that is everything.

    Attributes:
        rules: A name must be selected by each: those of a dataset bind whatever a consumer asks for.
    """

    rules: tuple[Rules, ...] = ()

    @classmethod
    def of(cls, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Selection:
        """Read patterns.

        Raises:
            InputError: One of them is malformed, with the position; or they are too many or too long.
        """
        if not include and not exclude:
            return cls()
        return _checked(cls(rules=(Rules(include=tuple(include), exclude=tuple(exclude)),)))

    def __and__(self, other: Selection) -> Selection:
        """What both select.

        Raises:
            InputError: Together they are too many or too long.
        """
        return _checked(Selection(rules=(*self.rules, *other.rules)))

    def __bool__(self) -> bool:
        """False if it is everything."""
        return bool(self.rules)

    def selects(self, name: str) -> bool:
        """Say whether an object of that name (``ObjectInfo.name``) is selected."""
        return all(rules.selects(name) for rules in self.rules)

    @property
    def identity(self) -> str:
        """Equal for the same patterns, whatever their order; empty for everything."""
        return "\n".join(
            f"{number}{sign}{len(pattern)}:{pattern}"
            for number, rules in enumerate(self.rules)
            for sign, patterns in (("+", rules.include), ("-", rules.exclude))
            for pattern in sorted(set(patterns))
        )

    @cached_property
    def start_after(self) -> str | None:
        """A name before all that are selected, where patterns tell one; listing may begin after it."""
        firsts = [rules.folders[0][:-1] for rules in self.rules if rules.folders]
        return max(firsts, default=None)

    def is_past(self, name: str) -> bool:
        """True if no name that sorts after this one is selected; listing may end."""
        return any(
            rules.folders and name > rules.folders[-1] and not name.startswith(rules.folders[-1])
            for rules in self.rules
        )


def _checked(selection: Selection) -> Selection:
    """Refuse what is malformed, or too much."""
    patterns = [pattern for rules in selection.rules for pattern in (*rules.include, *rules.exclude)]
    if len(patterns) > MAX_PATTERNS:
        raise InputError(f"{len(patterns)} patterns are more than {MAX_PATTERNS}")
    if sum(map(len, patterns)) > MAX_CHARS:
        raise InputError(f"the patterns have more than {MAX_CHARS:,} characters together")
    for pattern in patterns:
        if not is_text(pattern):
            raise InputError(
                f"the pattern {quoted(pattern)} is not UTF-8: write ? for each byte shown as \\x"
            )
        _parsed(pattern)
    return selection


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Compile patterns into one function; those for the last part of a name are matched with that alone."""
    last, whole = [], []
    for levels in map(_parsed, patterns):
        match levels:
            case [None, _Level() as level]:
                last.append(_level_regex(level))
            case _:
                whole.append(_regex(levels))
    last_has = re.compile("|".join(last)).fullmatch if last else None
    whole_has = re.compile("|".join(whole)).fullmatch if whole else None

    def has(name: str) -> bool:
        if last_has is not None and last_has(name, name.rfind("/") + 1) is not None:
            return True
        return whole_has is not None and whole_has(name) is not None

    return has


def _parsed(pattern: str) -> list[_Level | None]:
    """Read one pattern as levels; ``ACROSS`` is any number of them, at the end at least one.

    Raises:
        InputError: It is malformed.
    """
    if not pattern.strip("/"):
        raise _fault(pattern, 0, "it names nothing")
    rooted, folder = pattern.startswith("/"), pattern.endswith("/")
    levels: list[_Level | None] = []
    at, end = int(rooted), len(pattern) - int(folder)
    while at <= end:
        stop = _end_of_level(pattern, at, end)
        levels.append(_level(pattern, at, stop))
        at = stop + 1
    if not rooted and len(levels) == 1:
        levels.insert(0, ACROSS)
    if folder:
        levels.append(ACROSS)
    return [
        level for at, level in enumerate(levels) if level is not ACROSS or levels[at - 1 : at] != [ACROSS]
    ]


def _end_of_level(pattern: str, begin: int, end: int) -> int:
    """Return where the level ends that begins there: at a ``/``, or at the end."""
    stop = pattern.find("/", begin, end)
    return end if stop < 0 else stop


def _level(pattern: str, begin: int, end: int) -> _Level | None:
    """Read one level, ``pattern[begin:end]``."""
    if pattern[begin:end] == "**":
        return ACROSS
    pieces, text, at = [""], [""], begin
    while at < end:
        sign, literal = pattern[at], None
        if sign == "*":
            if pattern.startswith("**", at) and at + 1 < end:
                raise _fault(pattern, at, "** stands for whole levels: write it between slashes, or *")
            pieces.append("")
        elif sign == "?":
            pieces[-1] += "[^/]"
        elif sign == "[":
            found, at = _class(pattern, at, end)
            pieces[-1] += found
        elif sign in "{}":
            raise _fault(pattern, at, f"for alternatives give several patterns; the sign itself is \\{sign}")
        else:
            literal, at = _literal(pattern, at, end)
            pieces[-1] += re.escape(literal)
            text.append(literal)
        at += 1
    is_plain = len(pieces) == 1 and pieces[0] == re.escape("".join(text))
    return _Level(tuple(pieces), "".join(text) if is_plain else None)


def _literal(pattern: str, at: int, end: int) -> tuple[str, int]:
    """Read one character, perhaps behind a backslash; return it and where it stands."""
    if pattern[at] != _ESCAPED:
        return pattern[at], at
    if at + 1 >= end:
        raise _fault(pattern, at, "nothing that could stand behind a backslash follows it")
    return pattern[at + 1], at + 1


def _class(pattern: str, begin: int, end: int) -> tuple[str, int]:
    """Read ``[...]``; return a regular expression, and where it ends."""
    at = begin + 1
    negated = at < end and pattern[at] in "!^"
    at += negated
    parts: list[str] = []
    while at < end and pattern[at] != "]":
        first, at = _literal(pattern, at, end)
        last = first
        if pattern.startswith("-", at + 1) and at + 2 < end and pattern[at + 2] != "]":
            last, stop = _literal(pattern, at + 2, end)
            if last < first:
                raise _fault(pattern, at, f"the range {first}-{last} is the wrong way round")
            at = stop
        parts.append(re.escape(first) if first == last else f"{re.escape(first)}-{re.escape(last)}")
        at += 1
    if at >= end:
        raise _fault(pattern, begin, "this [ is not closed within its level; the sign itself is \\[")
    if not parts:
        raise _fault(pattern, begin, "nothing is in these brackets")
    # A slash is never in a level, whatever a range or a negation has.
    return f"(?!/)[{'^' if negated else ''}{''.join(parts)}]", at


def _fault(pattern: str, at: int, why: str) -> InputError:
    shown = pattern if len(pattern) <= _SHOWN_CHARS else f"{pattern[:_SHOWN_CHARS]}…"
    return InputError(f"the pattern {shown!r} is malformed at character {at + 1}: {why}")


def _folder(levels: list[_Level | None]) -> str:
    """Return the folder that everything is in that a pattern matches; empty if it can be anywhere."""
    folder = ""
    for level in levels[:-1]:
        if level is ACROSS or level.text is None:
            break
        folder += f"{level.text}/"
    return folder


def _regex(levels: list[_Level | None]) -> str:
    """Translate; what stands between two ``**`` is one atomic group."""
    runs: list[list[str]] = [[]]
    for level in levels:
        if level is ACROSS:
            runs.append([])
        else:
            runs[-1].append(_level_regex(level))
    *before, last = ["/".join(run) for run in runs]
    ends_across = levels[-1] is ACROSS
    made = ""
    for number, run in enumerate(before):
        if number == 0:
            made += f"{run}/" if runs[0] else ""
        else:
            made += f"(?>(?:[^/]*/)*?{run}/)"
    if ends_across:
        return f"(?s:{made}.*)"
    return f"{made}(?:[^/]*/)*?{last}" if before else last


def _level_regex(level: _Level) -> str:
    """Translate one level: each piece behind a ``*`` at the earliest, the last at the end of the level."""
    first, *rest = level.pieces
    if not rest:
        return first
    *middle, last = rest
    made = first + "".join(f"(?>[^/]*?{piece})" for piece in middle if piece)
    return f"(?>{made}[^/]*{last}(?![^/]))" if last else f"(?>{made}[^/]*)"
