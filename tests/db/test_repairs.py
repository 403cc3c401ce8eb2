"""What triggers did not do, and the sweep does: rows written under session_replication_role = replica."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from pipeline.db.pool import Connection, Pool
from pipeline.workers.repairs import WALLETS_A_SECOND, Repairs
from pipeline.workers.sweep import Sweep
from pipeline.workers.troubles import Troubles
from tests.db.test_sweep import Cycles, often
from tests.db.worker_kit import executor_pool, flag, heartbeat, rows, running
from tests.logs import logged
from tests.seed import TRX, USDT, Chain, Wallet, add_wallets, address_of, set_balance


@contextlib.asynccontextmanager
async def without_triggers(connection: Connection) -> AsyncIterator[None]:
    """As a bulk load or an apply worker of logical replication writes."""
    await connection.execute("SET session_replication_role = replica")
    try:
        yield
    finally:
        await connection.execute("RESET session_replication_role")


async def load_wallets(connection: Connection, chain: Chain, count: int) -> list[Wallet]:
    """Wallets without their balances."""
    async with without_triggers(connection):
        return list(await add_wallets(connection, chain, count))


async def repair(connection: Connection) -> dict[str, int]:
    """One pass over all wallets and waiting jobs; what was done, without zeros."""
    (jobs,) = await rows(connection, "SELECT * FROM repair_jobs(100)")
    (wallets,) = await rows(connection, "SELECT * FROM repair_wallets('00000000-0000-0000-0000-000000000000', 1000)")
    wallets.pop("up_to")
    done = {kind: jobs.get(kind, 0) + wallets.get(kind, 0) for kind in {**jobs, **wallets}}
    return {kind: count for kind, count in done.items() if count}


async def test_a_loaded_wallet_is_read_and_its_tokens_are_found(
    connection: Connection, database: str, tron: Chain
) -> None:
    loaded = await load_wallets(connection, tron, 3)
    await often(connection)
    cycles = Cycles()
    with logged() as lines:
        async with running(Sweep(observer=cycles), database) as runtime:
            cycle = await cycles.until(lambda cycle: bool(cycle.healed))
            await heartbeat(runtime)
    assert cycle.healed == {"balances_created": 6}
    due = await rows(connection, "SELECT FROM wallet_balances WHERE next_check_at <= now() AND recheck")
    assert len(due) == 2 * len(loaded)
    (summary,) = await rows(
        connection, "SELECT data -> 'healed' AS healed FROM job_logs WHERE data ? 'healed' ORDER BY seq"
    )
    assert summary["healed"] == {"balances_created": 6}
    said = "WARNING sweep: triggers did not fire for some rows; done now: 6 balances created"
    assert [line for line in lines if "triggers did not fire" in line] == [said]
    (worker,) = await rows(connection, "SELECT stats FROM worker_registry WHERE type = 'sweep'")
    assert worker["stats"]["healed_balances_created"] == 6
    # Read, they decide as ever.
    await set_balance(connection, loaded[0], tron.token_id, 500 * USDT)
    (row,) = await rows(connection, "SELECT needs_consolidation FROM wallets WHERE id = %s", loaded[0].id)
    assert row["needs_consolidation"]


async def test_an_asset_that_was_loaded_gets_its_balances(connection: Connection, tron: Chain) -> None:
    await add_wallets(connection, tron, 2)
    async with without_triggers(connection):
        await connection.execute(
            "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above,"
            " consolidate_execute_min) VALUES (%s, 'USDD', %s, 18, 1, 1)",
            [tron.id, address_of(999)],
        )
    assert await repair(connection) == {"balances_created": 2}
    assert await repair(connection) == {}


@pytest.mark.parametrize(
    ("coin", "tokens", "wanted"),
    [(0, 0, True), (9 * TRX, 500 * USDT, True), (9 * TRX, 100 * USDT, False)],
    ids=["short of gas", "tokens to move", "nothing to do"],
)
async def test_amounts_that_nobody_judged_are_read_again(
    connection: Connection, tron: Chain, coin: int, tokens: int, wanted: bool
) -> None:
    """The flag itself rises by the read, as ever."""
    (wallet,) = await add_wallets(connection, tron, 1)
    async with without_triggers(connection):
        for asset, raw in ((tron.native_id, coin), (tron.token_id, tokens)):
            await connection.execute(
                "UPDATE wallet_balances SET on_chain_balance_raw = %s, on_chain_balance_human = %s / unit,"
                " recheck = false, next_check_at = now() + interval '5 minutes'"
                " WHERE wallet_id = %s AND asset_on_chain_id = %s",
                [str(raw), raw, wallet.id, asset],
            )
    assert await repair(connection) == ({"flags_judged": 1} if wanted else {})
    due = await rows(connection, "SELECT FROM wallet_balances WHERE recheck AND next_check_at <= now()")
    assert len(due) == (2 if wanted else 0)
    assert await repair(connection) == {}, "it waits for the read"
    await set_balance(connection, wallet, tron.native_id, coin)
    await set_balance(connection, wallet, tron.token_id, tokens)
    (row,) = await rows(connection, "SELECT needs_gas OR needs_consolidation AS wanted FROM wallets")
    assert row["wanted"] is wanted
    assert await repair(connection) == {}


async def test_a_flag_that_was_lowered_stays_down(connection: Connection, tron: Chain) -> None:
    """By an operator, or by a job that found nothing to do: until the amount changes, and then the rule decides."""
    by_hand, by_job = await add_wallets(connection, tron, 2)
    for wallet in (by_hand, by_job):
        await set_balance(connection, wallet, tron.token_id, 500 * USDT)
        await set_balance(connection, wallet, tron.native_id, 3 * TRX)
    await flag(connection, by_hand.id, by_job.id, gas=False, tokens=False)
    await rows(
        connection,
        "SELECT * FROM clear_served_flags(ARRAY[%s]::uuid[], ARRAY['gas-topup'], ARRAY[now()])",
        by_job.id,
    )
    assert await repair(connection) == {}
    # Of a wallet from before its flags' falls were recorded, any later change of its row counts.
    async with without_triggers(connection):
        await connection.execute(
            "UPDATE wallets SET gas_flag_fell_at = 'epoch', consolidation_flag_fell_at = 'epoch', updated_at = now()"
        )
    assert await repair(connection) == {}


async def test_a_deposit_after_a_consolidation_is_found(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await set_balance(connection, wallet, tron.native_id, 9 * TRX)
    await set_balance(connection, wallet, tron.token_id, 500 * USDT)
    await flag(connection, wallet.id, gas=False, tokens=False)
    await set_balance(connection, wallet, tron.token_id, 0)
    async with without_triggers(connection):
        await connection.execute(
            "UPDATE wallet_balances SET on_chain_balance_raw = '700000000', on_chain_balance_human = 700"
            " WHERE asset_on_chain_id = %s",
            [tron.token_id],
        )
    assert await repair(connection) == {"flags_judged": 1}


async def test_a_flag_raised_by_hand_stays_up(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    for asset in (tron.native_id, tron.token_id):
        await set_balance(connection, wallet, asset, 9 * TRX)
    await flag(connection, wallet.id, gas=None, tokens=True)
    assert await repair(connection) == {}
    (row,) = await rows(connection, "SELECT needs_consolidation FROM wallets")
    assert row["needs_consolidation"]


async def test_balances_get_the_unit_of_their_asset(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await set_balance(connection, wallet, tron.token_id, 0)
    async with without_triggers(connection):
        await connection.execute(
            "UPDATE wallet_balances SET on_chain_balance_raw = '150000000', unit = 100,"
            " on_chain_balance_human = 1500000 WHERE asset_on_chain_id = %s",
            [tron.token_id],
        )
    assert await repair(connection) == {"units_corrected": 1}
    (row,) = await rows(connection, "SELECT * FROM wallet_balances WHERE asset_on_chain_id = %s", tron.token_id)
    assert (row["on_chain_balance_raw"], row["on_chain_balance_human"], row["unit"]) == ("150000000", 150, 10**6)
    assert row["recheck"]


async def test_flags_that_were_loaded_know_since_when(connection: Connection, tron: Chain) -> None:
    first, second = await add_wallets(connection, tron, 2)
    async with without_triggers(connection):
        await connection.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [first.id])
        await connection.execute("UPDATE wallets SET needs_consolidation = true WHERE id = %s", [second.id])
    done = await repair(connection)
    assert done["flag_times_set"] == 2
    (one, other) = await rows(connection, "SELECT * FROM wallets ORDER BY id")
    assert one["needs_gas_since"] is not None
    assert one["needs_gas_since"] == one["wanted_since"]
    assert other["needs_consolidation_since"] == other["consolidation_ready_since"] == other["wanted_since"] is not None


async def test_a_job_that_was_loaded_finds_its_wallet_or_says_why_not(connection: Connection, tron: Chain) -> None:
    first, second, third = await add_wallets(connection, tron, 3)
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, wallet_address) VALUES ('live', 'gas-topup', %s)", [second.address]
    )
    async with without_triggers(connection):
        for name, address in (
            ("found", first.address),
            ("twice", second.address),
            ("nobody", "T-nobody"),
            ("none", None),
        ):
            await connection.execute(
                "INSERT INTO job_logs (job_id, job_type, wallet_address) VALUES (%s, 'gas-topup', %s)", [name, address]
            )
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, wallet_id) VALUES ('half', 'consolidation', %s)", [third.id]
        )
    assert await repair(connection) == {"jobs_completed": 2, "jobs_refused": 3}
    found = {row["job_id"]: row for row in await rows(connection, "SELECT * FROM job_logs")}
    assert (found["found"]["wallet_id"], found["found"]["chain_id"]) == (first.id, tron.id)
    assert (found["half"]["chain_id"], found["half"]["wallet_address"]) == (tron.id, third.address)
    assert [found[name]["status"] for name in ("found", "half", "live")] == ["pending"] * 3
    assert {name: found[name]["error_message"].split(": ")[1] for name in ("twice", "nobody", "none")} == {
        "twice": "its wallet has a live job of this type already",
        "nobody": 'there is no wallet with the address "T-nobody"',
        "none": "it has no wallet_address",
    }
    assert {found[name]["status"] for name in ("twice", "nobody", "none")} == {"failed"}


async def test_a_sync_job_that_was_loaded_makes_its_balances_due(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    for asset in (tron.native_id, tron.token_id):
        await set_balance(connection, wallet, asset, 9 * TRX)
    await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '5 minutes'")
    async with without_triggers(connection):
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, wallet_address, wallet_id, chain_id, run_at)"
            " VALUES ('look', 'sync', %s, %s, %s, now() - interval '2 minutes')",
            [wallet.address, wallet.id, tron.id],
        )
    assert await repair(connection) == {"syncs_made_due": 1}
    assert len(await rows(connection, "SELECT FROM wallet_balances WHERE next_check_at <= now()")) == 2


class Alone:
    """As much of a runtime as the comparing needs."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.beats = 0
        self.troubles = Troubles(self.beat)

    def beat(self) -> None:
        self.beats += 1

    async def persist(self, what: str, action: Callable[[], Awaitable[Any]]) -> Any:
        return await action()


