"""What trouble means for a job: an outcome that says what to do. What concerns the network, a signer or another worker
uses up no retry."""

import psycopg
from loguru import logger

from pipeline.chains.errors import (
    ChainError,
    ChainUnavailable,
    FeeCapTooLow,
    InconsistentNode,
    PermissionChanged,
    WrongNetwork,
)
from pipeline.db.errors import DATABASE_GONE, refused_by_guard
from pipeline.payments.requests import UnreadableRequest
from pipeline.payments.send.refusals import (
    BudgetExhausted,
    CooldownActive,
    GasFundsShort,
    LeaseLost,
    MayStillLand,
    SenderFrozen,
    SenderStuck,
    StateChanged,
    UnfinishedNonce,
    UnknownTransactions,
    UnusualFee,
)
from pipeline.printable import printable
from pipeline.queue.jobs import Defer, Failed, Job, Outcome, Parked, Retry
from pipeline.signing.errors import SigningDeferred, SigningRefused

_CHAIN_PAUSE_SECONDS = 10.0
WRONG_NETWORK_PAUSE_SECONDS = 60.0
_FEES_PAUSE_SECONDS = 30.0
_DATABASE_PAUSE_SECONDS = 1.0
"""Counted from when the database takes the outcome: payments go on a second after it is back."""
_REFUSED_PAUSE_SECONDS = 60.0
_BLOCKED_SENDER_PAUSE_SECONDS = 60.0
"""An operator has to act; the confirmation worker says so in the log and in worker_registry."""
_RETRY_SECONDS = 1.0
EMPTY_GAS_WALLET_SECONDS = 30.0
_BUDGET_PAUSE_SECONDS = 300.0
"""Limits end by the clock or by an operator: looked at again every few minutes."""


def outcome_of(job: Job, trouble: Exception) -> Outcome:
    """What an exception means for a job."""
    match trouble:
        case LeaseLost():
            return Parked()
        case StateChanged():
            return Defer(_RETRY_SECONDS, str(trouble))
        case MayStillLand() | UnfinishedNonce():
            return Defer(_CHAIN_PAUSE_SECONDS, str(trouble))
        case GasFundsShort():
            return Defer(EMPTY_GAS_WALLET_SECONDS, str(trouble))
        case CooldownActive():
            return Defer(min(trouble.seconds, _BUDGET_PAUSE_SECONDS), str(trouble))
        case BudgetExhausted():
            return Defer(_BUDGET_PAUSE_SECONDS, str(trouble))
        case UnusualFee():
            logger.warning("{}: {}", job, trouble)
            return Defer(_FEES_PAUSE_SECONDS, str(trouble))
        case SigningDeferred():
            logger.error("{}: {}", job, trouble)
            return Defer(_BUDGET_PAUSE_SECONDS, str(trouble))
        case UnreadableRequest():
            logger.error("{}: {}", job, trouble)
            return Defer(_REFUSED_PAUSE_SECONDS, str(trouble))
        case UnknownTransactions():
            logger.warning("{}: {}", job, trouble)
            return Defer(_CHAIN_PAUSE_SECONDS, str(trouble))
        case SenderFrozen() | SenderStuck():
            return Defer(_BLOCKED_SENDER_PAUSE_SECONDS, str(trouble))
        case SigningRefused():
            return Failed(str(trouble))
        case ChainError():
            return _of_chain(job, trouble)
        case psycopg.Error() if refused_by_guard(trouble):
            # Bytes may be signed already: the job is not given up for it.
            logger.error("{}: the database refuses this step: {}", job, trouble)
            return Defer(_REFUSED_PAUSE_SECONDS, f"the database refuses this step: {trouble}")
        case _ if isinstance(trouble, DATABASE_GONE):
            # Whether the last commit happened is unknown. Both are safe: the row says it to whoever comes next.
            return Defer(_DATABASE_PAUSE_SECONDS, f"the database did not answer: {trouble}")
        case _:
            said = printable(f"{type(trouble).__name__}: {trouble}")
            logger.opt(exception=trouble).error("{}: {}", job, said)
            return Retry(said)


def _of_chain(job: Job, trouble: ChainError) -> Outcome:
    """What the chain, or its nodes, said instead of an answer."""
    match trouble:
        case PermissionChanged():
            return Failed(str(trouble))
        case FeeCapTooLow():
            return Defer(_FEES_PAUSE_SECONDS, str(trouble))
        case ChainUnavailable():
            return Defer(_CHAIN_PAUSE_SECONDS, f"no node answers: {trouble}")
        case WrongNetwork() | InconsistentNode():
            logger.error("{}: {}", job, trouble)
            return Defer(WRONG_NETWORK_PAUSE_SECONDS, str(trouble))
        case _:
            return Retry(f"{type(trouble).__name__}: {trouble}")
