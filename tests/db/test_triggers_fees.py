"""Fees in the database: budgets count them with the amounts, none is without a bound, and none rises out of nothing."""

import random
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from pipeline.db.pool import Connection
from tests.db.money import ask, new_attempt, new_job, new_transfer, read_past_the_expiration
from tests.db.sessions import rows, value
from tests.seed import TRX, USDT, Chain, Wallet, add_wallets

SPENT = "SELECT coalesce(sum(amount), 0), coalesce(sum(fees), 0), coalesce(sum(topups), 0) FROM gas_spending"


async def rules(connection: Connection, **columns: Any) -> None:
    for column, new in columns.items():
        await connection.execute(f"UPDATE chains SET {column} = %s", [new])  # noqa: S608


async def lead(connection: Connection, transfer: int, *states: str, fee: int | None = None) -> None:
    """A payment and its newest attempt, through these states."""
    for state in states:
        if state in ("broadcasting", "included", "final", "reverted", "expired"):
            paid = fee if state in ("final", "reverted") else None
            await connection.execute(
                "WITH attempt AS (UPDATE chain_transactions SET state = %(state)s, fee_paid = %(paid)s,"
                " block_number = CASE WHEN %(state)s IN ('included', 'final', 'reverted') THEN 7 END"
                " WHERE bundle_id = (SELECT bundle_id FROM transfers WHERE id = %(id)s)"
                " AND state IN ('broadcasting', 'included'))"
                " UPDATE transfers SET state = %(state)s, fee_paid = %(paid)s WHERE id = %(id)s",
                {"state": state, "paid": paid, "id": transfer},
            )
        else:
            await connection.execute("UPDATE transfers SET state = %s WHERE id = %s", [state, transfer])


async def sign(connection: Connection, transfer: int, *, fee_cap: int) -> None:
    """Its bytes are kept: from then on it is broadcasting."""
    await new_attempt(connection, transfer, fee_cap=fee_cap)


async def refusal(connection: Connection, *arguments: Any, **options: Any) -> tuple[str | None, str | None]:
    """SQLSTATE and limit with which a top-up is refused."""
    with pytest.raises(psycopg.DatabaseError) as refused:
        await new_transfer(connection, *arguments, **options)
    return refused.value.sqlstate, refused.value.diag.constraint_name


