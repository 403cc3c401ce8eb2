"""Pages of balances: who reads them, what of them is written, and what is known of the rest."""

import os
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pipeline.balances.page_store import PageStore, StoredPage
from pipeline.balances.pages import Page, PageChanges
from pipeline.balances.store import BalanceStore
from pipeline.chains.values import Balance, BlockRef
from pipeline.db.pool import Connection, Pool, pool_of
from pipeline.workers.sync import Sync
from tests.conftest import CHOICE
from tests.db.sessions import rows, value
from tests.db.test_sync import Ledger, Watch
from tests.db.worker_kit import running
from tests.seed import TRX, USDT, Chain, add_wallets

WALLETS = 12
LOCK_SECONDS = 120.0
HOUR = 3600.0


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with pool_of(database, "sync", role="pipeline_sync", max_size=2) as opened:
        yield opened


@pytest.fixture
async def chain(connection: Connection, pool: Pool, tron: Chain) -> Chain:
    """Wallets without flags whose balances, all 0, have been read once at block 100, and are not due."""
    tron.wallets = await add_wallets(connection, tron, WALLETS)
    await connection.execute(
        "UPDATE wallet_balances SET next_check_at = NULL, recheck = false, block_number = 100, sync_count = 1,"
        " last_checked = now() - interval '10 minutes'"
    )
    await connection.execute("UPDATE wallets SET needs_gas = false")
    assert await PageStore(pool, tron.id).claim("nothing", 500, LOCK_SECONDS, HOUR) is None, "a new page is not due"
    return tron


async def make_due(connection: Connection, asset_id: object = None) -> None:
    await connection.execute(
        "UPDATE sync_pages SET next_check_at = now() WHERE asset_on_chain_id = coalesce(%s, asset_on_chain_id)",
        [asset_id],
    )


def answers(page: Page, amounts: dict[str, int | str], block: int = 200) -> PageChanges:
    """What was found: amounts, or errors, by address; else what is known."""
    at = BlockRef(block, f"{block:064x}", datetime.now(UTC))
    found = []
    for address, known in zip(page.addresses, page.known_raws, strict=True):
        amount = amounts.get(address, int(known))
        found.append(Balance(None, None, amount) if isinstance(amount, str) else Balance(amount, at))
    return PageChanges.between(page, found)


async def claimed(store: PageStore, lock: str, size: int = 500, record_seconds: float = HOUR) -> Page:
    page = await store.claim(lock, size, LOCK_SECONDS, record_seconds)
    assert page is not None
    return page


async def state(connection: Connection, asset_id: object) -> list[dict[str, object]]:
    cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
    await cursor.execute("SELECT * FROM balance_state WHERE asset_on_chain_id = %s ORDER BY id", [asset_id])
    return await cursor.fetchall()


async def versions(connection: Connection) -> dict[object, object]:
    """Which transaction wrote each row."""
    return dict(await rows(connection, "SELECT id, xmin::text || ctid::text FROM wallet_balances"))  # type: ignore[arg-type]


async def test_what_did_not_change_is_not_written(connection: Connection, pool: Pool, chain: Chain) -> None:
    store, before = PageStore(pool, chain.id), await versions(connection)
    await make_due(connection, chain.token_id)
    page = await claimed(store, "a:b:c:1")
    assert len(page.ids) == WALLETS
    stored = await store.store(page, answers(page, {chain.wallets[3].address: 7}))
    after = await versions(connection)
    (changed,) = [row for row in await state(connection, chain.token_id) if row["wallet_id"] == chain.wallets[3].id]
    assert {key for key in before if before[key] != after[key]} == {changed["id"]}
    assert stored == StoredPage("read", stored.at, {str(changed["id"]): chain.wallets[3].id})
    assert changed["on_chain_balance_raw"] == "7"
    for row in await state(connection, chain.token_id):
        assert row["last_checked"] == row["last_processed_at"]
        assert stored.at - timedelta(seconds=20) < row["last_checked"] <= stored.at  # type: ignore[operator]
        assert (row["sync_count"], row["block_number"], row["last_error"]) == (2, 200, None)
        assert row["next_check_at"] - stored.at == timedelta(minutes=5)  # type: ignore[operator]
    synced = await rows(connection, "SELECT last_sync FROM user_wallets")
    assert {stored.at - moment < timedelta(seconds=20) for (moment,) in synced} == {True}


