"""What the benches of the sync on EVM share: anvil with a token, a database full of wallets, a line with a delay.

The wallets' addresses are made up (nobody has their keys) and hold nothing unless a bench gives them something: a
balance of zero is read like any other.
"""

import asyncio
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from bench.consumption import cpu_of_tree
from pipeline.chains.evm.codec import address
from pipeline.chains.values import Asset
from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection
from pipeline.embedded.cluster import socket_directory
from pipeline.embedded.server import EmbeddedServer
from tests.chains.evm.anvil import Anvil, anvil
from tests.chains.evm.conftest import CONTRACTS

CHAIN = "anvil"
CHAIN_ID = 31337
COIN = Asset("ETH", 18)
ETHER = 10**18
ASSETS = 2
"""Balances of a wallet."""
_ROWS_A_COPY = 50_000

_INSERT_CHAIN = """
INSERT INTO chains (name, family, network_id, nodes, gas_policy, gas_flag_below, gas_execute_below, gas_amount,
                    fee_reserve, gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, sync_interval)
VALUES (%s, 'evm', %s, %s, 'on_demand', 2e14, 2e14, 2e15, 5e13, 2e16, 5e16, 2e18, '1 day') RETURNING id
"""
_INSERT_ASSETS = """
INSERT INTO asset_on_chain
    (chain_id, symbol, contract_address, decimals, consolidate_flag_above, consolidate_execute_min)
VALUES (%(chain)s, 'ETH', NULL, 18, NULL, NULL), (%(chain)s, 'PLN', %(contract)s, 18, 2e20, 1e20)
"""
# The balances of 50,000 wallets are written by a trigger.
_INSERT_WALLETS = """
INSERT INTO wallets (chain_id, address, derivation_index)
SELECT %(chain)s, a.address, %(first)s + a.place + 9
FROM unnest(%(addresses)s::text[]) WITH ORDINALITY AS a (address, place)
"""


@dataclass(slots=True)
class Stand:
    """A chain of many wallets, nobody at work on it."""

    node: Anvil
    token: Asset
    dsn: str
    home: Path
    chain_id: int
    connection: Connection
    postmaster: psutil.Process
    anvil: psutil.Process
    wallets: int

    async def reach_by(self, url: str) -> None:
        """The sync's way to the node from now on."""
        await self.connection.execute("UPDATE chains SET nodes = %s", [Jsonb([url])])

    async def make_due(self, count: int | None = None) -> int:
        """Every balance, or those of the first wallets; how many. Nothing is locked before."""
        cursor = await self.connection.execute(
            """
            UPDATE wallet_balances SET next_check_at = now() - interval '1 second'
            WHERE wallet_id IN (SELECT id FROM wallets ORDER BY id LIMIT %s)
            """,
            [None if count is None else -(-count // ASSETS)],
        )
        return cursor.rowcount

    async def make_pages_due(self) -> None:
        """Every balance that is read with its page: all that were read once."""
        await self.connection.execute("UPDATE sync_pages SET next_check_at = now() - interval '1 second'")

    async def wal_bytes(self) -> int:
        """Written by the server so far."""
        cursor = await self.connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
        ((written,),) = await cursor.fetchall()
        return int(written)

    async def vacuum(self) -> None:
        """What autovacuum does when it likes, so that no round meets it."""
        for table in ("wallet_balances", "wallets", "sync_pages"):
            await self.connection.execute(f"VACUUM (ANALYZE) {table}")

    async def give(self, owners: Sequence[str], raw: int) -> None:
        """Coins, past every transaction; final on return."""
        for owner in owners:
            await self.node.call("anvil_setBalance", owner, hex(raw))
        await self.node.finalize()

    def cpu_seconds(self) -> dict[str, float]:
        """Used so far by Postgres (those of its processes that live now) and by the node."""
        return {"postgres": cpu_of_tree(self.postmaster), "node": cpu_of_tree(self.anvil)}


def wallet_address(number: int) -> str:
    """Of the n-th wallet, in checksummed form."""
    return address.from_bytes(hashlib.sha256(b"wallet %d" % number).digest()[:20])


@asynccontextmanager
async def stand(wallets: int) -> AsyncIterator[Stand]:
    """A fresh chain and database with so many wallets, all of them due."""
    with _server() as server:
        await migrate(server.dsn)
        async with (
            anvil(chain_id=CHAIN_ID) as node,
            await AsyncConnection.connect(server.dsn, autocommit=True) as connection,
        ):
            contract = address.validate(await node.deploy(CONTRACTS / "PlainToken.json", f"{18:064x}"))
            await node.finalize()
            chain_id = await _seed(connection, node.url, contract, wallets)
            yield Stand(
                node=node,
                token=Asset("PLN", 18, contract),
                dsn=server.dsn,
                home=server.home,
                chain_id=chain_id,
                connection=connection,
                postmaster=psutil.Process(server.pid),
                anvil=psutil.Process(node.pid),
                wallets=wallets,
            )


@asynccontextmanager
async def line(url: str, seconds: float) -> AsyncIterator[str]:
    """The URL of ``url`` behind a line on which every question takes ``seconds`` longer: a node in another place."""
    host, _, port = url.removeprefix("http://").partition(":")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection(host, int(port))
        for task in (
            asyncio.create_task(_forward(reader, upstream[1], seconds)),
            asyncio.create_task(_forward(upstream[0], writer, 0.0)),
        ):
            tasks.add(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**22)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: float) -> None:
    """Whatever comes leaves so much later, in its order; what comes together, together."""
    due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def receive() -> None:
        data = b"the first"
        while data:
            data = await source.read(2**20)
            due.put_nowait((time.monotonic() + seconds, data))

    receiving = asyncio.create_task(receive())
    try:
        while (item := await due.get())[1]:
            await asyncio.sleep(max(0.0, item[0] - time.monotonic()))
            sink.write(item[1])
    finally:
        receiving.cancel()
        sink.close()


async def _seed(connection: Connection, url: str, contract: str, wallets: int) -> int:
    await connection.execute("DELETE FROM asset_on_chain")
    await connection.execute("DELETE FROM chains")
    cursor = await connection.execute(_INSERT_CHAIN, [CHAIN, str(CHAIN_ID), Jsonb([url])])
    ((chain_id,),) = await cursor.fetchall()
    await connection.execute(_INSERT_ASSETS, {"chain": chain_id, "contract": contract})
    for first in range(1, wallets + 1, _ROWS_A_COPY):
        numbers = range(first, min(first + _ROWS_A_COPY, wallets + 1))
        addresses = [wallet_address(number) for number in numbers]
        await connection.execute(_INSERT_WALLETS, {"chain": chain_id, "first": first, "addresses": addresses})
    await connection.execute("VACUUM (ANALYZE)")
    return int(chain_id)


@contextmanager
def _server() -> Iterator[EmbeddedServer]:
    """In a directory that its account can reach; durable as in production, vacuumed between the rounds only."""
    home = Path(tempfile.mkdtemp(prefix="flagpost-bench-"))
    home.chmod(0o755)
    try:
        with EmbeddedServer(home, settings={"autovacuum": "off", "checkpoint_timeout": "1h"}) as running:
            yield running
    finally:
        shutil.rmtree(socket_directory(home), ignore_errors=True)
        shutil.rmtree(home)
