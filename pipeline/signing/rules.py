"""The rules of a network applied: is this payment allowed at all, may it cost so much, is there room for it today.

allow     contract in the policy, gas and fee of the transaction within it
write     amount and fee are counted on this host's disk; only then may it be signed
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from pipeline.chains.values import Cost, Payment
from pipeline.signing.errors import CeilingReached, LedgerUnavailable, NeverSigned, SigningDeferred, SigningRefused
from pipeline.signing.ledger import SpendingLedger
from pipeline.signing.ledger_entries import Ceiling, Entry, Refusal
from pipeline.signing.policy import NetworkPolicy

GAS_WALLET, WALLETS = "gas wallet", "wallets"
"""Whose coins a ceiling bounds: the gas wallet's amounts and fees; the fees of customers' wallets."""


def ceiling_of(policy: NetworkPolicy, whose: str) -> Ceiling:
    """``whose`` is GAS_WALLET or WALLETS."""
    return Ceiling(f"{policy.network} {whose}", policy.day_max)


class SigningRules:
    """One network's rules in one process."""

    def __init__(self, policy: NetworkPolicy, ledger: SpendingLedger) -> None:
        self.policy = policy
        self._ledger = ledger

    def refusal(self, contract: str | None) -> str | None:
        """Why tokens of a contract are not moved; None: they may be."""
        if contract is None:
            return None
        try:
            self.policy.contract(contract)
        except SigningRefused as refused:
            return str(refused)
        return None

    def allow(self, payment: Payment, cost: Cost) -> None:
        """Raises SigningRefused where no waiting helps, SigningDeferred where fees may fall."""
        if payment.asset.contract is not None:
            contract = self.policy.contract(payment.asset.contract)
            if contract.gas_max is not None and (cost.gas or 0) > contract.gas_max:
                raise SigningRefused(
                    f"a call of {contract.symbol} ({contract.address}) would use up to {cost.gas} units of gas, the "
                    f"signing policy of {self.policy.name} allows {contract.gas_max}: find out why, then raise "
                    "its gas_max"
                )
        if cost.fee > self.policy.fee_max:
            raise SigningDeferred(
                f"a transaction could cost {self.policy.human(cost.fee)} coins, the signing policy of "
                f"{self.policy.name} allows {self.policy.human(self.policy.fee_max)} on this host: wait until fees "
                "fall, or raise its fee_max"
            )

    def _reached(self, reached: CeilingReached, whose: str) -> CeilingReached:
        human = self.policy.human
        freed = ""
        if reached.free_at is not None:
            freed = f"; the oldest of it is forgotten at {datetime.fromtimestamp(reached.free_at, UTC):%H:%M:%S} UTC"
        return CeilingReached(
            f"day_max of the signing policy of {self.policy.name} is reached for the {whose}: {human(reached.spent)} "
            f"of {human(self.policy.day_max)} coins were signed away on this host in 24 hours, {human(reached.asked)} "
            f"more are asked for{freed}. If so much is meant to leave, raise day_max",
            reached.spent,
            reached.asked,
            reached.free_at,
        )

    def entry(self, request_id: str, content: str, amount: int, *, of_gas_wallet: bool) -> Entry:
        """What is counted for a request; ``amount`` in native raw units."""
        whose = GAS_WALLET if of_gas_wallet else WALLETS
        return Entry(request_id, content, ceiling_of(self.policy, whose), amount)

    async def write(self, entries: Sequence[Entry], unreached: Refusal) -> list[SigningDeferred | NeverSigned | None]:
        """Write down what may be spent and what is never signed, in order, up to the first that may not be signed.
        None: it may be signed, or was before; else CeilingReached, LedgerUnavailable, NeverSigned, OtherContent."""
        try:
            answers = await self._ledger.write(entries, unreached)
        except LedgerUnavailable as trouble:
            return [trouble] * len(entries)
        return [self._answer(entry, answer) for entry, answer in zip(entries, answers, strict=True)]

    def _answer(self, entry: Entry, answer: Exception | None) -> SigningDeferred | NeverSigned | None:
        if isinstance(answer, CeilingReached):
            is_gas = entry.ceiling == ceiling_of(self.policy, GAS_WALLET)
            return self._reached(answer, GAS_WALLET if is_gas else WALLETS)
        if answer is None or isinstance(answer, SigningDeferred | NeverSigned):
            return answer
        raise answer
