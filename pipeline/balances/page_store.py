"""The statements of one chain's pages of balances (sql/queries/sync). All raise psycopg errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pipeline.balances.pages import Page, PageChanges, PageClaim
from pipeline.db.pool import Pool
from pipeline.db.rows import execute
from pipeline.db.statements import statement


@dataclass(frozen=True, slots=True)
class StoredPage:
    """How a page was stored."""

    outcome: str
    """``read``; ``lost``: another sync has it; ``older``: a newer block was seen before."""
    at: datetime
    written: Mapping[str, UUID]
    """The wallet of each balance that was written, by balance id."""


class PageStore:
    """Pages of one chain."""

    def __init__(self, pool: Pool, chain_id: int) -> None:
        self._pool = pool
        self._chain_id = chain_id

    async def claim(self, lock: str, size: int, lock_seconds: float, record_seconds: float) -> Page | None:
        """Lock a page of at most ``size`` balances that is due, or None, and select them; the lock ends by itself after
        ``lock_seconds``. ``record_seconds``: how long the rows of what does not change may be behind."""
        parameters = {
            "chain_id": self._chain_id,
            "lock": lock,
            "lock_seconds": lock_seconds,
            "balances": size,
            "record_seconds": record_seconds,
        }
        async with self._pool.connection() as connection:
            row = await (await connection.execute(statement("sync/claim_page"), parameters, prepare=True)).fetchone()
            if row is None:
                return None
            claim = PageClaim.of(lock, row)
            # It may have grown since it was counted.
            limit = 2 * size
            cursor = await connection.execute(
                statement("sync/page"), {**_keys(claim), "limit": limit}, prepare=True, binary=True
            )
            return Page.of(claim, await cursor.fetchall(), limit)

    async def store(self, page: Page, found: PageChanges) -> StoredPage:
        """Write what changed, and unlock the page."""
        claim = page.claim
        parameters = {
            **_keys(claim),
            "lock": claim.lock,
            "up_to": page.ids[-1] if page.is_cut else claim.last_id,
            "balances": len(page.ids),
            "first_block": found.first_block,
            "last_block": found.last_block,
            "record": claim.record,
            "ids": [page.ids[place] for place in found.places],
            "known": [page.known_raws[place] for place in found.places],
            "raws": found.raws,
            "blocks": found.blocks,
            "errors": found.errors,
        }
        async with self._pool.connection() as connection:
            row = await (await connection.execute(statement("sync/store_page"), parameters, prepare=True)).fetchone()
        assert row is not None  # noqa: S101 - a function that returns one row
        outcome, at, ids, wallets = row
        return StoredPage(outcome, at, dict(zip(ids or (), wallets or (), strict=True)))

    async def release(self, claim: PageClaim, retry_seconds: float, error: str | None) -> None:
        """Unlock what was not read: due again after ``retry_seconds``, with ``error`` to be shown."""
        async with self._pool.connection() as connection:
            await execute(
                connection,
                "sync/release_page",
                **_keys(claim),
                lock=claim.lock,
                retry_seconds=retry_seconds,
                error=error,
            )


def _keys(claim: PageClaim) -> dict[str, Any]:
    return {"asset_id": claim.asset_id, "after_id": claim.after_id, "last_id": claim.last_id}
