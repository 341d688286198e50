"""What a process of ``dataferry serve`` is for: its roles, and which go together."""

from __future__ import annotations

from enum import StrEnum

from dataferry.domain.errors import ConfigError

EVERYTHING = "all"


class Role(StrEnum):
    """One part of the service."""

    API = "api"
    WORKER = "worker"
    GATEWAY = "gateway"


ALL_ROLES = frozenset(Role)
MAIN_ROLES = frozenset({Role.API, Role.WORKER})
_TOGETHER = (ALL_ROLES, MAIN_ROLES, frozenset({Role.GATEWAY}))


def roles_of(text: str) -> frozenset[Role]:
    """Read ``--role``: ``all``, or roles with commas between them.

    Raises:
        ConfigError: There is no such role, or they can't be one process.
    """
    words = [word.strip() for word in text.split(",")]
    if words == [EVERYTHING]:
        return ALL_ROLES
    unknown = [word for word in words if word not in set(Role)]
    if unknown:
        raise ConfigError(f"--role {unknown[0]!r}: there are {EVERYTHING}, {', '.join(Role)}")
    roles = frozenset(map(Role, words))
    if roles in _TOGETHER:
        return roles
    raise ConfigError(
        f"--role {text}: api and worker are one process, with or without the gateway (--role api,worker):"
        " a verb is answered once the flow's threads have ended, and they can only be stopped where they run"
    )