async def test_what_changed_raises_flags(connection: Connection, database: str, chain: Chain) -> None:
    rich, poor = chain.wallets[:2]
    ledger, watch = Ledger(), Watch()
    contract = await value(connection, "SELECT contract_address FROM asset_on_chain WHERE id = %s", chain.token_id)
    ledger.block = 150
    # The two assets of a wallet are read in any order: what is known of one decides with what was read of the other.
    await connection.execute(
        "UPDATE wallet_balances SET on_chain_balance_human = 10 WHERE asset_on_chain_id = %s", [chain.native_id]
    )
    ledger.amounts = {(wallet.address, None): 10 * TRX for wallet in chain.wallets}
    ledger.amounts |= {(rich.address, contract): 250 * USDT, (rich.address, None): 20 * TRX, (poor.address, None): 3}
    await make_due(connection)
    async with running(Sync(lambda row: ledger, observer=watch), database):  # type: ignore[arg-type, return-value]
        await watch.until(lambda: watch.read == 2 * WALLETS)
    assert sorted(len(call) for call in ledger.calls) == [WALLETS, WALLETS], "a call a page"
    flags = "SELECT id, needs_gas, needs_consolidation FROM wallets WHERE needs_gas OR needs_consolidation"
    assert set(await rows(connection, flags)) == {(rich.id, False, True), (poor.id, True, False)}


async def test_instances_share_the_pages(connection: Connection, pool: Pool, chain: Chain) -> None:
    stores = [PageStore(pool, chain.id), PageStore(pool, chain.id)]
    await make_due(connection)
    found: list[str] = []
    pages = []
    while (page := await stores[len(pages) % 2].claim(f"lock {len(pages)}", 5, LOCK_SECONDS, HOUR)) is not None:
        assert len(page.ids) <= 5
        found += page.ids
        pages.append(page)
    assert sorted(found) == sorted(str(key) for key in await versions(connection)), "each balance once"
    for page in pages:
        assert (await stores[0].store(page, answers(page, {}))).outcome == "read"
    assert await stores[1].claim("again", 5, LOCK_SECONDS, HOUR) is None, "all is read"


async def test_a_page_of_who_was_killed_is_handed_out_again(connection: Connection, pool: Pool, chain: Chain) -> None:
    store = PageStore(pool, chain.id)
    await make_due(connection, chain.token_id)
    first = await claimed(store, "killed")
    assert await store.claim("second", 500, LOCK_SECONDS, HOUR) is None, "it is locked"
    held = await value(connection, "SELECT locked_until - locked_at FROM sync_pages WHERE locked_by = 'killed'")
    assert held == timedelta(seconds=LOCK_SECONDS)
    await connection.execute(
        "UPDATE sync_pages SET next_check_at = now(), locked_until = now() WHERE locked_by = 'killed'"
    )
    second = await claimed(store, "second")
    assert second.ids == first.ids
    before = await versions(connection)
    late = await store.store(first, answers(first, {chain.wallets[0].address: 5}))
    assert (late.outcome, dict(late.written)) == ("lost", {})
    assert await versions(connection) == before
    assert (await store.store(second, answers(second, {chain.wallets[0].address: 6}))).outcome == "read"
    assert (await store.store(first, answers(first, {chain.wallets[0].address: 5}))).outcome == "lost"
    raws = {row["wallet_id"]: row["on_chain_balance_raw"] for row in await state(connection, chain.token_id)}
    assert raws[chain.wallets[0].id] == "6"


