"""Balances decide flags: by both policies, for our wallets only, and for nothing that did not change."""

import asyncio

import pytest

from pipeline.db.pool import Connection
from tests.db.nested_plans import SETTINGS, Plans
from tests.db.sessions import rows, second_session, until_blocked, value
from tests.seed import TRX, USDT, Chain, add_wallets, set_balance

LOW = 5 * TRX - 1
ENOUGH = 5 * TRX
TO_MOVE = 200 * USDT + 1
NOT_YET = 200 * USDT


async def flags(connection: Connection, wallet_id: int) -> tuple[bool, bool]:
    """needs_gas, needs_consolidation."""
    ((gas, consolidation),) = await rows(
        connection, "SELECT needs_gas, needs_consolidation FROM wallets WHERE id = %s", wallet_id
    )
    return gas, consolidation


async def hold(connection: Connection, chain: Chain, wallet_id: int, coin: int, token: int) -> None:
    """Both balances of a wallet in one statement, as the sync stores them."""
    await connection.execute(
        """
        UPDATE wallet_balances SET recheck = false,
               on_chain_balance_raw = CASE asset_on_chain_id WHEN %s THEN %s ELSE %s END
        WHERE wallet_id = %s
        """,
        [chain.native_id, str(coin), str(token), wallet_id],
    )


@pytest.mark.parametrize(
    ("policy", "coin", "token", "expected"),
    [
        ("threshold", ENOUGH, NOT_YET, (False, False)),
        ("threshold", LOW, NOT_YET, (True, False)),
        ("threshold", 0, 0, (True, False)),
        ("threshold", ENOUGH, TO_MOVE, (False, True)),
        ("threshold", LOW, TO_MOVE, (True, True)),
        ("on_demand", ENOUGH, NOT_YET, (False, False)),
        ("on_demand", LOW, NOT_YET, (False, False)),
        ("on_demand", 0, 0, (False, False)),
        ("on_demand", ENOUGH, TO_MOVE, (False, True)),
        ("on_demand", LOW, TO_MOVE, (True, True)),
    ],
)
async def test_a_first_read_decides(
    connection: Connection, tron: Chain, policy: str, coin: int, token: int, expected: tuple[bool, bool]
) -> None:
    await connection.execute("UPDATE chains SET gas_policy = %s", [policy])
    (wallet,) = await add_wallets(connection, tron, 1)
    assert await flags(connection, wallet.id) == (False, False)
    await hold(connection, tron, wallet.id, coin, token)
    assert await flags(connection, wallet.id) == expected


@pytest.mark.parametrize("policy", ["threshold", "on_demand"])
async def test_from_every_holding_to_every_other(connection: Connection, tron: Chain, policy: str) -> None:
    """Whatever a wallet held before, its flags are those of what it holds now."""
    await connection.execute("UPDATE chains SET gas_policy = %s", [policy])
    (wallet,) = await add_wallets(connection, tron, 1)
    holdings = [(coin, token) for coin in (LOW, ENOUGH) for token in (NOT_YET, TO_MOVE)]
    for before in holdings:
        for after in holdings:
            await hold(connection, tron, wallet.id, *before)
            await hold(connection, tron, wallet.id, *after)
            tokens = after[1] == TO_MOVE
            gas = after[0] == LOW and (policy == "threshold" or tokens)
            assert await flags(connection, wallet.id) == (gas, tokens), (before, after)


async def test_one_half_of_a_wallet_after_the_other(connection: Connection, tron: Chain) -> None:
    await connection.execute("UPDATE chains SET gas_policy = 'on_demand'")
    (wallet,) = await add_wallets(connection, tron, 1)
    await set_balance(connection, wallet, tron.token_id, TO_MOVE)
    assert await flags(connection, wallet.id) == (False, True)  # the coin was never read: nothing is known of it
    await set_balance(connection, wallet, tron.native_id, 0)
    assert await flags(connection, wallet.id) == (True, True)
    await set_balance(connection, wallet, tron.token_id, 0)
    assert await flags(connection, wallet.id) == (False, False)


