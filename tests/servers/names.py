"""A resolver with answers of its own, which may change between two look-ups."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import Any


class ChangingNames:
    """Answers as ``getaddrinfo`` does; each look-up of a name takes its next answer, and the last one stays.

    Args:
        answers: Of each name the addresses, one for each look-up.

    Attributes:
        asked: The names that were looked up.
    """

    def __init__(self, answers: Mapping[str, Sequence[str]]) -> None:
        self._answers = {name: list(each) for name, each in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        """Answer one look-up."""
        self.asked.append(host)
        left = self._answers.get(host)
        if left is None:
            try:
                address = str(ipaddress.ip_address(host))
            except ValueError:
                raise socket.gaierror(-2, "Name or service not known") from None
        else:
            address = left.pop(0) if len(left) > 1 else left[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]
