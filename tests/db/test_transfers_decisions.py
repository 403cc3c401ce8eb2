"""Decisions against nodes that contradict each other and rows that nobody should have written."""

from collections.abc import Sequence
from dataclasses import replace

import psycopg
import pytest

from pipeline.chains.fees import TronFee
from pipeline.chains.values import Balance, BalanceQuery, Family, Finality
from pipeline.queue.jobs import Defer, Done, Failed, JobType, Parked, Retry
from pipeline.signing.keyring import Keyring
from tests.chaos.world import MNEMONIC, Desk, World
from tests.policy import allow
from tests.seed import TRX, USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


async def store(world: World, wallet: Wallet, *, native: int, token: int, block: int) -> None:
    """As the sync writes both balances."""
    for asset, raw in ((world.native_id, native), (world.token_id, token)):
        await world.connection.execute(
            "UPDATE wallet_balances SET on_chain_balance_raw = %s, recheck = false, next_check_at = now() + '1 hour', "
            "block_number = %s WHERE wallet_id = %s AND asset_on_chain_id = %s",
            [str(raw), block, wallet.id, asset],
        )


async def flags(world: World, wallet: Wallet) -> tuple[bool, bool]:
    row = await world.row("SELECT needs_gas, needs_consolidation FROM wallets WHERE id = %s", wallet.id)
    return row["needs_gas"], row["needs_consolidation"]


async def run_everything_now(world: World) -> None:
    await world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")


class TestANodeThatLags:
    async def test_a_decision_is_not_made_from_an_older_block_than_is_stored(self, world: World, desk: Desk) -> None:
        wallet = await world.wallet(usdt=250 * USDT, trx=30 * TRX)
        block = (await world.devnet.solidify()).number
        await store(world, wallet, native=30 * TRX, token=250 * USDT, block=block)
        ((_, outcome),) = await desk.run(CONSOLIDATION)
        assert isinstance(outcome, Defer)
        assert f"the wallet was read at {block} already" in outcome.reason
        assert await flags(world, wallet) == (False, True)
        await world.devnet.solidify()
        await run_everything_now(world)
        await desk.run(CONSOLIDATION)
        await desk.settle()
        assert [one.amount for one in await world.swept()] == [250 * USDT]

    async def test_a_flag_that_the_stored_balances_call_for_comes_back(self, world: World, desk: Desk) -> None:
        """The block numbers do not tell: the flag falls, and the next read raises it though the amounts are equal."""
        wallet = await world.wallet(usdt=250 * USDT)
        await world.devnet.solidify()
        await store(world, wallet, native=0, token=250 * USDT, block=1)
        assert await flags(world, wallet) == (True, True)

        async def of_another_time(balances: Sequence[Balance]) -> list[Balance]:
            return [replace(one, raw=30 * TRX if place % 2 == 0 else 0) for place, one in enumerate(balances)]

        desk.provider.after("balances", of_another_time)
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Done)
        assert await flags(world, wallet) == (False, True)
        due = await world.rows("SELECT recheck AND next_check_at <= now() AS due FROM wallet_balances")
        assert [row["due"] for row in due] == [True, True]
        await store(world, wallet, native=0, token=250 * USDT, block=2)
        assert await flags(world, wallet) == (True, True)

    async def test_gas_on_demand_that_was_called_off_by_a_wrong_read_is_asked_for_again(
        self, world: World, desk: Desk
    ) -> None:
        """Nothing is read anew for it: the flag for consolidation is still up, and its job finds what is missing."""
        await world.connection.execute("UPDATE chains SET gas_policy = 'on_demand'")
        wallet = await world.wallet(usdt=250 * USDT)
        await world.devnet.solidify()
        await store(world, wallet, native=0, token=250 * USDT, block=1)
        assert await flags(world, wallet) == (True, True)

        async def plenty_of_gas(balances: Sequence[Balance]) -> list[Balance]:
            return [replace(one, raw=30 * TRX if place % 2 == 0 else one.raw) for place, one in enumerate(balances)]

        desk.provider.after("balances", plenty_of_gas)
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Done)
        assert await flags(world, wallet) == (False, True)
        ((_, outcome),) = await desk.run(CONSOLIDATION)
        assert isinstance(outcome, Done)
        assert outcome.data["outcome"] == "needs_gas"
        assert await flags(world, wallet) == (True, True)
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Parked)

    async def test_a_deposit_is_not_forgotten(self, world: World, desk: Desk) -> None:
        wallet = await world.wallet(usdt=250 * USDT, trx=30 * TRX)
        await world.devnet.solidify()
        await store(world, wallet, native=30 * TRX, token=250 * USDT, block=1)

        async def before_the_deposit(balances: Sequence[Balance]) -> list[Balance]:
            return [replace(one, raw=0) for one in balances]

        desk.provider.after("balances", before_the_deposit)
        await desk.run(CONSOLIDATION)
        assert await flags(world, wallet) == (False, False)
        await store(world, wallet, native=30 * TRX, token=250 * USDT, block=2)
        assert await flags(world, wallet) == (False, True)

    async def test_what_execution_would_leave_alone_is_not_read_again_and_again(self, world: World, desk: Desk) -> None:
        """3 TRX: below the flag's threshold, above the execution's. The flag falls and nothing is due."""
        wallet = await world.wallet(trx=3 * TRX)
        await world.devnet.solidify()
        await store(world, wallet, native=3 * TRX, token=0, block=1)
        assert await flags(world, wallet) == (True, False)
        await desk.run(GAS)
        assert await flags(world, wallet) == (False, False)
        due = await world.rows("SELECT FROM wallet_balances WHERE recheck OR next_check_at <= now()")
        assert due == []

    async def test_a_head_behind_the_final_block_calls_for_no_gas(self, world: World, desk: Desk) -> None:
        """The node asked for the newest block has not seen the coins: the job waits, and no jobs chase each other."""
        wallet = await world.wallet(usdt=250 * USDT, trx=30 * TRX)
        await world.devnet.solidify()
        await world.flag(wallet, consolidation=True)
        balances = desk.real_provider.balances

        async def head_without_coins(queries: Sequence[BalanceQuery], finality: Finality = Finality.FINAL) -> object:
            found = await balances(queries, finality)
            if finality is Finality.FINAL:
                return found
            return [
                replace(one, raw=0 if query.asset.is_native else one.raw)
                for query, one in zip(queries, found, strict=True)
            ]

        desk.real_provider.balances = head_without_coins  # type: ignore[method-assign,assignment]
        ((_, outcome),) = await desk.run(CONSOLIDATION)
        assert isinstance(outcome, Defer)
        assert await flags(world, wallet) == (False, True)


