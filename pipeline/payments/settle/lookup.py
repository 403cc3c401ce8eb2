"""Looks up payments by txid: settles those that a node shows final, and tells which of the others are dead."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psycopg
from loguru import logger

from pipeline.chains.errors import ChainError, ChainUnavailable, InconsistentNode, UndecodableTransaction
from pipeline.chains.provider import Provider
from pipeline.chains.values import Proof, Verdict
from pipeline.db.errors import refused_by_guard
from pipeline.payments.broadcast import short
from pipeline.payments.effect import Judged, judge
from pipeline.payments.ending import FoundAttempt
from pipeline.payments.live import LiveAttempt, LiveTransfer
from pipeline.payments.settle.attempts import PaymentAttempts, by_payment, describe, describe_transfer, name_of
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.states import TransferState

AskVerdicts = Callable[[PaymentAttempts], Awaitable[list[Verdict]]]
"""What one node can prove of each attempt of a payment; as ``SettlementStrategy.verdicts``."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What one node knows of a payment."""

    attempts: PaymentAttempts
    settled: bool = False
    dead: str | None = None
    """Its evidence."""


class Lookup:
    """Of the payments of one chain. Settles what is found one by one."""

    def __init__(
        self, store: SettlementStore, provider: Provider, verdicts: AskVerdicts, slots: asyncio.Semaphore
    ) -> None:
        self._store = store
        self._provider = provider
        self._verdicts = verdicts
        self._slots = slots
        self._alarms: dict[int, str] = {}
        """By bundle, what keeps it from being settled; it is tried again."""
        self._disputes: dict[int, str] = {}
        """By bundle, what its nodes disagree about."""
        self._otherwise: list[str] = []

    def alarms(self) -> list[str]:
        """Payments that the chain has decided and that cannot be stored: the database refuses it, or nodes disagree."""
        return [*self._alarms.values(), *self._disputes.values()]

    def dispute(self, bundle_id: int, why: str) -> None:
        """What nodes say of this payment contradicts itself; it is asked again."""
        if bundle_id not in self._disputes:
            logger.error("{}", why)
        self._disputes[bundle_id] = why

    def is_disputed(self, bundle_id: int) -> bool:
        """Whether there is such an alarm."""
        return bundle_id in self._disputes

    def forget_but(self, bundles: set[int]) -> None:
        """Only these are out."""
        self._alarms = {bundle: why for bundle, why in self._alarms.items() if bundle in bundles}
        self._disputes = {bundle: why for bundle, why in self._disputes.items() if bundle in bundles}

    def is_foreign(self, finding: FoundAttempt) -> bool:
        """Whether a transaction with the txid of an attempt is another one than was signed; people are told."""
        attempt, result = finding.attempt, finding.result
        if attempt.is_made_by(result) and (attempt.signed.nonce is not None or self._has_its_bytes(attempt)):
            return False
        alarm = (
            f"attempt {attempt.id} of {name_of(attempt)} has the txid of another transaction: "
            f"{result.txid} is not what was signed. It settles nothing; find out who wrote it into chain_transactions"
        )
        if attempt.bundle_id not in self._alarms:
            logger.critical("{}", alarm)
        self._alarms[attempt.bundle_id] = alarm
        return True

    async def look_up(self, attempts: Sequence[LiveAttempt]) -> list[LookedUp]:
        """Settle those that a node shows final; why the others are dead, as far as that one node can know."""
        return await asyncio.gather(*map(self._look_up, by_payment(attempts)))

    async def is_agreed(self, finding: FoundAttempt) -> bool:
        """Whether no node shows the end of a payment otherwise. False: people are told, and it is to be asked again."""
        try:
            await self._check_failure(finding)
        except ChainError as dispute:
            self.dispute(finding.attempt.bundle_id, str(dispute))
            return False
        self._disputes.pop(finding.attempt.bundle_id, None)
        return True

    async def _check_failure(self, finding: FoundAttempt) -> None:
        """A payment that one node shows as failed is decided anew, so that no other node may show it as done; and none
        may show that something else arrived. Raises InconsistentNode where one does, ChainUnavailable where none
        answers: nothing is stored then."""
        judged = finding.judged
        wrong = next((one for one in judged if one.error is not None), None)
        if wrong is None:
            return
        txid = finding.result.txid
        said = await self._provider.find_everywhere(txid)
        payments = finding.attempt.payments
        found = {name: judge(payments, result) for name, result in said.items() if result is not None}
        contradicting = [name for name, others in found.items() if not _agree(judged, others)]
        if contradicting:
            paid = wrong.state is TransferState.FINAL
            told = "paid otherwise than intended" if paid else "did not pay"
            names = ", ".join(contradicting)
            raise InconsistentNode(
                f"{name_of(finding.attempt)}: a node shows that tx {txid} {told}, {names} "
                f"{'something else' if paid else 'that it did'}. Nothing of it is settled until they agree: take "
                "the wrong one out of the chain's nodes"
            )
        if not found:
            raise ChainUnavailable(f"{wrong.error}; no node confirms it now")

    async def settle(self, finding: FoundAttempt) -> bool:
        """A row that the database refuses, or that nodes disagree about, holds up none of the others. False: they
        disagree, or none confirms it now; it is to be asked again."""
        if self.is_foreign(finding):
            return True
        if not await self.is_agreed(finding):
            return False
        try:
            rows = await self._store.settle_one(finding)
        except psycopg.Error as error:
            if not refused_by_guard(error):
                raise
            bundle, result = finding.attempt.bundle_id, finding.result
            alarm = (
                f"{name_of(finding.attempt)}: in final block {result.block.number} (tx {result.txid}) and the database "
                f"refuses to settle it: {error}"
            )
            if bundle not in self._alarms:
                logger.error("{}", alarm)
            self._alarms[bundle] = alarm
            return True
        self.tell([finding], {row["attempt_id"] for row in rows})
        return True

    def tell(self, findings: Sequence[FoundAttempt], settled: set[int]) -> None:
        """Log each payment whose attempt was settled."""
        for finding in findings:
            if finding.attempt.id not in settled:
                continue
            where = f"(tx {short(finding.result.txid)}) in block {finding.result.block.number}"
            for transfer, judged in zip(finding.attempt.transfers, finding.judged, strict=True):
                self._tell(transfer, judged, f"{describe_transfer(transfer)} {where}")

    def _tell(self, transfer: LiveTransfer, judged: Judged, described: str) -> None:
        if judged.state is TransferState.REVERTED:
            logger.error("reverted {}: {}", described, judged.error)
        elif judged.error is not None:
            self._otherwise.append(f"transfer {transfer.id}: {judged.error}")
            logger.critical("settled otherwise {}: {}", described, judged.error)
        else:
            logger.success("settled {}", described)

    def take_otherwise(self) -> list[str]:
        """Payments that were settled otherwise than intended, since this was asked last."""
        taken, self._otherwise = self._otherwise, []
        return taken

    def _has_its_bytes(self, attempt: LiveAttempt) -> bool:
        """Whether its txid is of bytes that make the payment; with such a txid nothing else can land."""
        signed = attempt.signed
        try:
            decoded = (self._provider.codec.decode(signed.raw, signed.sender),)
            if self._provider.codec.txid_of(signed.raw) != signed.txid or len(decoded) != len(attempt.payments):
                return False
            return all(one.does_as(other) for one, other in zip(decoded, attempt.payments, strict=True))
        except UndecodableTransaction:
            return False

    async def _look_up(self, attempts: PaymentAttempts) -> LookedUp:
        """All live attempts of one payment, because what one of them did not do another may have done. One that nobody
        can tell anything of holds up none of the others, and is looked up again in the next round."""
        async with self._slots:
            try:
                verdicts = await self._verdicts(attempts)
            except ChainError as trouble:
                logger.warning("{} cannot be looked up now: {}", describe(attempts[0]), trouble)
                return LookedUp(attempts)
        for attempt, verdict in zip(attempts, verdicts, strict=True):
            if verdict.proof is Proof.FINAL and verdict.result is not None:
                finding = FoundAttempt(attempt, verdict.result)
                if self.is_foreign(finding):
                    return LookedUp(attempts)
                return LookedUp(attempts, settled=await self.settle(finding))
        dead = all(verdict.proof is Proof.DEAD for verdict in verdicts)
        return LookedUp(attempts, dead=verdicts[0].evidence if dead else None)


def _agree(judged: Sequence[Judged], others: Sequence[Judged]) -> bool:
    return all(one.agrees(other) for one, other in zip(judged, others, strict=True))