async def test_the_pages_of_a_dead_sync_are_free_at_once(connection: Connection, pool: Pool, chain: Chain) -> None:
    worker = await value(
        connection,
        "INSERT INTO worker_registry (id, incarnation, name, type, status) VALUES ('tron-sync-001', gen_random_uuid(),"
        " 'tron-sync-001', 'sync', 'running') RETURNING incarnation",
    )
    store = PageStore(pool, chain.id)
    await make_due(connection)
    await claimed(store, f"tron-sync-001:{worker}:tron:1")
    await claimed(store, "other:1:tron:1")
    await connection.execute(
        "UPDATE worker_registry SET session_lost_at = now() - interval '1 minute',"
        " last_heartbeat = now() - interval '1 hour'"
    )
    assert await value(connection, "SELECT %s = ANY (dead_workers())", worker)
    await connection.execute("SELECT rescue_jobs('60 seconds', '10 minutes')")
    assert await rows(connection, "SELECT locked_by FROM sync_pages WHERE locked_by IS NOT NULL") == [
        ("other:1:tron:1",)
    ]
    assert await store.claim("next", 500, LOCK_SECONDS, HOUR) is not None


async def test_never_back_to_an_older_block(connection: Connection, pool: Pool, chain: Chain) -> None:
    store, due = PageStore(pool, chain.id), BalanceStore(pool, chain.id)
    moved = chain.wallets[0]
    await make_due(connection, chain.token_id)
    page = await claimed(store, "first")
    await store.store(page, answers(page, {}, block=200))
    await make_due(connection, chain.token_id)
    page, before = await claimed(store, "behind"), await versions(connection)
    stored = await store.store(page, answers(page, {moved.address: 9}, block=199))
    assert (stored.outcome, await versions(connection) == before) == ("older", True)
    wait = await value(connection, "SELECT min(next_check_at) - %s FROM sync_pages", stored.at)
    assert wait == timedelta(seconds=3), "asked again with the next block"
    # A balance that is due by itself, from a node that is behind what its page has seen.
    await connection.execute(
        "UPDATE wallet_balances SET next_check_at = now() WHERE wallet_id = %s AND asset_on_chain_id = %s",
        [moved.id, chain.token_id],
    )
    for block, outcome, raw in ((199, "older", "0"), (200, "read", "9")):
        claim = await due.claim(f"due {block}", 50, LOCK_SECONDS)
        at = BlockRef(block, f"{block:064x}", datetime.now(UTC))
        (one,) = (await due.store(claim, [Balance(9, at)])).values()
        (found,) = [row for row in await state(connection, chain.token_id) if row["wallet_id"] == moved.id]
        assert (one.outcome, found["on_chain_balance_raw"], found["block_number"]) == (outcome, raw, 200)
        await connection.execute("UPDATE wallet_balances SET next_check_at = now() WHERE next_check_at IS NOT NULL")
    assert found["sync_count"] == 4, "as seeded, by the page, and twice by itself"


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE wallet_balances SET next_check_at = now() WHERE id = %s",
        "UPDATE wallet_balances SET processing_status = 'processing', locked_by = 'me',"
        " locked_until = now() + interval '1 hour' WHERE id = %s",
        "UPDATE wallet_balances SET on_chain_balance_human = 3 WHERE id = %s",
        "UPDATE wallet_balances SET block_number = 300 WHERE id = %s",
        "SELECT make_balances_due(ARRAY[(SELECT wallet_id FROM wallet_balances WHERE id = %s)])",
    ],
)
async def test_who_was_faster_stays(connection: Connection, pool: Pool, chain: Chain, meanwhile: str) -> None:
    """Made due, locked or changed between the select of a page and its store: left as it is."""
    store = PageStore(pool, chain.id)
    await make_due(connection, chain.token_id)
    page = await claimed(store, "page", record_seconds=0)
    await connection.execute(meanwhile, [page.ids[0]])  # type: ignore[arg-type]
    (before,) = await rows(connection, "SELECT * FROM wallet_balances WHERE id = %s", page.ids[0])
    stored = await store.store(page, answers(page, {page.addresses[0]: 50, page.addresses[1]: 60}))
    assert list(stored.written) == [page.ids[1]]
    columns = "on_chain_balance_raw, next_check_at, processing_status, locked_by, locked_until, recheck"
    (after,) = await rows(connection, f"SELECT {columns} FROM wallet_balances WHERE id = %s", page.ids[0])  # noqa: S608
    assert set(after) <= set(before)
    assert after[0] in ("0", "3000000")


