"""The balance sync on a real database, with a chain that answers as it is told."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pipeline.balances.batch import Batch
from pipeline.catalog.chains import ChainRow
from pipeline.chains.errors import ChainUnavailable, WrongNetwork
from pipeline.chains.provider import Capabilities, Provider
from pipeline.chains.values import Balance, BalanceQuery, BlockRef, Finality
from pipeline.config import ConfigError
from pipeline.db.pool import Connection
from pipeline.workers.sync import BATCHES_AT_ONCE, Sync
from tests.db.worker_kit import PATIENCE, Door, configure, heartbeat, rows, running
from tests.seed import TRX, USDT, Chain, add_wallets


class Ledger:
    """What a chain says: amounts by address and contract at one final block."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.amounts: dict[tuple[str, str | None], int] = {}
        self.errors: dict[str, str] = {}
        self.block = 100
        self.calls: list[list[BalanceQuery]] = []
        self.fault: Exception | None = None
        self.network_fault: Exception | None = None
        self.gate = asyncio.Event()
        """Calls wait here while it is not set."""
        self.asked = asyncio.Event()
        self.closed = False
        self.gate.set()

    async def check_network(self) -> None:
        self.asked.set()
        if self.network_fault is not None:
            raise self.network_fault

    async def balances(self, queries: Sequence[BalanceQuery], finality: Finality = Finality.FINAL) -> list[Balance]:
        assert finality is Finality.FINAL
        self.calls.append(list(queries))
        block = BlockRef(self.block, f"{self.block:064x}", datetime.now(UTC))
        self.asked.set()
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return [self._balance(query, block) for query in queries]

    def _balance(self, query: BalanceQuery, block: BlockRef) -> Balance:
        if query.address in self.errors:
            return Balance(None, None, self.errors[query.address])
        return Balance(self.amounts.get((query.address, query.asset.contract), 0), block)

    def troubles(self) -> Mapping[str, str]:
        return {"http://node": "2 failures, the last: http://node did not answer"}

    async def close(self) -> None:
        self.closed = True


