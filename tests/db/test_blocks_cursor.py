"""Cursors of final blocks: one for each purpose, moved by compare-and-set in the commit of what was found. A deposit
scanner works as the one here does."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pipeline.blocks.cursor import Cursor, CursorMoved
from pipeline.blocks.errors import BlockConflict
from pipeline.blocks.follower import BlockFollower
from pipeline.chains.values import BlockRef
from pipeline.db.pool import Connection, Pool, pool_of
from tests.db.sessions import rows, value
from tests.seed import Chain as SeededChain
from tests.unit.blocks.chain import Chain

NOW = datetime.now(UTC)


@pytest.fixture
async def depositing(database: str) -> AsyncIterator[Pool]:
    async with pool_of(database, "test", role="pipeline_deposits", max_size=2) as pool:
        yield pool


def block(number: int, branch: str = "a") -> BlockRef:
    return BlockRef(number, f"{branch}{number}", NOW + timedelta(seconds=number))


async def move(pool: Pool, cursor: Cursor, start: BlockRef | None, to: BlockRef) -> None:
    async with pool.connection() as conn, conn.transaction():
        await cursor.advance(conn, start, to)


async def read(pool: Pool, cursor: Cursor) -> BlockRef | None:
    async with pool.connection() as conn:
        return await cursor.read(conn)


class TestCursor:
    async def test_there_is_none_before_the_first_block(self, depositing: Pool, tron: SeededChain) -> None:
        cursor = Cursor(tron.id, "deposits")
        assert await read(depositing, cursor) is None
        await move(depositing, cursor, None, block(3))
        assert await read(depositing, cursor) == block(3)

    async def test_of_two_who_start_at_one_block_one_moves_it(self, depositing: Pool, tron: SeededChain) -> None:
        cursor = Cursor(tron.id, "deposits")
        await move(depositing, cursor, None, block(3))
        await move(depositing, cursor, block(3), block(5))
        with pytest.raises(CursorMoved, match="has read on for deposits"):
            await move(depositing, cursor, block(3), block(6))
        with pytest.raises(CursorMoved):
            await move(depositing, cursor, None, block(6))
        assert await read(depositing, cursor) == block(5)

    async def test_what_was_found_is_stored_with_it_or_not_at_all(
        self, connection: Connection, depositing: Pool, tron: SeededChain
    ) -> None:
        cursor = Cursor(tron.id, "deposits")
        await move(depositing, cursor, None, block(3))

        async def twice() -> None:
            async with depositing.connection() as conn, conn.transaction():
                await cursor.advance(conn, block(3), block(4))
                await cursor.advance(conn, block(3), block(5))

        with pytest.raises(CursorMoved):
            await twice()
        assert await value(connection, "SELECT block_number FROM chain_cursors") == 3

    async def test_each_purpose_has_its_own(
        self, connection: Connection, depositing: Pool, tron: SeededChain, database: str
    ) -> None:
        """And its own role."""
        await move(depositing, Cursor(tron.id, "deposits"), None, block(3))
        async with pool_of(database, "test", role="pipeline_confirmations", max_size=1) as confirming:
            await move(confirming, Cursor(tron.id, "confirmations"), None, block(9))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await move(confirming, Cursor(tron.id, "deposits"), block(3), block(4))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await move(depositing, Cursor(tron.id, "confirmations"), block(9), block(10))
        assert await rows(connection, "SELECT purpose, block_number FROM chain_cursors ORDER BY purpose") == [
            ("confirmations", 9),
            ("deposits", 3),
        ]


class TestScanner:
    """What reads deposits: from the cursor on, everything of a block in one commit with it."""

    @staticmethod
    async def scan(pool: Pool, chain: Chain, cursor: Cursor) -> list[int]:
        start = await read(pool, cursor)
        assert start is not None
        seen = []
        async with aclosing(BlockFollower(chain.read).follow(start, chain.head)) as blocks:
            async for content in blocks:
                await move(pool, cursor, start, content.block)
                start = content.block
                seen.append(start.number)
        return seen

    async def test_it_goes_on_where_it_stopped(self, depositing: Pool, tron: SeededChain) -> None:
        chain, cursor = Chain(), Cursor(tron.id, "deposits")
        await move(depositing, cursor, None, chain.chain[0].block)
        assert await self.scan(depositing, chain, cursor) == [1, 2]
        assert await self.scan(depositing, chain, cursor) == []
        chain.grow("a", 20)
        assert await self.scan(depositing, chain, cursor) == list(range(3, 23))
        assert await read(depositing, cursor) == chain.head

    async def test_a_fork_below_the_cursor_stops_it(self, depositing: Pool, tron: SeededChain) -> None:
        chain, cursor = Chain(), Cursor(tron.id, "deposits")
        await move(depositing, cursor, None, chain.head)
        last = chain.head
        chain.fork(2)
        chain.grow("b", 5)
        with pytest.raises(BlockConflict, match="final block 3 b3 does not follow final block 2 a2"):
            await self.scan(depositing, chain, cursor)
        assert await read(depositing, cursor) == last