async def test_rows_that_a_session_holds_are_not_waited_for(
    connection: Connection, database: str, pool: Pool, chain: Chain
) -> None:
    store = PageStore(pool, chain.id)
    await make_due(connection, chain.token_id)
    page = await claimed(store, "page", record_seconds=0)
    async with await psycopg.AsyncConnection.connect(database) as by_hand:
        await by_hand.execute(
            "SELECT FROM wallet_balances WHERE id = ANY (%s::uuid[]) FOR UPDATE", [[page.ids[0], page.ids[5]]]
        )
        stored = await store.store(page, answers(page, {page.addresses[0]: 5, page.addresses[1]: 6}))
        assert list(stored.written) == [page.ids[1]]
        await by_hand.rollback()
    assert {row["sync_count"] for row in (await state(connection, chain.token_id))[1:]} == {2}
    await make_due(connection, chain.token_id)
    page = await claimed(store, "next", record_seconds=0)
    stored = await store.store(page, answers(page, {page.addresses[0]: 5}))
    assert list(stored.written) == [page.ids[0]]
    assert {row["sync_count"] for row in await state(connection, chain.token_id)} == {3}
    assert await value(connection, "SELECT sum(cardinality(read_at)) FROM sync_pages") == 0


async def test_errors_go_their_own_way(connection: Connection, pool: Pool, chain: Chain) -> None:
    store, due = PageStore(pool, chain.id), BalanceStore(pool, chain.id)
    await make_due(connection, chain.token_id)
    page = await claimed(store, "page")
    broken = page.addresses[2]
    found = answers(page, {broken: "contract is not TRC20"})
    stored = await store.store(page, found)
    assert list(stored.written) == [page.ids[2]]
    row = (await state(connection, chain.token_id))[2]
    assert (row["last_error"], row["error_count"], row["sync_count"]) == ("contract is not TRC20", 1, 1)
    assert row["last_error_at"] == stored.at
    assert (row["next_check_at"] - stored.at, row["is_paged"]) == (timedelta(minutes=5), False)  # type: ignore[operator]
    await make_due(connection, chain.token_id)
    again = await claimed(store, "again")
    assert page.ids[2] not in again.ids, "it waits by itself"
    await store.store(again, answers(again, {}))
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() WHERE last_error IS NOT NULL")
    claim = await due.claim("due", 50, LOCK_SECONDS)
    await due.store(claim, [Balance(0, BlockRef(300, f"{300:064x}", datetime.now(UTC)))])
    row = (await state(connection, chain.token_id))[2]
    assert (row["last_error"], row["error_count"], row["is_paged"]) == (None, 1, True)


@pytest.mark.parametrize(
    ("by_hand", "left"),
    [
        ("recheck = true", "NOT recheck"),
        ("last_error = 'an old one'", "last_error IS NULL"),
        (
            "processing_status = 'processing', locked_by = 'gone', locked_until = now() - interval '1 hour',"
            " next_check_at = NULL",
            "processing_status = 'idle' AND locked_by IS NULL AND locked_until IS NULL",
        ),
    ],
)
async def test_what_wants_to_be_written_is(
    connection: Connection, pool: Pool, chain: Chain, by_hand: str, left: str
) -> None:
    """Equal amounts, too: the flags are to be decided afresh, an error has ended, a lock has."""
    store = PageStore(pool, chain.id)
    coin = "SELECT id FROM wallet_balances WHERE asset_on_chain_id = %s ORDER BY id LIMIT 1"
    balance = await value(connection, coin, chain.native_id)
    await connection.execute("ALTER TABLE wallet_balances DISABLE TRIGGER balance_locks")
    await connection.execute(f"UPDATE wallet_balances SET {by_hand} WHERE id = %s", [balance])  # type: ignore[arg-type]  # noqa: S608
    await connection.execute("ALTER TABLE wallet_balances ENABLE TRIGGER balance_locks")
    await make_due(connection, chain.native_id)
    page = await claimed(store, "page")
    stored = await store.store(page, answers(page, {}))
    assert list(stored.written) == [str(balance)]
    assert await value(connection, f"SELECT {left} FROM wallet_balances WHERE id = %s", balance)  # noqa: S608
    flagged = await value(connection, "SELECT count(*) FROM wallets WHERE needs_gas")
    assert flagged == (1 if by_hand == "recheck = true" else 0)


