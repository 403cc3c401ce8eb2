"""Sends the identical bytes of a payment that is in no block again, ever more slowly."""

import asyncio

import psycopg
from loguru import logger

from pipeline.chains.provider import Provider
from pipeline.chains.values import Finality
from pipeline.payments.broadcast import in_short, send_bytes, short
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.settle.store import Repeat, SettlementStore
from pipeline.payments.store import PaymentStore

_REPEATS_A_ROUND = 100
_LONGEST_PAUSE_SECONDS = 60.0
"""Cap of the doubling pause between two sends of the same bytes."""


class Rebroadcasts:
    """Of the payments of one chain."""

    def __init__(
        self,
        chain_id: int,
        store: SettlementStore,
        transfers: PaymentStore,
        provider: Provider,
        block_seconds: float,
        slots: asyncio.Semaphore,
    ) -> None:
        self._chain_id = chain_id
        self._store = store
        self._transfers = transfers
        self._provider = provider
        self._block_seconds = block_seconds
        self._slots = slots

    async def send(self) -> None:
        """Send what is due. Raises ChainUnavailable, psycopg.Error."""
        head = await self._provider.block_ref(Finality.HEAD)
        repeats = await self._store.claim_repeats(
            self._chain_id, head.timestamp, self._block_seconds, _LONGEST_PAUSE_SECONDS, _REPEATS_A_ROUND
        )
        await asyncio.gather(*map(self._send, repeats))

    async def _send(self, repeat: Repeat) -> None:
        async with self._slots:
            reply = await send_bytes(self._provider, repeat.signed, repeat.count - 1)
        crash_here(CrashPoint.REBROADCAST_SENT)
        logger.info("sent tx {} again (send {}): {}", short(repeat.signed.txid), repeat.count, in_short(reply))
        try:
            await self._transfers.record_reply(repeat.attempt_id, reply)
        except psycopg.Error as trouble:
            logger.warning("the reply to tx {} was not stored: {}", short(repeat.signed.txid), trouble)