async def test_a_round_takes_several_sweeps_and_another_process_goes_on(
    connection: Connection, database: str, tron: Chain
) -> None:
    wallets = await load_wallets(connection, tron, 7)
    async with executor_pool(database) as pool:
        first = Repairs(Alone(pool), page=3)  # type: ignore[arg-type]
        assert await first.cycle(interval_seconds=0.001) == {"balances_created": 6}
        assert first.stats() == {"compared_up_to": str(wallets[2].id), "compared_all": 0}
        await connection.execute(
            "INSERT INTO worker_registry (id, name, type, status, stats)"
            " VALUES ('all-sweep-001', 'sweep@gone:1', 'sweep', 'stopped', %s)",
            [Jsonb(dict(first.stats()))],
        )
        second = Repairs(Alone(pool), page=3)  # type: ignore[arg-type]
        await second.resume()
        assert await second.cycle(interval_seconds=1.5 * 3 / WALLETS_A_SECOND) == {"balances_created": 8}
        assert await second.cycle(interval_seconds=0.001) == {}
        assert (second.up_to, second.rounds) == (UUID(int=0), 1)


async def test_what_comes_back_in_the_next_round_is_an_alarm(
    connection: Connection, database: str, tron: Chain
) -> None:
    async with executor_pool(database) as pool:
        desk = Alone(pool)
        repairs = Repairs(desk)  # type: ignore[arg-type]
        with logged("ERROR") as lines:
            for _ in range(2):
                await load_wallets(connection, tron, 1)
                assert lines == []
                assert await repairs.cycle(interval_seconds=60) == {"balances_created": 2}
            assert "balances created again" in str(desk.troubles)
            assert await repairs.cycle(interval_seconds=60) == {}
            assert str(desk.troubles) == ""
    (line,) = lines
    assert "balances created again, 2 in this round over all wallets and 2 in the last" in line