async def test_a_node_that_does_not_answer_shows_and_is_asked_again(
    connection: Connection, pool: Pool, chain: Chain
) -> None:
    store = PageStore(pool, chain.id)
    await make_due(connection, chain.token_id)
    page = await claimed(store, "page")
    await store.release(page.claim, 4.0, "http://node did not answer")
    assert {row["last_error"] for row in await state(connection, chain.token_id)} == {"http://node did not answer"}
    due = await BalanceStore(pool, chain.id).next_due()
    assert due is not None
    assert 3 < due <= 4
    await make_due(connection, chain.token_id)
    page = await claimed(store, "next")
    await store.store(page, answers(page, {}))
    assert {row["last_error"] for row in await state(connection, chain.token_id)} == {None}


@pytest.mark.parametrize("scheduled", ["interval '400 days'", "interval '6 minutes'"])
async def test_a_wrong_clock_stalls_no_page(connection: Connection, pool: Pool, chain: Chain, scheduled: str) -> None:
    """Nor does an interval that was longer when the page was read."""
    store = PageStore(pool, chain.id)
    await connection.execute(f"UPDATE sync_pages SET next_check_at = now() + {scheduled}")  # type: ignore[arg-type]  # noqa: S608
    assert {(await claimed(store, lock)).claim.asset_id for lock in "ab"} == {chain.token_id, chain.native_id}


async def test_switched_off_assets_are_left_alone(connection: Connection, pool: Pool, chain: Chain) -> None:
    await make_due(connection)
    await connection.execute("UPDATE asset_on_chain SET is_active = false WHERE id = %s", [chain.token_id])
    store = PageStore(pool, chain.id)
    assert (await claimed(store, "coin")).claim.asset_id == chain.native_id
    assert await store.claim("token", 500, LOCK_SECONDS, HOUR) is None


@pytest.mark.skipif(CHOICE in os.environ, reason="others write to that server meanwhile")
async def test_an_unchanged_balance_costs_next_to_nothing(connection: Connection, pool: Pool, chain: Chain) -> None:
    """The aim is 100 bytes of WAL; most of what is here is the page's own row. No row is written."""
    await add_wallets(connection, chain, 400)
    await connection.execute(
        "UPDATE wallet_balances SET next_check_at = NULL, recheck = false, block_number = 100, last_checked = now()"
    )
    await connection.execute("VACUUM (ANALYZE) wallet_balances")
    await connection.execute("CHECKPOINT")
    store = PageStore(pool, chain.id)
    written = "SELECT pg_current_wal_insert_lsn() - '0/0'"
    for bound in (None, 20):  # the first one divides the page and writes whole pages of its table
        await make_due(connection, chain.token_id)
        before, count = await value(connection, written), 0
        while (page := await store.claim(f"lock {count}", 500, LOCK_SECONDS, HOUR)) is not None:
            count += len(page.ids)
            assert not (await store.store(page, answers(page, {}))).written
        assert count == WALLETS + 400
        if bound is not None:
            assert (await value(connection, written) - before) / count < bound


