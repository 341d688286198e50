"""Reads usage policies in ODRL: strictly, and out of the many spellings of JSON-LD into one.

Whatever is not understood makes a policy unreadable. JSON-LD spells one thing in many ways (``permission``,
``odrl:permission``, a whole IRI; lists of one and single values); all of them are read as the same. Contexts
that are only named by a URL are not fetched: names under one that is not known here stay what they are, and
then agree with nothing else.

Source: W3C, "ODRL Information Model 2.2"; Eclipse Dataspace Protocol 2025-1, JSON-LD context of ODRL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dataferry.domain.errors import InputError

ODRL = "http://www.w3.org/ns/odrl/2/"
PREFIXES: Mapping[str, str] = {
    "odrl": ODRL,
    "edc": "https://w3id.org/edc/v0.0.1/ns/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
# Values that the protocol's context knows by their plain names.
TERMS = frozenset(
    {
        "use", "eq", "gt", "gteq", "lt", "lteq", "neq", "isA", "hasPart", "isPartOf", "isAllOf", "isAnyOf",
        "isNoneOf",
    }
)  # fmt: skip
# What contexts that are often named say of names in policies.
_EDC_TERMS = {"inForceDate": f"{PREFIXES['edc']}inForceDate"}
CONTEXTS: Mapping[str, Mapping[str, str]] = {
    "https://w3id.org/edc/dspace/v0.0.1": _EDC_TERMS,
    "https://w3id.org/edc/connector/management/v0.0.1": _EDC_TERMS,
    "https://w3id.org/edc/connector/management/v2": _EDC_TERMS,
}
# Rules and constraints of one policy, together: people can't agree to more.
MAX_OBJECTS = 1_000
# From a name to its IRI, by what contexts say.
MAX_STEPS = 8
_LOGICAL = frozenset({"and", "or", "xone"})
_ATOMIC = frozenset({"leftOperand", "operator", "rightOperand"})
_PARTIES = frozenset({"target", "assigner", "assignee"})


def read(
    document: Any, *, target: str | None = None, assigner: str | None = None, context: Any = None
) -> dict[str, Any]:
    """Return the rules of a policy: ODRL in JSON, with plain keys, whole IRIs, values and order as they came.

    Args:
        document: ODRL in JSON-LD, or in JSON as this returns it.
        target: The asset that it may be about; None if it may name no party.
        assigner: The participant that it may be of; None as above.
        context: The JSON-LD context of the document around it.

    Raises:
        InputError: It has something that is not understood, or is about something else.
    """
    parties = {name: value for name, value in (("target", target), ("assigner", assigner)) if value}
    reading = _Reading(parties)
    reading.learn(context)
    if isinstance(document, dict):
        reading.learn(document.get("@context"))
    return reading.policy(document)


class _Reading:
    """Reads one policy.

    Args:
        parties: What ``target`` and ``assigner`` may say; empty if no party may be named.
    """

    def __init__(self, parties: Mapping[str, str]) -> None:
        self._parties = parties
        self._names = dict(PREFIXES)
        self._objects = 0
        self._rule_parts: dict[str, Callable[[Any], Any]] = {
            "action": self._name,
            "constraint": self._constraints,
            "duty": self._rules,
            "remedy": self._rules,
            "consequence": self._rules,
        }

    def learn(self, context: Any) -> None:
        """Take up what a context says of names, if it stands there or is known; none is fetched."""
        for part in _listed(context):
            if isinstance(part, str):
                self._names |= CONTEXTS.get(part, {})
            if isinstance(part, dict):
                terms = {
                    name: term.get("@id") if isinstance(term, dict) else term for name, term in part.items()
                }
                self._names |= {
                    name: iri for name, iri in terms.items() if name[:1] != "@" and isinstance(iri, str)
                }

    def policy(self, document: Any) -> dict[str, Any]:
        """Read the whole of it."""
        parts = {
            "permission": self._rules,
            "prohibition": self._rules,
            "obligation": self._rules,
            "profile": self._profiles,
        }
        return self._members("policy", document, parts, skips={"@id", "@type", "@context"})

    def _members(
        self,
        what: str,
        node: Any,
        parts: Mapping[str, Callable[[Any], Any]],
        *,
        skips: Iterable[str] = ("@id", "@type"),
    ) -> dict[str, Any]:
        """Read an object all of whose members are known, and each of them once; empty ones say nothing."""
        if not isinstance(node, dict):
            raise InputError(f"a {what} of it is no object")
        self._objects += 1
        if self._objects > MAX_OBJECTS:
            raise InputError(f"it has more than {MAX_OBJECTS} rules and constraints")
        found: dict[str, Any] = {}
        for key, value in node.items():
            if key in skips or value is None:
                continue
            name = self._key(key)
            if name in _PARTIES and self._parties:
                self._check_party(name, value)
                continue
            if name not in parts or name in found:
                fault = "has it twice" if name in found else "is not understood"
                raise InputError(f"{key[:100]!r} of a {what} {fault}")
            content = parts[name](value)
            if content != []:
                found[name] = content
        return found

    def _rules(self, value: Any) -> list[Any]:
        rules = [self._members("rule", node, self._rule_parts) for node in _listed(value)]
        if any("action" not in rule for rule in rules):
            raise InputError("a rule of it has no action")
        return rules

    def _constraints(self, value: Any) -> list[Any]:
        return [self._constraint(node) for node in _listed(value)]

    def _constraint(self, node: Any) -> dict[str, Any]:
        parts = {
            "leftOperand": self._name,
            "operator": self._name,
            "rightOperand": self._operand,
            **dict.fromkeys(_LOGICAL, self._constraints),
        }
        found = self._members("constraint", node, parts)
        if found.keys() != _ATOMIC and not (len(found) == 1 and found.keys() <= _LOGICAL):
            raise InputError("a constraint of it is neither of two operands nor of one kind of several")
        return found

    def _profiles(self, value: Any) -> list[str]:
        return [self._name(one) for one in _listed(value)]

    def _operand(self, value: Any) -> Any:
        """Read a right operand: a value, one with its type, an IRI, or a list of these."""
        values = [self._one_operand(one) for one in _listed(value)]
        if not values:
            raise InputError("a right operand of it is empty")
        return values[0] if len(values) == 1 else values

    def _one_operand(self, value: Any) -> Any:
        if isinstance(value, str | int | float):  # bool is an int
            return value
        if isinstance(value, dict):
            if value.keys() == {"@id"}:
                return {"@id": self._name(value)}
            if {"@value"} <= value.keys() <= {"@value", "@type"} and isinstance(
                value["@value"], str | int | float
            ):
                kind = value.get("@type")
                return value["@value"] if kind is None else value | {"@type": self._name(kind)}
        raise InputError("a right operand of it is neither text, number, true, false nor an IRI")

    def _name(self, value: Any) -> str:
        """Read a name of something: an IRI, a term, or one with a prefix."""
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, dict) and len(value) == 1:
            value = value.get("@id", value.get("@value"))
        if not isinstance(value, str) or not value:
            raise InputError("a name in it is no text")
        whole = self._whole(value)
        return ODRL + whole if whole in TERMS else whole

    def _key(self, key: str) -> str:
        return self._whole(key).removeprefix(ODRL)

    def _whole(self, name: str) -> str:
        """Return a name as an IRI, as far as that can be told."""
        for _ in range(MAX_STEPS):  # what a term stands for may have a prefix itself
            prefix, colon, rest = name.partition(":")
            if prefix not in self._names or rest.startswith("//"):
                return name
            name = self._names[prefix] + rest if colon else self._names[name]
        raise InputError("a name in it leads in circles")

    def _check_party(self, name: str, value: Any) -> None:
        """Refuse a party that is another one; who is assigned something is ourselves, under any name."""
        expected = self._parties.get(name)
        said = self._name(value)
        if expected is not None and said not in {expected, self._name(expected)}:
            raise InputError(f"its {name} is {said[:200]!r}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def said(value: Any, *, is_ordered: bool = False) -> str:
    """Return what rules say as one text, equal for equal policies: in one order, and values as text.

    Args:
        value: Rules as ``read`` returns them, or a part of them.
        is_ordered: Whether the order of this list says something.
    """
    if isinstance(value, dict):
        if "@value" in value:
            return said(value["@value"])
        members = (
            f"{json.dumps(name)}: {said(value[name], is_ordered=name == 'rightOperand')}"
            for name in sorted(value)
        )
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        parts = [said(inner) for inner in value]
        return f"[{', '.join(parts if is_ordered else sorted(parts))}]"
    return json.dumps(value if isinstance(value, str) else json.dumps(value))
