"""The statements of one chain's balances (sql/queries/sync). All raise psycopg errors."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pipeline.balances.due import Claim, error_of
from pipeline.chains.values import Balance
from pipeline.db.pool import Pool
from pipeline.db.rows import execute, fetch_one, fetch_value, fetch_values
from pipeline.db.statements import statement


@dataclass(frozen=True, slots=True)
class Stored:
    """How one balance was stored."""

    outcome: str
    """``read``; ``failed``: it could not be read; ``older``: a newer block's amount was there."""
    at: datetime


class BalanceStore:
    """Balances of one chain."""

    def __init__(self, pool: Pool, chain_id: int) -> None:
        self._pool = pool
        self._chain_id = chain_id

    async def claim(self, lock: str, size: int, lock_seconds: float) -> Claim:
        """Lock up to ``size`` due balances; the lock ends by itself after ``lock_seconds``."""
        parameters = {"lock": lock, "lock_seconds": lock_seconds, "batch": size, "chain_id": self._chain_id}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement("sync/claim"), parameters, prepare=True)
            return Claim.of(lock, await cursor.fetchall())

    async def store(self, claim: Claim, balances: Sequence[Balance]) -> Mapping[UUID, Stored]:
        """Write what was read, in the order of the claim, and unlock it. By balance id, of those that were still locked
        by this claim."""
        parameters = {
            "lock": claim.lock,
            "ids": claim.ids,
            "raws": [None if balance.raw is None else str(balance.raw) for balance in balances],
            "blocks": [None if balance.block is None else balance.block.number for balance in balances],
            "errors": [error_of(balance) for balance in balances],
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement("sync/store"), parameters, prepare=True)
            return {balance_id: Stored(outcome, at) for balance_id, outcome, at in await cursor.fetchall()}

    async def release(self, claim: Claim, retry_seconds: float, error: str | None) -> None:
        """Unlock what was not read: due again after ``retry_seconds``, with ``error`` to be shown."""
        async with self._pool.connection() as connection:
            await execute(
                connection, "sync/release", lock=claim.lock, ids=claim.ids, retry_seconds=retry_seconds, error=error
            )

    async def next_due(self) -> float | None:
        """Seconds until the next balance is due; 0 or less: one is due now; None: the chain has none."""
        async with self._pool.connection() as connection:
            seconds: float | None = await fetch_value(connection, "sync/next_due", chain_id=self._chain_id)
            return seconds

    async def bound_schedules(self, rows: int) -> int:
        """Make due what is scheduled for later than any rule schedules it; how many, at most ``rows`` of an asset."""
        async with self._pool.connection() as connection:
            return await execute(connection, "sync/bound_schedules", chain_id=self._chain_id, rows=rows)

    async def flags_raised(self, wallet_ids: Collection[UUID], since: datetime) -> tuple[int, int]:
        """How many of these wallets got needs_gas, and how many became ready to consolidate, since then."""
        async with self._pool.connection() as connection:
            row = await fetch_one(connection, "sync/raised", since=since, wallet_ids=list(wallet_ids))
            return row["gas"], row["consolidation"]

    async def token_contracts(self) -> list[str]:
        """Of the tokens whose balances are read."""
        async with self._pool.connection() as connection:
            return await fetch_values(connection, "sync/tokens", chain_id=self._chain_id)

    async def make_due(self, moved: Mapping[tuple[str, str], int]) -> int:
        """Make balances due that moved in a final block: the last such block by address and contract. How many of them
        are ours and were not read at that block or a later one."""
        async with self._pool.connection() as connection:
            return await execute(
                connection,
                "sync/moved",
                chain_id=self._chain_id,
                addresses=[address for address, _ in moved],
                contracts=[contract for _, contract in moved],
                blocks=list(moved.values()),
            )