class Watch:
    """Batches as they are stored."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self._stored: asyncio.Queue[Batch] = asyncio.Queue()

    def __call__(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._stored.put_nowait(batch)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self._stored.get()

    @property
    def read(self) -> int:
        return sum(batch.read for batch in self.batches)


def sync_of(ledger: Ledger, watch: Watch | None = None, **options: object) -> Sync:
    def open_chain(_: ChainRow) -> Provider:
        return ledger  # type: ignore[return-value]  # the three methods that a sync uses

    return Sync(open_chain, observer=watch, **options)  # type: ignore[arg-type]


async def balances(connection: Connection) -> list[dict[str, object]]:
    return await rows(connection, "SELECT * FROM balance_state ORDER BY wallet_id, asset_on_chain_id")


async def make_due(connection: Connection, **where: int) -> None:
    await connection.execute(
        "UPDATE wallet_balances SET next_check_at = now() WHERE wallet_id = coalesce(%s, wallet_id)",
        [where.get("wallet_id")],
    )


async def test_everything_due_is_read_in_few_calls_and_flags_rise(
    connection: Connection, database: str, tron: Chain
) -> None:
    rich, poor = await add_wallets(connection, tron, 2)
    ledger, watch = Ledger(), Watch()
    (token,) = await rows(connection, "SELECT contract_address AS contract FROM asset_on_chain WHERE symbol = 'USDT'")
    ledger.amounts = {
        (rich.address, None): 20 * TRX,
        (rich.address, token["contract"]): 250 * USDT,
        (poor.address, None): 3,
    }
    async with running(sync_of(ledger, watch), database):
        await watch.until(lambda: watch.read == 4)
    assert [len(call) for call in ledger.calls] == [4]
    found = await rows(connection, "SELECT address, needs_gas, needs_consolidation FROM wallets ORDER BY id")
    assert [tuple(row.values()) for row in found] == [(rich.address, False, True), (poor.address, True, False)]
    for row in await balances(connection):
        assert (row["processing_status"], row["locked_by"], row["locked_until"]) == ("idle", None, None)
        assert (row["sync_count"], row["error_count"], row["block_number"]) == (1, 0, 100)
        assert row["is_paged"], "read again with its page"
        assert timedelta(minutes=4) < row["next_check_at"] - row["last_checked"] < timedelta(minutes=6)  # type: ignore[operator]
    human = {str(row["on_chain_balance_human"]) for row in await balances(connection)}
    assert human == {"20.000000", "250.000000", "0.000003", "0.000000"}
    (worker,) = await rows(connection, "SELECT stats FROM worker_registry")
    assert (worker["stats"]["read"], worker["stats"]["changed"]) == (4, 3)


async def test_a_balance_that_falls_due_is_read_at_once(connection: Connection, database: str, tron: Chain) -> None:
    wallet, other = await add_wallets(connection, tron, 2)
    ledger, watch = Ledger(), Watch()
    async with running(sync_of(ledger, watch), database):
        await watch.until(lambda: watch.read == 4)
        await configure(connection, sync__idle_seconds=3600)
        await make_due(connection, wallet_id=wallet.id)
        await watch.until(lambda: watch.read == 6)
        assert {query.address for query in ledger.calls[-1]} == {wallet.address}
        # A due time that was set for later comes without a NOTIFY.
        await connection.execute(
            "UPDATE wallet_balances SET next_check_at = now() + interval '0.3 s' WHERE wallet_id = %s", [other.id]
        )
        await make_due(connection, wallet_id=wallet.id)
        await watch.until(lambda: watch.read == 10)


async def test_batches_of_the_configured_size(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 12)
    await configure(connection, sync__batch=5, sync__largest_batch=5)
    ledger, watch = Ledger(), Watch()
    async with running(sync_of(ledger, watch), database):
        await watch.until(lambda: watch.read == 24)
    assert max(len(call) for call in ledger.calls) == 5
    assert len({(query.address, query.asset.contract) for call in ledger.calls for query in call}) == 24


async def test_batches_grow_while_more_is_due(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 15)
    await configure(connection, sync__batch=2, sync__largest_batch=7)
    ledger, watch = Ledger(), Watch()
    async with running(sync_of(ledger, watch), database):
        await watch.until(lambda: watch.read == 30)
        assert [len(call) for call in ledger.calls] == [2, 4, 7, 7, 7, 3]
        async with asyncio.timeout(PATIENCE):
            # They go on large where more falls due before it was seen that nothing is.
            while 2 not in [len(call) for call in ledger.calls[6:]]:
                read = watch.read
                await make_due(connection)
                await watch.until(lambda read=read: watch.read == read + 30)
    sizes = [len(call) for call in ledger.calls]
    assert sizes[sizes.index(2, 6) :][:2] == [2, 4], "and begin small again"


async def test_batches_overlap(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 6)
    await configure(connection, sync__batch=2, sync__largest_batch=2)
    ledger, watch = Ledger(), Watch()
    ledger.gate.clear()
    async with running(sync_of(ledger, watch), database):
        await asyncio.wait_for(_until_asked(ledger, BATCHES_AT_ONCE), PATIENCE)
        locked = [row["locked_by"] for row in await balances(connection) if row["locked_by"] is not None]
        assert len(locked) == 2 * BATCHES_AT_ONCE, "and no more are taken before one is stored"
        assert len(set(locked)) == BATCHES_AT_ONCE
        ledger.gate.set()
        await watch.until(lambda: watch.read == 12)
    assert {row["sync_count"] for row in await balances(connection)} == {1}


async def test_no_node_answers_several_batches(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 6)
    await configure(connection, sync__batch=2, sync__largest_batch=2)
    ledger, watch = Ledger(), Watch()
    ledger.gate.clear()
    async with running(sync_of(ledger, watch), database) as runtime:
        await asyncio.wait_for(_until_asked(ledger, BATCHES_AT_ONCE), PATIENCE)
        ledger.fault = ChainUnavailable("no node of tron answered within 10 s")
        ledger.gate.set()
        async with asyncio.timeout(PATIENCE):
            while runtime.last_error is None:
                await heartbeat(runtime)
        assert len(ledger.calls) == BATCHES_AT_ONCE, "none was taken after the first that was not answered"
        found = await balances(connection)
        assert {row["processing_status"] for row in found} == {"idle"}
        assert sum("no node of tron answered" in str(row["last_error"]) for row in found) == 2 * BATCHES_AT_ONCE
        ledger.fault = None
        await watch.until(lambda: watch.read == 12)
    assert {row["last_error"] for row in await balances(connection)} == {None}


async def test_a_bad_address_harms_nobody_else_and_backs_off(
    connection: Connection, database: str, tron: Chain
) -> None:
    bad, good = await add_wallets(connection, tron, 2)
    ledger, watch = Ledger(), Watch()
    ledger.errors["invalid"] = "'invalid' is not an address of tron: wrong length"
    async with running(sync_of(ledger, watch), database):
        await watch.until(lambda: watch.read == 4)
        await connection.execute("UPDATE wallets SET address = 'invalid' WHERE id = %s", [bad.id])
        await watch.until(lambda: sum(batch.failed for batch in watch.batches) == 2)
        first = [row for row in await balances(connection) if row["wallet_id"] == bad.id]
        await make_due(connection)
        await watch.until(lambda: sum(batch.failed for batch in watch.batches) == 4)
        assert watch.read == 6, "the good one was read along"
        found = await balances(connection)
        for row in (row for row in found if row["wallet_id"] == bad.id):
            assert row["last_error"] == ledger.errors["invalid"]
            assert (row["error_count"], row["sync_count"], row["on_chain_balance_raw"]) == (2, 1, "0")
            assert row["next_check_at"] - row["last_checked"] > timedelta(minutes=9), "twice the interval"  # type: ignore[operator]
        for row in first:
            assert timedelta(minutes=4) < row["next_check_at"] - row["last_checked"] < timedelta(minutes=6)  # type: ignore[operator]
        # The address is repaired: its balances are due at once, and the error is gone.
        await connection.execute("UPDATE wallets SET address = %s WHERE id = %s", [bad.address, bad.id])
        await watch.until(lambda: watch.read == 8)
    assert [row["last_error"] for row in await balances(connection)] == [None] * 4
    assert good.id != bad.id


async def test_a_failed_read_moves_no_flag(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    ledger, watch = Ledger(), Watch()
    ledger.amounts[wallet.address, None] = TRX
    async with running(sync_of(ledger, watch), database):
        await watch.until(lambda: watch.read == 2)
        ledger.errors[wallet.address] = "the contract is not a token"
        await make_due(connection)
        await watch.until(lambda: any(batch.failed for batch in watch.batches))
    (row,) = await rows(connection, "SELECT needs_gas FROM wallets")
    assert row["needs_gas"]
    assert [row["on_chain_balance_raw"] for row in await balances(connection)] == [str(TRX), "0"]


async def test_no_node_answers(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 1)
    ledger, watch = Ledger(), Watch()
    ledger.fault = ChainUnavailable("no node of tron answered within 10 s")
    async with running(sync_of(ledger, watch), database) as runtime:
        async with asyncio.timeout(PATIENCE):
            while runtime.last_error is None:
                await runtime.beaten.acquire()
                try:
                    await runtime.beaten.wait()
                finally:
                    runtime.beaten.release()
        await heartbeat(runtime)
        (worker,) = await rows(connection, "SELECT last_error FROM worker_registry")
        assert "no node of tron answered" in worker["last_error"]
        for row in await balances(connection):
            assert (row["processing_status"], row["error_count"]) == ("idle", 0), "no wallet is to blame"
            assert "no node of tron answered" in str(row["last_error"])
        ledger.fault = None
        await watch.until(lambda: watch.read == 2)
        async with asyncio.timeout(PATIENCE):
            while runtime.last_error is not None:
                await heartbeat(runtime)
        await heartbeat(runtime)
        (worker,) = await rows(connection, "SELECT last_error FROM worker_registry")
        assert worker["last_error"] is None, "a node answers again"
    assert [row["last_error"] for row in await balances(connection)] == [None, None]


async def test_an_error_that_nobody_expected_ends_nothing(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Honcho ends all lines when one ends."""
    monkeypatch.setattr("pipeline.workers.chains.RETRY_SECONDS", (0.05, 0.1))
    await add_wallets(connection, tron, 1)
    ledger, watch = Ledger(), Watch()
    ledger.fault = ZeroDivisionError("of a node: \x00\ud800\x1b[31m\nforged")
    async with running(sync_of(ledger, watch), database) as runtime:
        async with asyncio.timeout(PATIENCE):
            while len(ledger.calls) < 3 or runtime.last_error is None:
                await heartbeat(runtime)
            await heartbeat(runtime)  # one that began after the fault was said
        (worker,) = await rows(connection, "SELECT last_error, stats -> 'nodes' AS nodes FROM worker_registry")
        assert worker["last_error"] == r"tron: ZeroDivisionError: of a node: \x00\ud800\x1b[31m forged"
        assert worker["nodes"] == {"tron": ledger.troubles()}
        ledger.fault = None
        await watch.until(lambda: watch.read == 2)
    assert {row["processing_status"] for row in await balances(connection)} == {"idle"}