class TestStrangeRows:
    async def test_a_row_with_an_impossible_index_spoils_its_own_job_only(self, world: World, desk: Desk) -> None:
        good = [await world.wallet(usdt=250 * USDT) for _ in range(3)]
        bad = await world.wallet()
        await world.devnet.solidify()
        with pytest.raises(psycopg.errors.CheckViolation):
            await world.connection.execute("UPDATE wallets SET derivation_index = 3000000000 WHERE id = %s", [bad.id])
        await world.connection.execute("ALTER TABLE wallets DROP CONSTRAINT wallets_derivation_index_check")
        await world.connection.execute("UPDATE wallets SET derivation_index = 3000000000 WHERE id = %s", [bad.id])
        for wallet in (*good, bad):
            await world.flag(wallet, gas=True)
        outcomes = {job.wallet_id: outcome for job, outcome in await desk.run(GAS)}
        assert isinstance(outcomes[bad.id], Failed)
        assert [outcomes[wallet.id] for wallet in good] == [Parked()] * 3

    async def test_a_wallet_of_our_own_is_not_swept(self, world: World, desk: Desk) -> None:
        """Index 5 is reserved; whoever can write a row must not empty it."""
        address = Keyring(MNEMONIC).address(Family.TRON, 5)
        await world.connection.execute(
            "INSERT INTO wallets (chain_id, address, derivation_index, needs_consolidation) VALUES (%s, %s, 5, true)",
            [world.chain_id, address],
        )
        await world.devnet.send_token(world.token, address, 900 * USDT)
        await world.devnet.faucet(address, 30 * TRX)
        await world.devnet.solidify()
        ((_, outcome),) = await desk.run(CONSOLIDATION)
        assert isinstance(outcome, Failed)
        assert "one of our own" in outcome.error
        await desk.settle()
        assert await world.swept() == []

    @pytest.mark.parametrize("policy", ["threshold", "on_demand"])
    async def test_a_token_that_is_none_stops_neither_gas_nor_the_other_tokens(
        self, world: World, desk: Desk, policy: str
    ) -> None:
        await world.connection.execute("UPDATE chains SET gas_policy = %s", [policy])
        wallet = await world.wallet(usdt=250 * USDT)
        await world.devnet.solidify()
        await add_token(world, "OOPS", wallet.address)
        await world.flag(wallet, gas=True, consolidation=True)
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        await desk.settle()
        assert [outcome for _, outcome in await desk.run(CONSOLIDATION)] == [Parked()]
        await desk.settle()
        assert [one.amount for one in await world.swept()] == [250 * USDT]

    async def test_nothing_to_move_is_not_said_of_what_could_not_be_read(self, world: World, desk: Desk) -> None:
        wallet = await world.wallet(trx=30 * TRX)
        await world.devnet.solidify()
        await add_token(world, "OOPS", wallet.address)
        await world.flag(wallet, consolidation=True)
        ((_, outcome),) = await desk.run(CONSOLIDATION)
        assert isinstance(outcome, Retry)
        assert "OOPS" in outcome.error
        assert await flags(world, wallet) == (False, True)

    async def test_a_token_added_while_the_process_runs_is_moved(self, world: World, desk: Desk) -> None:
        token, _ = await world.devnet.deploy_token()
        wallet = await world.wallet(trx=30 * TRX)
        await world.devnet.send_token(token, wallet.address, 500 * USDT)
        await world.devnet.solidify()
        await add_token(world, "USDX", token)
        await world.flag(wallet, consolidation=True)
        desk.may_sign(allow(desk.sender.rules, [token]))
        assert [outcome for _, outcome in await desk.run(CONSOLIDATION)] == [Parked()]
        await desk.settle()
        paid = [one for one in await world.devnet.audit() if one.sender == wallet.address and one.contract == token]
        assert [(one.receiver, one.amount) for one in paid] == [(world.treasury, 500 * USDT)]


