"""Which dataset and which landing zone serve a flow: patterns, and which of several that match wins."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataferry.domain.location import Dataset, Landing, LandingZone, Location
from dataferry.domain.profile import Direction
from dataferry.flows.messages import Caller


def matches(pattern: str, text: str) -> bool:
    """Return whether ``text`` is what ``pattern`` says; ``*`` stands for any characters, also none."""
    return (
        re.fullmatch(".*".join(re.escape(piece) for piece in pattern.split("*")), text, re.DOTALL) is not None
    )


def specificity(pattern: str) -> tuple[bool, int]:
    """Order patterns: an exact id is above every pattern, then the one with more literal characters."""
    return ("*" not in pattern, len(pattern.replace("*", "")))


def is_for(entry: Dataset | LandingZone, owner: Caller) -> bool:
    """Return whether a dataset or landing zone is there for a control plane and its participant."""
    patterns = entry.control_planes
    by_plane = not patterns or any(matches(pattern, owner.control_plane_id) for pattern in patterns)
    return by_plane and is_for_participant(entry, owner.participant_context_id)


def is_for_participant(entry: Dataset | LandingZone | Location, participant_context_id: str) -> bool:
    """Return whether an entry of the catalogue is there for a participant; none named is all."""
    return not entry.participants or participant_context_id in entry.participants


def zone_serves(
    zone: LandingZone,
    *,
    direction: Direction,
    profile_names: Sequence[str],
    labels: Sequence[str],
    dataset_id: str,
) -> bool:
    """Return whether a landing zone takes a flow: all that it asks for must match.

    One that copies nothing takes no push: what is sent must have a place.
    """
    if zone.mode is Landing.NONE and direction is Direction.PUSH:
        return False
    by_profile = not zone.profiles or any(matches(p, name) for p in zone.profiles for name in profile_names)
    by_label = all(any(matches(want, label) for label in labels) for want in zone.labels)
    by_dataset = not zone.datasets or any(matches(pattern, dataset_id) for pattern in zone.datasets)
    return by_profile and by_label and by_dataset


def zone_rank(zone: LandingZone, dataset_id: str) -> tuple[tuple[bool, int], int, bool]:
    """Order landing zones that serve a flow: by dataset, then by labels, then by profile."""
    best = max((specificity(p) for p in zone.datasets if matches(p, dataset_id)), default=(False, -1))
    return (best, len(zone.labels), bool(zone.profiles))
