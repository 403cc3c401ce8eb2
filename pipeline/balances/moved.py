"""Wallets whose tokens moved are read at once, instead of at their interval.

    new final blocks ──logs of the tokens──▶ who sent and received ──▶ those balances are due

A hint, never evidence: the balances themselves are read after it. What is not seen here (native coins, what came before
the start or in a long absence) is read at the chain's interval.
"""

from dataclasses import dataclass

from pipeline.balances.store import BalanceStore
from pipeline.chains.provider import LogProvider
from pipeline.chains.values import Finality

LONGEST_RANGE_BLOCKS = 5_000
"""Of a longer absence only the end is read: the interval has passed for all wallets meanwhile."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Blocks that were read, and how many balances became due by them."""

    first: int
    last: int
    due: int


class MovedBalances:
    """Of one chain, from the first call of ``make_due`` on."""

    def __init__(self, store: BalanceStore, provider: LogProvider) -> None:
        self._store = store
        self._provider = provider
        self._read_up_to: int | None = None
        """The last block whose logs were read."""

    async def make_due(self) -> Moved | None:
        """Make due what moved in the final blocks since the last call; None: there is no new one. Where it raises
        ChainError or a psycopg error, the next call reads the same blocks again."""
        final = (await self._provider.block_ref(Finality.FINAL)).number
        if self._read_up_to is None:
            self._read_up_to = final
        first = max(self._read_up_to + 1, final - LONGEST_RANGE_BLOCKS + 1)
        if first > final:
            return None
        latest: dict[tuple[str, str], int] = {}
        for moved in await self._provider.transfers(first, final, await self._store.token_contracts()):
            for party in (moved.effect.sender, moved.effect.receiver):
                latest[party, moved.effect.contract or ""] = moved.block
        due = await self._store.make_due(latest) if latest else 0
        self._read_up_to = final
        return Moved(first, final, due)