async def test_a_reverted_consolidation_rests_though_its_fee_called_for_gas(world: World, desk: Desk) -> None:
    """The burned fee takes the wallet below the threshold; gas that was looked after is no reason to burn the next."""
    wallet = await world.wallet(usdt=250 * USDT, trx=7 * TRX)
    block = (await world.devnet.solidify()).number
    desk.queue.config = desk.queue.config.model_copy(update={"quiet_seconds": 3600})
    await store(world, wallet, native=7 * TRX, token=250 * USDT, block=block - 2)

    async def too_little(estimate: TronFee) -> TronFee:
        return replace(estimate, fee_limit=estimate.fee_limit * 8 // 10)

    desk.provider.after("estimate", too_little)
    assert [outcome for _, outcome in await desk.run(CONSOLIDATION)] == [Parked()]
    await desk.settle()
    assert [row["state"] for row in await world.transfers()] == ["reverted"]
    for _ in range(2):
        block = (await world.devnet.solidify()).number
        left = await world.devnet.balance(wallet.address, solid=True)
        await store(world, wallet, native=left, token=250 * USDT, block=block - 2)
        await desk.run(GAS)
        assert await flags(world, wallet) == (False, True)
        await desk.settle()
        assert await desk.run(CONSOLIDATION) == []
    assert [row["job_type"] for row in await world.jobs()] == ["consolidation", "gas-topup"]
    # A need that rises anew is served at once.
    await world.flag(wallet)
    await world.flag(wallet, consolidation=True)
    assert [outcome for _, outcome in await desk.run(CONSOLIDATION)] == [Parked()]


async def add_token(world: World, symbol: str, contract: str) -> None:
    await world.connection.execute(
        "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above, "
        "consolidate_execute_min) VALUES (%s, %s, %s, 6, %s, %s)",
        [world.chain_id, symbol, contract, 200 * USDT, 100 * USDT],
    )