async def test_a_second_token_counts_and_an_inactive_one_does_not(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    other = await value(
        connection,
        "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above,"
        " consolidate_execute_min) VALUES (%s, 'USDC', 'Tusdc', 6, 10, 5) RETURNING id",
        tron.id,
    )
    await hold(connection, tron, wallet.id, ENOUGH, 0)
    await set_balance(connection, wallet, other, 11)
    assert await flags(connection, wallet.id) == (False, True)
    await connection.execute("UPDATE asset_on_chain SET is_active = false WHERE id = %s", [other])
    assert await flags(connection, wallet.id) == (False, False)
    await set_balance(connection, wallet, other, 12)
    assert await flags(connection, wallet.id) == (False, False)


async def test_a_flag_set_by_hand_lives_until_the_balance_moves(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await hold(connection, tron, wallet.id, ENOUGH, 150 * USDT)
    await connection.execute("UPDATE wallets SET needs_consolidation = true WHERE id = %s", [wallet.id])
    await hold(connection, tron, wallet.id, ENOUGH, 150 * USDT)
    assert await flags(connection, wallet.id) == (False, True)
    await set_balance(connection, wallet, tron.token_id, 149 * USDT)
    assert await flags(connection, wallet.id) == (False, False)


async def test_a_served_flag_rises_again_when_the_balance_moves(connection: Connection, tron: Chain) -> None:
    """Between execute_below and flag_below the executor lowers the flag without sending; the next change decides."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await hold(connection, tron, wallet.id, 3 * TRX, 0)
    await connection.execute("UPDATE wallets SET needs_gas = false WHERE id = %s", [wallet.id])
    await set_balance(connection, wallet, tron.native_id, TRX // 2)
    assert await flags(connection, wallet.id) == (True, False)


async def test_a_failed_read_decides_nothing(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute(
        "UPDATE wallet_balances SET last_error = 'no such address', last_error_at = now(), last_checked = now()"
    )
    assert await flags(connection, wallet.id) == (False, False)


async def test_a_recheck_decides_even_if_the_amount_is_equal(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await hold(connection, tron, wallet.id, ENOUGH, TO_MOVE)
    await connection.execute("UPDATE wallets SET needs_consolidation = false WHERE id = %s", [wallet.id])
    await hold(connection, tron, wallet.id, ENOUGH, TO_MOVE)
    assert await flags(connection, wallet.id) == (False, False)  # equal: decides nothing
    await connection.execute("SELECT make_balances_due(ARRAY[%s]::uuid[])", [wallet.id])
    assert await flags(connection, wallet.id) == (False, False)  # asked for, not read yet
    await hold(connection, tron, wallet.id, ENOUGH, TO_MOVE)
    assert await flags(connection, wallet.id) == (False, True)


async def test_the_stale_half_of_a_wallet_decides_nothing(connection: Connection, tron: Chain) -> None:
    """After a payment both balances are unknown; the one read first must not judge by the other's old amount."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await hold(connection, tron, wallet.id, ENOUGH, TO_MOVE)
    await connection.execute("UPDATE wallets SET needs_consolidation = false WHERE id = %s", [wallet.id])
    await connection.execute("SELECT make_balances_due(ARRAY[%s]::uuid[])", [wallet.id])
    await set_balance(connection, wallet, tron.native_id, LOW)
    assert await flags(connection, wallet.id) == (True, False)  # the tokens may be gone
    await set_balance(connection, wallet, tron.token_id, 0)
    assert await flags(connection, wallet.id) == (True, False)

    await hold(connection, tron, wallet.id, ENOUGH, TO_MOVE)
    await connection.execute("SELECT make_balances_due(ARRAY[%s]::uuid[])", [wallet.id])
    await set_balance(connection, wallet, tron.native_id, LOW)
    assert await flags(connection, wallet.id) == (True, True)  # nor does a standing flag fall


async def test_wallets_that_are_not_ours_get_no_flags(connection: Connection, tron: Chain) -> None:
    await connection.execute("INSERT INTO user_wallets (address, network) VALUES ('Tforeign', 'tron')")
    foreign = await value(connection, "SELECT id FROM wallets WHERE address = 'Tforeign'")
    await hold(connection, tron, foreign, 0, TO_MOVE)
    assert await flags(connection, foreign) == (False, False)
    assert await value(connection, "SELECT owner FROM wallet_state WHERE id = %s", foreign) == "foreign"
    await connection.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [foreign])
    await hold(connection, tron, foreign, 1, TO_MOVE + 1)
    assert await flags(connection, foreign) == (True, False)  # set by hand, and left alone


async def test_only_wallets_whose_flags_differ_are_written(connection: Connection, tron: Chain) -> None:
    first, second = await add_wallets(connection, tron, 2)
    await hold(connection, tron, first.id, ENOUGH, 0)
    await hold(connection, tron, second.id, ENOUGH, 0)
    versions = "SELECT id, xmin::text FROM wallets WHERE id = ANY (%s) ORDER BY id"
    before = dict(await rows(connection, versions, [first.id, second.id]))
    await connection.execute(
        "UPDATE wallet_balances SET on_chain_balance_raw = CASE wallet_id WHEN %s THEN %s ELSE %s END"
        " WHERE asset_on_chain_id = %s",
        [first.id, str(ENOUGH + 1), str(LOW), tron.native_id],
    )
    after = dict(await rows(connection, versions, [first.id, second.id]))
    assert (before[first.id] == after[first.id], before[second.id] == after[second.id]) == (True, False)


async def test_evaluate_flags_returns_how_many_changed(connection: Connection, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 3)
    for wallet in wallets:
        await hold(connection, tron, wallet.id, LOW, 0)
    await connection.execute("UPDATE wallets SET needs_gas = false WHERE id <> %s", [wallets[0].id])
    evaluate = "SELECT evaluate_flags(ARRAY(SELECT id FROM wallets))"
    assert await value(connection, evaluate) == 2
    assert await value(connection, evaluate) == 0


async def test_flag_times(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    times = "SELECT needs_gas_since, consolidation_ready_since FROM wallets WHERE id = %s"

    async def write(gas: bool, consolidation: bool) -> tuple[bool, bool]:
        await connection.execute(
            "UPDATE wallets SET needs_gas = %s, needs_consolidation = %s WHERE id = %s", [gas, consolidation, wallet.id]
        )
        ((since_gas, since_ready),) = await rows(connection, times, wallet.id)
        return since_gas is not None, since_ready is not None

    assert await write(False, False) == (False, False)
    assert await write(False, True) == (False, True)
    assert await write(True, True) == (True, False)
    ((risen, _),) = await rows(connection, times, wallet.id)
    assert await write(True, False) == (True, False)
    assert await rows(connection, times, wallet.id) == [(risen, None)]  # still the same rise
    assert await write(True, True) == (True, False)
    assert await write(False, True) == (False, True)
    ((_, ready),) = await rows(connection, times, wallet.id)
    assert ready > risen
    flagged = "SELECT needs_consolidation_since, flagged_since FROM wallets WHERE id = %s"
    ((since, _),) = await rows(connection, flagged, wallet.id)
    await write(True, True)
    await write(False, True)
    assert await rows(connection, flagged, wallet.id) == [(since, since)], "gas that came and went is no new need"
    await write(False, False)
    assert await rows(connection, flagged, wallet.id) == [(None, None)]

    await connection.execute(
        "INSERT INTO wallets (chain_id, address, needs_consolidation) VALUES (%s, 'Tflagged', true)", [tron.id]
    )
    assert await value(
        connection, "SELECT consolidation_ready_since IS NOT NULL FROM wallets WHERE address = 'Tflagged'"
    )


async def test_changed_thresholds_take_effect(connection: Connection, tron: Chain) -> None:
    first, second, by_hand = await add_wallets(connection, tron, 3)
    await hold(connection, tron, first.id, 6 * TRX, 300 * USDT)
    await hold(connection, tron, second.id, 7 * TRX, 500 * USDT)
    await hold(connection, tron, by_hand.id, 9 * TRX, 100 * USDT)

    async def all_flags() -> list[tuple[bool, bool]]:
        return [await flags(connection, wallet.id) for wallet in (first, second, by_hand)]

    assert await all_flags() == [(False, True), (False, True), (False, False)]
    await connection.execute("UPDATE chains SET gas_flag_below = %s", [7 * TRX])
    assert await all_flags() == [(True, True), (False, True), (False, False)]
    await connection.execute(
        "UPDATE asset_on_chain SET consolidate_flag_above = %s WHERE id = %s", [400 * USDT, tron.token_id]
    )
    assert await all_flags() == [(True, False), (False, True), (False, False)]
    await connection.execute("UPDATE chains SET gas_policy = 'on_demand'")
    assert await all_flags() == [(False, False), (False, True), (False, False)]
    await connection.execute("UPDATE chains SET gas_policy = 'threshold', gas_flag_below = %s", [5 * TRX])
    assert await all_flags() == [(False, False), (False, True), (False, False)]


async def test_two_sessions_change_the_two_halves_of_a_wallet(
    connection: Connection, tron: Chain, database: str
) -> None:
    """Neither sees the other's amount when it writes; the flags are right all the same."""
    await connection.execute("UPDATE chains SET gas_policy = 'on_demand'")
    (wallet,) = await add_wallets(connection, tron, 1)
    await hold(connection, tron, wallet.id, ENOUGH, NOT_YET)
    async with second_session(database) as other:
        async with connection.transaction():
            await set_balance(connection, wallet, tron.native_id, LOW)
            writing = asyncio.create_task(set_balance(other, wallet, tron.token_id, TO_MOVE))
            await until_blocked(connection, other)
        await writing
    assert await flags(connection, wallet.id) == (True, True)


@pytest.mark.parametrize("first_to_commit", ["balance", "threshold"])
async def test_a_threshold_changes_while_a_balance_is_written(
    connection: Connection, tron: Chain, database: str, first_to_commit: str
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await hold(connection, tron, wallet.id, ENOUGH, 250 * USDT)
    lower = "UPDATE asset_on_chain SET consolidate_flag_above = %s WHERE id = %s"
    async with second_session(database) as other:
        if first_to_commit == "balance":
            async with connection.transaction():
                await set_balance(connection, wallet, tron.token_id, 150 * USDT)
                changing = asyncio.create_task(other.execute(lower, [120 * USDT, tron.token_id]))
                await until_blocked(connection, other)
            await changing
        else:
            async with connection.transaction():
                await connection.execute(lower, [120 * USDT, tron.token_id])
                writing = asyncio.create_task(set_balance(other, wallet, tron.token_id, 150 * USDT))
                await until_blocked(connection, other)
            await writing
    assert await flags(connection, wallet.id) == (False, True)


async def test_a_hundred_times_more_rows_than_the_plan_was_made_for(connection: Connection, tron: Chain) -> None:
    """Plans are cached from the first statement of a session: one row. A nested loop would compare each with each."""
    wallets = await add_wallets(connection, tron, 15_000)
    await connection.execute("SET statement_timeout = '60s'")
    await hold(connection, tron, wallets[0].id, LOW, TO_MOVE)
    await connection.execute(
        "UPDATE wallet_balances SET recheck = false, next_check_at = now() + interval '1 hour',"
        " on_chain_balance_raw = CASE asset_on_chain_id WHEN %s THEN '1' ELSE '900000000' END",
        [tron.native_id],
    )
    await connection.execute("UPDATE wallet_balances SET next_check_at = now()")
    assert await value(connection, "SELECT count(*) FROM wallets WHERE needs_gas AND needs_consolidation") == 15_000
    await connection.execute("UPDATE wallets SET needs_gas = false")
    assert await value(connection, "SELECT count(*) FROM wallets WHERE wanted_job = 'consolidation'") == 15_000


async def test_what_a_notify_says_is_never_found_by_comparing_each_row_with_each(
    connection: Connection, tron: Chain
) -> None:
    """The plan that was made for one row serves for thousands."""
    wallets = await add_wallets(connection, tron, 3_000)
    await connection.execute("LOAD 'auto_explain'")
    for name, setting in SETTINGS.items():
        if name != "session_preload_libraries":
            await connection.execute("SELECT set_config(%s, %s, false)", [name, setting])
    plans = Plans(connection)
    for ids in ([wallets[0].id], [wallet.id for wallet in wallets[1:]]):
        await connection.execute("UPDATE wallets SET needs_gas = true WHERE id = ANY (%s)", [ids])
        steps = plans.steps("FROM new_rows n FULL JOIN old_rows o")
        assert "WindowAgg" in steps, "the session has told its plans"
        assert steps & {"Hash Join", "Merge Join"}
        assert "Nested Loop" not in steps
