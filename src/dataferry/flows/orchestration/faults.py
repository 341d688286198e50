"""What an entry failed of, in the codes that clients know: 502, 504 or 500."""

from __future__ import annotations

from http import HTTPStatus

from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import (
    ConfigError,
    ConflictError,
    DatabaseUnavailableError,
    DataFerryError,
    DestinationExistsError,
    FencedError,
    NoSpaceError,
    StallError,
    TimedOutError,
    UnsupportedError,
)
from dataferry.domain.orchestration import Fault
from dataferry.flows.orchestration.ports import TransferProcess
from dataferry.store.database import OPERATION

MAX_MESSAGE_CHARS = 2_000

# Of these our side is the cause, and of what befell our storage; of everything else the party that was asked.
_OURS = (ConfigError, ConflictError, DestinationExistsError, FencedError, NoSpaceError, UnsupportedError)
_OUR_KINDS = frozenset({*(error.kind for error in _OURS), "error", "internal", "unexpected"})


class LateError(DataFerryError):
    """What should have happened by now has not."""

    kind = "late"


class TransferEndedError(DataFerryError):
    """The transfer process has ended before its data was here."""

    kind = "transfer_ended"


class NegotiationEndedError(DataFerryError):
    """The negotiation has ended without an agreement."""

    kind = "negotiation_ended"


class NoAgreementError(DataFerryError):
    """Nothing is offered, or was agreed, that the operator accepts."""

    kind = "no_agreement"


class DownloadError(DataFerryError):
    """A download failed for good; it says of what, by the kind that its flow has.

    Args:
        flow: The one that failed.
    """

    def __init__(self, flow: DataFlow) -> None:
        super().__init__(flow.error or "the download failed")
        self.kind = flow.error_kind or DataFerryError.kind  # type: ignore[misc]  # the flow's, not the class's
        self.of_sink = flow.error_of_sink


_LATE_KINDS = frozenset({StallError.kind, TimedOutError.kind, LateError.kind})


def ended(process: TransferProcess) -> TransferEndedError:
    """Return what is to be said of a transfer process that has ended, in its connector's own words."""
    detail = f": {process.error}" if process.error else ""
    return TransferEndedError(f"the transfer process is {process.state}{detail}")


def is_outage(error: DataFerryError) -> bool:
    """Return whether our own database failed, of which nobody's request or data is the cause.

    Its disk may be full, or its file not ours to write, for a while; a value that it can't keep is no outage.
    """
    is_shut = error.operation == OPERATION and isinstance(error, (ConfigError, NoSpaceError))
    return is_shut or isinstance(error, DatabaseUnavailableError)


def fault_of(error: DataFerryError) -> Fault:
    """Return what is written of an error that ends an entry."""
    return Fault(code=int(_code(error)), kind=error.kind, message=shown(error))


def shown(error: DataFerryError) -> str:
    """Return what clients are told of an error."""
    return str(error)[:MAX_MESSAGE_CHARS]


def _code(error: DataFerryError) -> HTTPStatus:
    if error.of_sink or error.kind in _OUR_KINDS:
        return HTTPStatus.INTERNAL_SERVER_ERROR
    if error.kind in _LATE_KINDS:
        return HTTPStatus.GATEWAY_TIMEOUT
    return HTTPStatus.BAD_GATEWAY