async def test_the_sync_writes_its_pages_by_its_functions_alone(
    connection: Connection, pool: Pool, chain: Chain
) -> None:
    async with pool.connection() as session:
        for statement in (
            "UPDATE sync_pages SET next_check_at = now()",
            "DELETE FROM sync_pages",
            "INSERT INTO sync_pages (asset_on_chain_id, last_id) SELECT id, gen_random_uuid() FROM asset_on_chain",
            "SELECT FROM sync_pages FOR UPDATE",
            "SELECT end_sync_pages(id, id, id, id, 1, 1, true, now(), '1 second') FROM asset_on_chain",
            "UPDATE wallet_balances SET wallet_id = wallet_id",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await session.execute(statement)


@pytest.mark.parametrize("seed", range(6))
async def test_a_walk(connection: Connection, pool: Pool, chain: Chain, seed: int) -> None:
    """Whatever the size of the batches, and whatever is late, lost, made due or new: each balance belongs to one page,
    its view counts what was read of it, and its amount is the last one stored."""
    chance = random.Random(seed)
    store, due = PageStore(pool, chain.id), BalanceStore(pool, chain.id)
    counts = dict.fromkeys((str(key) for key in await versions(connection)), 1)
    amounts: dict[str, str] = dict.fromkeys(counts, "0")
    held: list[Page] = []
    block = 200
    for step in range(60):
        block += 1
        match chance.choice(["page", "page", "page", "store", "store", "due", "expire", "wallet", "by hand"]):
            case "page":
                await make_due(connection, chance.choice([chain.token_id, chain.native_id]))
                page = await store.claim(
                    f"lock {step}", chance.choice([1, 2, 3, 7, 500]), LOCK_SECONDS, chance.choice([0, HOUR])
                )
                held += [page] if page is not None else []
            case "store" if held:
                page = held.pop(chance.randrange(len(held)))
                changes = {address: chance.randrange(1, 4) for address in page.addresses if chance.random() < 0.2}
                asked = await rows(
                    connection,
                    "SELECT id::text FROM wallet_balances WHERE next_check_at IS NULL AND last_checked <"
                    " (SELECT min(locked_at) FROM sync_pages WHERE locked_by = %s)",
                    page.claim.lock,
                )
                stored = await store.store(page, answers(page, dict(changes), block))
                if stored.outcome == "read":
                    for key, address in zip(page.ids, page.addresses, strict=True):
                        skipped = (
                            address in changes and str(changes[address]) != amounts[key] and key not in stored.written
                        )
                        assert not skipped
                        counts[key] += (key,) in asked or key in stored.written
                        amounts[key] = str(changes.get(address, amounts[key]))
            case "due":
                await connection.execute(
                    "UPDATE wallet_balances SET next_check_at = now() WHERE id IN"
                    " (SELECT id FROM wallet_balances ORDER BY md5(id::text || %s) LIMIT 2)",
                    [str(step)],
                )
                # What a page under way has selected is not made due in this walk: who was faster is another test's.
                claim = await due.claim(f"due {step}", 50, LOCK_SECONDS)
                at = BlockRef(block, f"{block:064x}", datetime.now(UTC))
                await due.store(claim, [Balance(int(one.known_raw), at) for one in claim.balances])
                for one in claim.balances:
                    counts[str(one.id)] += 1
            case "expire":
                await connection.execute(
                    "UPDATE sync_pages SET next_check_at = now(), locked_until = now() WHERE locked_by IS NOT NULL"
                )
            case "wallet":
                await add_wallets(connection, chain, 1)
                await connection.execute(
                    "UPDATE wallet_balances SET next_check_at = NULL, recheck = false, sync_count = 1,"
                    " last_checked = clock_timestamp() WHERE next_check_at IS NOT NULL"
                )
                for (key,) in await rows(connection, "SELECT id::text FROM wallet_balances"):
                    counts.setdefault(str(key), 1)
                    amounts.setdefault(str(key), "0")
            case "by hand":
                await connection.execute("UPDATE sync_pages SET balances = NULL")
        found = {
            str(key): (int(count), raw)
            for key, count, raw in await rows(
                connection, "SELECT id, sync_count, on_chain_balance_raw FROM balance_state"
            )
        }
        assert found == {key: (counts[key], amounts[key]) for key in counts}, f"seed {seed}, step {step}"
    ends = "SELECT count(*) FROM sync_pages WHERE last_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff'"
    assert await value(connection, ends) == 2
