"""The egress guard as the service uses it: what it refuses is told to callers by its name only."""

from __future__ import annotations

from dataferry.domain.errors import EgressDeniedError
from dataferry.domain.location import Provenance
from dataferry.net.egress import EgressGuard
from dataferry.telemetry.logs import get_logger

_log = get_logger("egress")


class DiscreetGuard(EgressGuard):
    """Refuses as ``EgressGuard`` does, without the address that a name has here.

    Refusals go into answers and callbacks: with the address a control plane could have every name of the
    operator's own network looked up. Operators find it in the log.
    """

    def resolve(self, host: str, port: int, provenance: Provenance) -> tuple[tuple[str, int], ...]:
        """Return the addresses to dial for a host; as ``EgressGuard.resolve``.

        Raises:
            EgressDeniedError: It is an external place that the policy refuses; names the host only.
        """
        try:
            return super().resolve(host, port, provenance)
        except EgressDeniedError as error:
            _log.warning("egress_refused", host=host, port=port, reason=error.message)
            raise EgressDeniedError(
                f"the egress policy does not allow {host[:253]} for places that arrive in messages"
                " ([egress] allow, deny, allow_private_networks; the log says why)"
            ) from None
