"""How far the final blocks of a chain were read, for each purpose: a row of ``chain_cursors``.

A cursor is a ``BlockRef``: everything in blocks up to that one is stored. It moves by compare-and-set, in the
transaction that stores what was found in the blocks between.
"""

from typing import Any

from psycopg import AsyncConnection

from pipeline.chains.values import BlockRef
from pipeline.db.rows import fetch


class CursorMoved(Exception):
    """Another process has read on; what this one read must not be stored."""


class Cursor:
    """Of one chain, for one purpose (a value of ``chain_cursors.purpose``)."""

    def __init__(self, chain_id: int, purpose: str) -> None:
        self._chain_id = chain_id
        self._purpose = purpose

    async def read(self, conn: AsyncConnection[Any]) -> BlockRef | None:
        """The last block that was read; None before the first."""
        rows = await fetch(conn, "blocks/cursor", chain_id=self._chain_id, purpose=self._purpose)
        return BlockRef(rows[0]["block_number"], rows[0]["block_id"], rows[0]["block_time"]) if rows else None

    async def advance(self, conn: AsyncConnection[Any], start: BlockRef | None, to: BlockRef) -> None:
        """Move it from ``start`` (None: there is none yet) to ``to``, in the caller's transaction. Raises CursorMoved:
        roll back."""
        rows = await fetch(
            conn,
            "blocks/advance_cursor",
            chain_id=self._chain_id,
            purpose=self._purpose,
            block_number=to.number,
            block_id=to.id,
            block_time=to.timestamp,
            expected_id=None if start is None else start.id,
        )
        if not rows:
            raise CursorMoved(f"chain {self._chain_id}: another process has read on for {self._purpose}")
