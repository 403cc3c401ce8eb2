"""Wallets whose tokens moved are read at once, instead of when their turn comes.

    new final blocks ──logs of the tokens──▶ who sent and received ──▶ those balances are due

A hint and no truth: the sync reads the balances themselves. What is not seen here (coins, what came before the start or
in a long absence) is read at the chain's interval as ever.
"""

from collections.abc import Callable

from loguru import logger

from pipeline.catalog.chains import ChainRow
from pipeline.chains.errors import ChainError
from pipeline.chains.provider import LogProvider
from pipeline.chains.values import Finality
from pipeline.db.statements import statement
from pipeline.workers.runtime import Runtime, reason

LONGEST_LOOK_BLOCKS = 5_000
"""Of a longer absence only the end is looked at: the interval has come round for all wallets meanwhile."""


class MovedWallets:
    """Of one chain. ``look`` as often as one likes; it asks the node every ``sync.transfers_seconds``."""

    def __init__(self, runtime: Runtime, row: ChainRow, provider: LogProvider, monotonic: Callable[[], float]) -> None:
        """``monotonic`` tells seconds."""
        self._runtime = runtime
        self._row = row
        self._provider = provider
        self._monotonic = monotonic
        self._seen: int | None = None
        """The last block that was looked at."""
        self._looked_at: float | None = None
        self._trouble = False

    async def look(self) -> None:
        """Make the balances due that moved since the last look. Trouble with the nodes is left to the next one."""
        every, now = self._runtime.config.sync.transfers_seconds, self._monotonic()
        if every == 0 or (self._looked_at is not None and now - self._looked_at < every):
            return
        self._looked_at = now
        try:
            await self._look()
        except ChainError as trouble:
            if not self._trouble:
                logger.warning("sync {}: no look at what moved: {}", self._row.name, reason(trouble))
            self._trouble = True
        else:
            self._trouble = False

    async def _look(self) -> None:
        final = (await self._provider.block_ref(Finality.FINAL)).number
        if self._seen is None:
            self._seen = final
        first = max(self._seen + 1, final - LONGEST_LOOK_BLOCKS + 1)
        if first > final:
            return
        contracts = await self._runtime.persist("reading tokens", self._tokens)
        latest: dict[tuple[str, str], int] = {}
        for moved in await self._provider.transfers(first, final, contracts):
            for party in (moved.effect.sender, moved.effect.receiver):
                latest[party, moved.effect.contract or ""] = moved.block
        if latest:
            due = await self._runtime.persist("making moved balances due", lambda: self._make_due(latest))
            if due:
                logger.info("sync {}: {} balances moved in blocks {} to {}", self._row.name, due, first, final)
        self._seen = final

    async def _tokens(self) -> list[str]:
        async with self._runtime.pool.connection() as connection:
            cursor = await connection.execute(statement("sync/tokens"), {"chain_id": self._row.id}, prepare=True)
            return [contract for (contract,) in await cursor.fetchall()]

    async def _make_due(self, latest: dict[tuple[str, str], int]) -> int:
        parameters = {
            "chain_id": self._row.id,
            "addresses": [address for address, _ in latest],
            "contracts": [contract for _, contract in latest],
            "blocks": list(latest.values()),
        }
        async with self._runtime.pool.connection() as connection:
            return (await connection.execute(statement("sync/moved"), parameters, prepare=True)).rowcount
