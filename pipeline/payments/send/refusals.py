"""Why the database did not let a step happen: its SQLSTATE as an exception that says what to do. What a signer refuses
is in ``signatures``."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from psycopg import errors

from pipeline.db.errors import DATABASE_GONE, refused_by_guard


class StepRefused(Exception):
    """The database did not let a step happen; nothing changed."""


class LeaseLost(StepRefused):
    """The attempt no longer holds its job: rescued, cancelled, or handed over to the confirmation worker."""


class StateChanged(StepRefused):
    """The payment is in another state than this step starts from: somebody else has taken it further."""


class CooldownActive(StepRefused):
    """The gas cooldown of the wallet has not passed."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.seconds = max(0.0, (until - datetime.now(UTC)).total_seconds())
        """Until a top-up is possible."""


class MayStillLand(StepRefused):
    """A signature of an earlier payment was refused, and what it asked for could still land: the next one waits."""


class GasFundsShort(StepRefused):
    """The gas wallet has been asked for more than it holds; the message says what to do."""


class BudgetExhausted(StepRefused):
    """A gas limit would be passed; the message names it."""


class UnusualFee(StepRefused):
    """A transaction could cost many times what payments of its kind cost lately; the message says how much."""


class UnknownTransactions(StepRefused):
    """The chain, or a node's pool, shows transactions of a sender that are not recorded."""


class UnfinishedNonce(StepRefused):
    """A nonce of the sender is reserved and its transaction is not signed: that one is finished first."""


class SenderStuck(StepRefused):
    """What a sender has sent does not get into a block, or cannot be looked into: nothing new is signed behind it."""


class SenderFrozen(StepRefused):
    """A sender made a transaction that is no payment of ours: it pays nothing and gets no gas until it is released."""


class PayerFrozen(SenderFrozen):
    """Whatever it is asked to pay: it is the sender itself, and not a wallet that gets gas."""


def is_outage(trouble: Exception) -> bool:
    """Whether the database was not there for a step, and no rule refused it."""
    return isinstance(trouble, DATABASE_GONE) and not isinstance(trouble, StepRefused) and not refused_by_guard(trouble)


@contextmanager
def refusals() -> Iterator[None]:
    """Around a commit: what the database refuses by a rule of ours is raised as StepRefused."""
    try:
        yield
    except errors.DatabaseError as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise refusal from error


def _refusal(error: errors.DatabaseError) -> StepRefused | None:
    """What a trigger's refusal means; None for any other error."""
    message = error.diag.message_primary or str(error)
    match error.sqlstate:
        case "FP001":  # triggers/gas_budgets: cooldown; DETAIL is its end
            return CooldownActive(message, datetime.fromisoformat(error.diag.message_detail or ""))
        case "FP002":  # triggers/gas_budgets: one of the limits
            return BudgetExhausted(message)
        case "FP005":  # sql/functions/nonces: beyond what is recorded
            return UnknownTransactions(message)
        case "FP006":  # sql/functions/nonces: frozen
            return PayerFrozen(message)
        case "FP012":  # triggers/gas_for_frozen_wallets: gas for one that is
            return SenderFrozen(message)
        case "FP007":  # triggers/money_enters: a refused signature
            return MayStillLand(message)
        case "FP008":  # triggers/fees_paid: far above what was paid lately
            hint = error.diag.message_hint
            return UnusualFee(message if hint is None else f"{message}. {hint}")
        case "FP011":  # sql/functions/nonces: its nonce queue stands still
            return SenderStuck(message)
        case "FP013":  # sql/functions/nonces: a reserved nonce without bytes
            return UnfinishedNonce(message)
        case "23505" if error.diag.constraint_name == "transfers_idempotency_key_key":
            return StateChanged(message)  # another worker inserted this very payment, and it has ended
    return None