class TestBudgets:
    async def test_a_topup_counts_with_its_fee(self, connection: Connection, tron: Chain) -> None:
        first, second = await add_wallets(connection, tron, 2)
        await rules(connection, gas_max_per_topup=5 * TRX, gas_max_per_wallet_day=8 * TRX, gas_max_per_day=12 * TRX)
        await new_transfer(connection, tron, first, fee=TRX)
        assert await rows(connection, SPENT) == [(5 * TRX, TRX, 1)]
        assert await refusal(connection, tron, second, fee=TRX + 1) == ("FP002", "gas_max_per_day")
        await new_transfer(connection, tron, second, fee=TRX)

    async def test_of_a_wallets_day(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await rules(connection, gas_cooldown="0", gas_max_per_topup=5 * TRX, gas_max_per_wallet_day=11 * TRX)
        first = await new_transfer(connection, tron, wallet, fee=TRX)
        await sign(connection, first, fee_cap=2 * TRX)
        await lead(connection, first, "broadcasting", "included", "final", fee=TRX // 2)
        assert await refusal(connection, tron, wallet, fee=TRX) == ("FP002", "gas_max_per_wallet_day")
        await new_transfer(connection, tron, wallet, fee=TRX // 2)

    async def test_in_all(self, connection: Connection, tron: Chain) -> None:
        first, second = await add_wallets(connection, tron, 2)
        await rules(connection, gas_max_total=11 * TRX)
        await new_transfer(connection, tron, first, fee=TRX)
        assert await refusal(connection, tron, second, fee=1) == ("FP002", "gas_max_total")

    async def test_whoever_asks_names_its_fee(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        with pytest.raises(psycopg.errors.NotNullViolation, match="names the most that its transaction may cost"):
            await new_transfer(connection, tron, wallet, fee=None)  # type: ignore[arg-type]

    async def test_bytes_that_may_cost_more_count_the_difference(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet, fee=TRX)
        await sign(connection, transfer, fee_cap=3 * TRX)
        assert await rows(connection, SPENT) == [(5 * TRX, 3 * TRX, 1)]

    async def test_bytes_that_cost_less_give_nothing_back_yet(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet, fee=TRX)
        await sign(connection, transfer, fee_cap=TRX // 2)
        assert await rows(connection, SPENT) == [(5 * TRX, TRX, 1)]

    async def test_bytes_of_an_old_payment_count_today(self, connection: Connection, tron: Chain) -> None:
        """A node holds payments back for a day, and names prices then: their hour is over, today's budget is not."""
        await rules(connection, fee_max=50 * TRX, gas_max_per_wallet_day=60 * TRX, gas_max_per_day=60 * TRX)
        first, second = await add_wallets(connection, tron, 2)
        old, new = [await new_transfer(connection, tron, one, fee=TRX) for one in (first, second)]
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "UPDATE transfers SET created_at = created_at - interval '30 hours' WHERE id = %s", [old]
        )
        await connection.execute(
            "WITH now_less AS (UPDATE gas_spending SET topups = 1, amount = amount / 2, fees = fees / 2 RETURNING *)"
            " INSERT INTO gas_spending (chain_id, hour, topups, amount, fees)"
            " SELECT chain_id, hour - interval '30 hours', topups, amount, fees FROM now_less"
        )
        await connection.execute("SET session_replication_role = origin")
        attempt = await new_attempt(connection, old, fee_cap=50 * TRX)
        with pytest.raises(psycopg.DatabaseError, match="gas_max_per_day") as refused:
            await new_attempt(connection, new, fee_cap=50 * TRX)
        assert refused.value.sqlstate == "FP002"
        hours = "SELECT fees FROM gas_spending ORDER BY hour"
        assert [fees for (fees,) in await rows(connection, hours)] == [TRX, 50 * TRX]
        assert attempt
        await lead(connection, old, "broadcasting", "included", "final", fee=3 * TRX)
        assert [fees for (fees,) in await rows(connection, hours)] == [TRX, 3 * TRX], (
            "2 of it today, and what is asked for"
        )

    async def test_bytes_that_would_pass_a_budget_are_not_kept(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await rules(connection, gas_max_per_topup=5 * TRX, gas_max_per_wallet_day=6 * TRX, gas_max_per_day=6 * TRX)
        transfer = await new_transfer(connection, tron, wallet, fee=TRX)
        with pytest.raises(psycopg.DatabaseError, match="its fee included, on top of") as refused:
            await new_attempt(connection, transfer, fee_cap=TRX + 1)
        assert (refused.value.sqlstate, refused.value.diag.constraint_name) == ("FP002", "gas_max_per_wallet_day")
        await new_attempt(connection, transfer, fee_cap=TRX)

    @pytest.mark.parametrize("end", ["final", "reverted"])
    async def test_what_was_paid_counts_in_the_end(self, connection: Connection, tron: Chain, end: str) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet, fee=TRX)
        await sign(connection, transfer, fee_cap=3 * TRX)
        await lead(connection, transfer, "broadcasting", "included", end, fee=268_000)
        assert await rows(connection, SPENT) == [(5 * TRX, 268_000, 1)]

    async def test_what_was_given_up_counts_nothing(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet, fee=TRX)
        await sign(connection, transfer, fee_cap=3 * TRX)
        await read_past_the_expiration(connection)
        await lead(connection, transfer, "broadcasting", "expired")
        assert await rows(connection, SPENT) == [(5 * TRX, 3 * TRX, 1)], "it may be signed anew"
        await connection.execute("UPDATE transfers SET state = 'requested'")
        await ask(connection, transfer, fee_cap=4 * TRX)
        assert await rows(connection, SPENT) == [(5 * TRX, 4 * TRX, 1)], "one of both lands"
        await connection.execute(
            "UPDATE signing_requests SET state = 'refused', refusal = 'too dear' WHERE state = 'asked'"
        )
        await lead(connection, transfer, "rejected")
        assert await rows(connection, SPENT) == [(0, 0, 0)]

    async def test_a_nonce_that_is_filled_counts_its_fee(self, connection: Connection, tron: Chain) -> None:
        await rules(connection, gas_max_per_topup=5 * TRX, gas_max_per_wallet_day=5 * TRX, gas_max_per_day=5 * TRX)
        gap = (
            "INSERT INTO transfers (kind, chain_id, asset_on_chain_id, from_address, to_address, amount, fee_reserved,"
            " idempotency_key) VALUES ('gap', %s, %s, 'T1', 'T1', 1, %s, %s)"
        )
        await connection.execute(gap, [tron.id, tron.native_id, 3 * TRX, "first"])
        assert await rows(connection, SPENT) == [(1, 3 * TRX, 0)]
        with pytest.raises(psycopg.DatabaseError, match="gas for a nonce of T1 refused") as refused:
            await connection.execute(gap, [tron.id, tron.native_id, 3 * TRX, "second"])
        assert (refused.value.sqlstate, refused.value.diag.constraint_name) == ("FP002", "gas_max_per_day")

    async def test_a_payment_of_an_older_version_counts_as_it_settles(
        self, connection: Connection, tron: Chain
    ) -> None:
        """It was asked for without a fee, under budgets that knew none."""
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet, fee=0)
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute("UPDATE transfers SET fee_reserved = NULL")
        await sign(connection, transfer, fee_cap=3 * TRX)
        assert await rows(connection, SPENT) == [(5 * TRX, 0, 1)]
        await lead(connection, transfer, "broadcasting", "included", "final", fee=TRX)
        assert await rows(connection, SPENT) == [(5 * TRX, TRX, 1)]

    async def test_counts_that_somebody_changed_stop_no_settlement(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet, fee=TRX)
        await sign(connection, transfer, fee_cap=TRX)
        await connection.execute("UPDATE gas_spending SET fees = 0, amount = 0, topups = 0")
        await lead(connection, transfer, "broadcasting", "included", "final", fee=5)
        assert await rows(connection, SPENT) == [(0, 0, 0)]

    async def test_whatever_happens_the_sum_is_right(self, connection: Connection, tron: Chain) -> None:
        """A walk of many payments: what is counted is what they may still cost, or did."""
        dice = random.Random(20261129)
        await rules(connection, gas_cooldown="0", gas_max_per_day=10**15, gas_max_per_wallet_day=10**15)
        await read_past_the_expiration(connection)
        wallets = list(await add_wallets(connection, tron, 8))
        known: dict[int, dict[str, Any]] = {}
        for _ in range(120):
            live = [one for one in known if known[one]["state"] not in ("final", "reverted", "rejected")]
            if not live or (dice.random() < 0.3 and len(live) < len(wallets)):
                wallet = next(one for one in wallets if all(known[other]["wallet"] is not one for other in live))
                await connection.execute("UPDATE job_logs SET status = 'failed' WHERE wallet_id = %s", [wallet.id])
                job = await new_job(connection, wallet)
                fee, amount = dice.randint(0, TRX), dice.randint(5 * TRX, 9 * TRX)
                one = await new_transfer(connection, tron, wallet, fee=fee, amount=amount, job=job)
                known[one] = {"wallet": wallet, "state": "requested", "amount": amount, "fee": fee}
            else:
                await _step(connection, dice, dice.choice(live), known)
            amount = sum(one["amount"] for one in known.values() if one["state"] != "rejected")
            fees = sum(one["fee"] for one in known.values() if one["state"] != "rejected")
            assert (await rows(connection, SPENT))[0][:2] == (amount, fees), known


async def _step(connection: Connection, dice: random.Random, one: int, known: dict[int, dict[str, Any]]) -> None:
    payment = known[one]
    match payment["state"]:
        case "requested" | "expired" if dice.random() < 0.2:
            await lead(connection, one, "rejected")
            payment["state"] = "rejected"
        case "requested" | "expired":
            cap = dice.randint(0, 2 * TRX)
            await sign(connection, one, fee_cap=cap)
            payment |= {"state": "broadcasting", "fee": max(payment["fee"], cap)}
        case "broadcasting":
            payment["state"] = dice.choice(["expired", "included"])
            await lead(connection, one, payment["state"])
        case "included":
            paid = dice.randint(0, payment["fee"])
            payment |= {"state": dice.choice(["final", "reverted"]), "fee": paid}
            await lead(connection, one, payment["state"], fee=paid)


class TestWorth:
    @pytest.mark.parametrize(
        ("fee", "amount", "passes"), [(10, 30, True), (10, 29, False), (0, 1, True), (11, 32, False)]
    )
    async def test_a_topup_is_worth_three_times_its_fee(
        self, connection: Connection, tron: Chain, fee: int, amount: int, passes: bool
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        if passes:
            await new_transfer(connection, tron, wallet, amount=amount, fee=fee)
        else:
            refused = await refusal(connection, tron, wallet, amount=amount, fee=fee)
            assert refused == ("FP002", "topup_fee_multiple")

    async def test_as_often_as_its_chain_says(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await rules(connection, topup_fee_multiple=Decimal("1.5"))
        assert await refusal(connection, tron, wallet, amount=14, fee=10) == ("FP002", "topup_fee_multiple")
        await new_transfer(connection, tron, wallet, amount=15, fee=10)

    async def test_tokens_are_not_compared_with_coins(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await new_transfer(connection, tron, wallet, "consolidation", amount=1, fee=30 * TRX)


class TestBounds:
    async def test_every_chain_has_one(self, connection: Connection, tron: Chain) -> None:
        await connection.execute(
            "INSERT INTO chains (name, family, network_id, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,"
            " gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day)"
            " VALUES ('polygon', 'evm', '137', 5, 1, 5, 1, 50, 100, 1000)"
        )
        assert await value(connection, "SELECT fee_max FROM chains WHERE name = 'polygon'") == 50
        with pytest.raises(psycopg.errors.NotNullViolation):
            await connection.execute("UPDATE chains SET fee_max = NULL")


class TestRise:
    """A fee is compared with what payments of its kind were charged lately."""

    async def paid(self, connection: Connection, chain: Chain, fee: int, count: int = 10) -> None:
        for wallet in await add_wallets(connection, chain, count):
            transfer = await new_transfer(connection, chain, wallet, "consolidation")
            await new_attempt(connection, transfer, fee_cap=fee)
            await lead(connection, transfer, "broadcasting", "included", "final", fee=fee)

    async def attempt(self, connection: Connection, chain: Chain, wallet: Wallet, fee_cap: int) -> str | None:
        transfer = await new_transfer(connection, chain, wallet, "consolidation", amount=USDT)
        try:
            await new_attempt(connection, transfer, fee_cap=fee_cap)
        except psycopg.DatabaseError as refused:
            return f"{refused.sqlstate} {refused.diag.constraint_name}: {refused.diag.message_hint}"
        return None

    async def test_one_that_is_many_times_as_high_is_refused(self, connection: Connection, tron: Chain) -> None:
        await rules(connection, fee_max=10**9)
        await self.paid(connection, tron, 3 * TRX)
        assert await value(connection, "SELECT usual_fee(%s, 'consolidation')", tron.id) == 3 * TRX
        first, second, third = await add_wallets(connection, tron, 3)
        assert await self.attempt(connection, tron, first, 60 * TRX) is None
        said = await self.attempt(connection, tron, second, 60 * TRX + 1)
        assert said == "FP008 fee_rise_max: If fees really rose so far: flagpost config set tron.fee_rise_max 22"
        await rules(connection, fee_rise_max=22)
        assert await self.attempt(connection, tron, third, 60 * TRX + 1) is None

    async def test_by_its_own_kind_and_chain(self, connection: Connection, tron: Chain) -> None:
        await rules(connection, fee_max=10**9, gas_max_per_wallet_day=10**9)
        await self.paid(connection, tron, 1)
        (wallet,) = await add_wallets(connection, tron, 1)
        gas = await new_transfer(connection, tron, wallet)
        await new_attempt(connection, gas, fee_cap=90 * TRX)

    async def test_energy_that_cost_nothing_counts_with_its_price(self, connection: Connection, tron: Chain) -> None:
        """Of a wallet with rented energy nothing is burned; the next one has none, and pays what the first could."""
        await rules(connection, fee_max=100 * TRX)
        for wallet in await add_wallets(connection, tron, 10):
            transfer = await new_transfer(connection, tron, wallet, "consolidation")
            attempt = await new_attempt(connection, transfer, fee_cap=14 * TRX)
            await connection.execute("ALTER TABLE chain_transactions DISABLE TRIGGER USER")
            await connection.execute(
                "UPDATE chain_transactions SET state = 'final', block_number = 1, block_id = 'b', block_time = now(),"
                " fee_paid = 0 WHERE id = %s",
                [attempt],
            )
            await connection.execute("ALTER TABLE chain_transactions ENABLE TRIGGER USER")
            await lead(connection, transfer, "broadcasting", "included", "final", fee=0)
        assert await value(connection, "SELECT usual_fee(%s, 'consolidation')", tron.id) == 14 * TRX
        (wallet,) = await add_wallets(connection, tron, 1)
        assert await self.attempt(connection, tron, wallet, 80 * TRX) is None

    async def test_what_is_said_to_change_is_enough(self, connection: Connection, tron: Chain) -> None:
        await rules(connection, fee_max=100 * TRX)
        await self.paid(connection, tron, 0)
        first, second = await add_wallets(connection, tron, 2)
        said = await self.attempt(connection, tron, first, 90 * TRX)
        assert said == "FP008 fee_rise_max: If fees really rose so far: flagpost config set tron.fee_rise_max 361"
        await rules(connection, fee_rise_max=361)
        assert await self.attempt(connection, tron, second, 90 * TRX) is None

    async def test_small_fees_are_not_compared(self, connection: Connection, tron: Chain) -> None:
        """On TRON most top-ups cost nothing, and one in many 1.1 TRX for a new account."""
        await rules(connection, fee_max=100 * TRX)
        await self.paid(connection, tron, 0)
        first, second = await add_wallets(connection, tron, 2)
        assert await self.attempt(connection, tron, first, 5 * TRX) is None
        assert (await self.attempt(connection, tron, second, 5 * TRX + 1) or "").startswith("FP008")

    async def test_the_first_payments_of_a_day_are_not_compared(self, connection: Connection, tron: Chain) -> None:
        await rules(connection, fee_max=100 * TRX)
        await self.paid(connection, tron, 10, count=9)
        (wallet,) = await add_wallets(connection, tron, 1)
        assert await self.attempt(connection, tron, wallet, 90 * TRX) is None

    async def test_what_was_paid_long_ago_is_forgotten(self, connection: Connection, tron: Chain) -> None:
        await rules(connection, fee_max=100 * TRX)
        await self.paid(connection, tron, 10)
        await connection.execute("UPDATE fees_paid SET hour = hour - interval '26 hours'")
        (wallet,) = await add_wallets(connection, tron, 1)
        assert await self.attempt(connection, tron, wallet, 90 * TRX) is None

    async def test_many_settled_at_once_are_counted_each(self, connection: Connection, tron: Chain) -> None:
        await self.paid(connection, tron, 7, count=1)
        transfers = []
        for wallet in await add_wallets(connection, tron, 3):
            transfers.append(await new_transfer(connection, tron, wallet, "consolidation", state="included"))
        await connection.execute("UPDATE transfers SET state = 'final', fee_paid = 7 WHERE id = ANY (%s)", [transfers])
        counted = await rows(
            connection, "SELECT kind, sum(payments), sum(fees), max(highest) FROM fees_paid GROUP BY 1"
        )
        assert counted == [("consolidation", 4, 28, 7)]

    @pytest.mark.parametrize("statement", ["DELETE FROM fees_paid", "TRUNCATE fees_paid"])
    async def test_it_is_not_deleted(self, connection: Connection, tron: Chain, statement: str) -> None:
        await self.paid(connection, tron, 7, count=1)
        with pytest.raises(psycopg.DatabaseError, match="never deleted"):
            await connection.execute(statement)