async def test_a_node_of_another_network_is_not_read(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 1)
    ledger = Ledger()
    ledger.network_fault = WrongNetwork("http://node says genesis 00…, expected 11…")
    async with running(sync_of(ledger), database) as runtime:
        await asyncio.wait_for(ledger.asked.wait(), PATIENCE)
        await heartbeat(runtime)
        (worker,) = await rows(connection, "SELECT last_error FROM worker_registry")
    assert "expected 11" in worker["last_error"]
    assert ledger.calls == []
    assert ledger.closed


async def test_an_older_block_is_not_believed(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    ledger, watch = Ledger(), Watch()
    ledger.amounts[wallet.address, None] = 9 * TRX
    async with running(sync_of(ledger, watch), database):
        await watch.until(lambda: watch.read == 2)
        ledger.block, ledger.amounts[wallet.address, None] = 99, 0
        await make_due(connection)
        await watch.until(lambda: sum(batch.older for batch in watch.batches) >= 2)
        before = await balances(connection)
        assert [row["on_chain_balance_raw"] for row in before] == [str(9 * TRX), "0"]
        assert {row["block_number"] for row in before} == {100}
        ledger.block = 101
        await watch.until(lambda: watch.read == 4)
    assert [row["on_chain_balance_raw"] for row in await balances(connection)] == ["0", "0"]


async def test_an_expired_lock_is_taken_over_and_the_late_store_is_discarded(
    connection: Connection, database: str, tron: Chain
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    slow, quick = Ledger(), Ledger()
    slow.gate.clear()
    slow.block = 500
    slow.amounts[wallet.address, None] = 1
    quick.amounts[wallet.address, None] = 7 * TRX
    late, watch = Watch(), Watch()
    async with running(sync_of(slow, late), database, grace_seconds=0.1):
        await asyncio.wait_for(_until_asked(slow), PATIENCE)
        (first, _) = await balances(connection)
        assert first["processing_status"] == "processing"
        async with running(sync_of(quick, watch), database):
            # Locked: the second one has nothing to do, even if the balance is made due meanwhile.
            await make_due(connection)
            await connection.execute("UPDATE wallet_balances SET locked_until = now() - interval '1 second'")
            await watch.until(lambda: watch.read == 2)
        slow.gate.set()
        await late.until(lambda: len(late.batches) == 1)
    assert (late.batches[0].lost, late.batches[0].read) == (2, 0)
    found = await balances(connection)
    assert [row["on_chain_balance_raw"] for row in found] == [str(7 * TRX), "0"]
    assert {row["block_number"] for row in found} == {100}


async def _until_asked(ledger: Ledger, times: int = 1) -> None:
    while len(ledger.calls) < times:
        ledger.asked.clear()
        await ledger.asked.wait()


async def test_a_balance_made_due_while_it_is_read_is_read_again(
    connection: Connection, database: str, tron: Chain
) -> None:
    """A deposit arrives between the reading and the store: the store does not put it off for five minutes."""
    (wallet,) = await add_wallets(connection, tron, 1)
    ledger, watch = Ledger(), Watch()
    ledger.gate.clear()
    async with running(sync_of(ledger, watch), database):
        await asyncio.wait_for(_until_asked(ledger), PATIENCE)
        await make_due(connection)
        ledger.gate.set()
        await watch.until(lambda: watch.read == 4)
    assert {row["sync_count"] for row in await balances(connection)} == {2}
    assert wallet.id


async def test_two_syncs_read_each_balance_once(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 60)
    await configure(connection, sync__batch=7, sync__largest_batch=7)
    one, two = Ledger(), Ledger()
    first, second = Watch(), Watch()
    async with running(sync_of(one, first), database), running(sync_of(two, second), database):
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait(
                {
                    asyncio.create_task(watch.until(lambda: first.read + second.read >= 120))
                    for watch in (first, second)
                },
                return_when=asyncio.FIRST_COMPLETED,
            )
    read = [(query.address, query.asset.contract) for ledger in (one, two) for call in ledger.calls for query in call]
    assert len(read) == len(set(read)) == 120


async def test_what_is_being_read_at_the_end_is_given_back(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 1)
    ledger = Ledger()
    ledger.gate.clear()
    async with running(sync_of(ledger), database, grace_seconds=0.1):
        await asyncio.wait_for(_until_asked(ledger), PATIENCE)
    for row in await balances(connection):
        assert (row["processing_status"], row["locked_by"]) == ("idle", None)
        assert row["next_check_at"] <= datetime.now(UTC)  # type: ignore[operator]


async def test_pause_and_resume(connection: Connection, database: str, tron: Chain) -> None:
    await configure(connection, paused=True)
    await add_wallets(connection, tron, 1)
    ledger, watch = Ledger(), Watch()
    async with running(sync_of(ledger, watch), database) as runtime:
        await heartbeat(runtime)
        assert ledger.calls == []
        await configure(connection, paused=False)
        await watch.until(lambda: watch.read == 2)


async def test_chains_are_switched_off_and_on(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 1)
    await connection.execute("UPDATE chains SET is_active = false")
    ledger, watch = Ledger(), Watch()
    async with running(sync_of(ledger, watch), database) as runtime:
        await heartbeat(runtime)
        assert ledger.calls == []
        await connection.execute("UPDATE chains SET is_active = true")
        await watch.until(lambda: watch.read == 2)
        await connection.execute("UPDATE asset_on_chain SET is_active = false WHERE symbol = 'USDT'")
        await make_due(connection)
        await watch.until(lambda: watch.read == 3)


async def test_the_database_goes_away_while_it_reads(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    ledger, watch = Ledger(), Watch()
    ledger.amounts[wallet.address, None] = 8 * TRX
    ledger.gate.clear()
    async with Door(database) as door, running(sync_of(ledger, watch), door.dsn) as runtime:
        await asyncio.wait_for(_until_asked(ledger), PATIENCE)
        door.shut()
        await asyncio.wait_for(runtime.listener.lost.wait(), PATIENCE)
        ledger.gate.set()
        door.open()
        await watch.until(lambda: watch.read == 2)
    assert [row["on_chain_balance_raw"] for row in await balances(connection)] == [str(8 * TRX), "0"]


async def test_an_unknown_chain_is_named(connection: Connection, database: str, tron: Chain) -> None:
    with pytest.raises(ConfigError, match="no chain is called 'trn'; there are: tron"):
        async with running(sync_of(Ledger(), chain_names=["trn"]), database) as runtime:
            await asyncio.wait_for(runtime.stopping.wait(), PATIENCE)


async def test_the_role_may_write_balances_and_nothing_else(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute("SET ROLE pipeline_sync")
    for forbidden in (
        "UPDATE wallets SET needs_gas = true",
        "INSERT INTO job_logs (job_id, job_type, wallet_address) VALUES ('a', 'gas-topup', 'b')",
        "UPDATE system_config SET value = 'true'",
        "DELETE FROM wallet_balances",
        "UPDATE worker_registry SET status = 'running'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(forbidden)
    await connection.execute("UPDATE wallet_balances SET last_checked = now() WHERE wallet_id = %s", [wallet.id])
