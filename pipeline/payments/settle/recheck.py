"""Re-checks expired attempts; one that is found may be a double payment."""

import asyncio
from datetime import datetime

from loguru import logger

from pipeline.chains.errors import ChainError
from pipeline.chains.provider import Provider
from pipeline.chains.values import Finality
from pipeline.payments.settle.store import SettlementStore


class ExpiredRecheck:
    """Of one chain: all that expired lately, and what expired before by turns."""

    def __init__(self, chain_id: int, store: SettlementStore, provider: Provider, slots: asyncio.Semaphore) -> None:
        self._chain_id = chain_id
        self._store = store
        self._provider = provider
        self._slots = slots
        self._last: datetime | None = None
        """When what was looked up last by turns expired."""

    async def alarms(self) -> list[str]:
        """Attempts that are stored as expired and stand in a final block. Raises psycopg.Error."""
        alarms = []
        expired = await self._store.expired(self._chain_id, self._last)
        self._last = max((one.turn for one in expired if one.turn is not None), default=None)
        for one in expired:
            try:
                async with self._slots:
                    result = await self._provider.find(one.txid, Finality.FINAL)
            except ChainError as trouble:
                logger.warning("tx {}, stored as {}, cannot be looked up now: {}", one.txid, one.state, trouble)
                continue
            if result is not None:
                alarms.append(
                    f"tx {one.txid} of transfer {one.transfer_id} is stored as {one.state} and stands in final "
                    f"block {result.block.number}: pause the system (flagpost config set paused true) and compare "
                    "transfers with the chain"
                )
                logger.critical("{}", alarms[-1])
        return alarms
