"""Payments in the database: what may enter, what gas may cost, and what a settled one leaves behind."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from tests.db.money import (
    GAS_STATION,
    TREASURY,
    ask,
    keep,
    new_attempt,
    new_job,
    new_transfer,
    read_past_the_expiration,
)
from tests.db.notifications import notifications_of
from tests.db.sessions import rows, second_session, until_blocked, value
from tests.seed import TRX, USDT, Chain, Wallet, add_wallets, set_balance


async def limits(connection: Connection, **columns: Any) -> None:
    for column, new in columns.items():
        await connection.execute(f"UPDATE chains SET {column} = %s", [new])  # noqa: S608


async def age(connection: Connection, transfer: int, by: timedelta) -> None:
    """Pretends that a top-up happened earlier, past the triggers."""
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("UPDATE transfers SET created_at = created_at - %s WHERE id = %s", [by, transfer])
        await connection.execute("UPDATE gas_spending SET hour = hour - %s", [by])


async def finish(connection: Connection, transfer: int, *states: str) -> None:
    for state in states:
        await connection.execute("UPDATE transfers SET state = %s WHERE id = %s", [state, transfer])


SETTLED_WELL = ("broadcasting", "included", "final")


class TestGasBudgets:
    async def test_cooldown(self, connection: Connection, tron: Chain) -> None:
        first, second = await add_wallets(connection, tron, 2)
        sent = await new_transfer(connection, tron, first, state="final")
        with pytest.raises(psycopg.DatabaseError, match=first.address) as refused:
            await new_transfer(connection, tron, first)
        assert (refused.value.sqlstate, refused.value.diag.constraint_name) == ("FP001", "gas_cooldown")
        possible = await value(
            connection, "SELECT created_at + interval '10 minutes' FROM transfers WHERE id = %s", sent
        )
        assert await value(connection, "SELECT %s::timestamptz", refused.value.diag.message_detail) == possible
        await new_transfer(connection, tron, second)
        await age(connection, sent, timedelta(minutes=10, seconds=1))
        await new_transfer(connection, tron, first)

    @pytest.mark.parametrize(
        ("states", "counts"),
        [
            ((), True),
            (("broadcasting", "expired"), True),
            (("broadcasting", "expired", "requested"), True),
            (("broadcasting",), True),
            (("broadcasting", "included", "reverted"), True),
            (SETTLED_WELL, True),
            (("rejected",), False),
            (("broadcasting", "expired", "requested", "rejected"), False),
            (("broadcasting", "expired", "rejected"), False),
        ],
    )
    async def test_what_counts(self, connection: Connection, tron: Chain, states: Sequence[str], counts: bool) -> None:
        first, second = await add_wallets(connection, tron, 2)
        await limits(connection, gas_max_per_topup=5 * TRX, gas_max_per_wallet_day=5 * TRX, gas_max_per_day=5 * TRX)
        await finish(connection, await new_transfer(connection, tron, first), *states)
        spent = await rows(connection, "SELECT sum(amount), sum(topups) FROM gas_spending")
        assert spent == [(5 * TRX, 1) if counts else (0, 0)]
        if counts:
            with pytest.raises(psycopg.DatabaseError, match="gas_max_per_day") as refused:
                await new_transfer(connection, tron, second)
            assert refused.value.sqlstate == "FP002"
        else:
            await new_transfer(connection, tron, second)

    async def test_per_topup(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        with pytest.raises(psycopg.DatabaseError) as refused:
            await new_transfer(connection, tron, wallet, amount=50 * TRX + 1)
        assert (refused.value.sqlstate, refused.value.diag.constraint_name) == ("FP002", "gas_max_per_topup")
        await new_transfer(connection, tron, wallet, amount=50 * TRX)

    async def test_per_wallet_and_day(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await limits(connection, gas_cooldown=timedelta(0), gas_max_per_topup=6 * TRX, gas_max_per_wallet_day=10 * TRX)
        first = await new_transfer(connection, tron, wallet, state="final")
        await new_transfer(connection, tron, wallet, state="final")
        with pytest.raises(psycopg.DatabaseError, match=wallet.address) as refused:
            await new_transfer(connection, tron, wallet, amount=1)
        assert (refused.value.sqlstate, refused.value.diag.constraint_name) == ("FP002", "gas_max_per_wallet_day")
        await age(connection, first, timedelta(hours=24, seconds=1))
        await new_transfer(connection, tron, wallet)

    async def test_per_day(self, connection: Connection, tron: Chain) -> None:
        wallets = await add_wallets(connection, tron, 3)
        await limits(connection, gas_max_per_topup=5 * TRX, gas_max_per_wallet_day=5 * TRX, gas_max_per_day=10 * TRX)
        for wallet in wallets[:2]:
            await new_transfer(connection, tron, wallet)
        with pytest.raises(psycopg.DatabaseError) as refused:
            await new_transfer(connection, tron, wallets[2], amount=1)
        assert (refused.value.sqlstate, refused.value.diag.constraint_name) == ("FP002", "gas_max_per_day")
        # A day never counts less than 24 hours, and gives back whole hours.
        await age(connection, 0, timedelta(hours=24))
        with pytest.raises(psycopg.DatabaseError):
            await new_transfer(connection, tron, wallets[2], amount=1)
        await age(connection, 0, timedelta(hours=1))
        await new_transfer(connection, tron, wallets[2])

    async def test_in_all(self, connection: Connection, tron: Chain) -> None:
        first, second = await add_wallets(connection, tron, 2)
        await limits(connection, gas_max_total=9 * TRX)
        await new_transfer(connection, tron, first)
        await age(connection, 0, timedelta(days=400))
        with pytest.raises(psycopg.DatabaseError) as refused:
            await new_transfer(connection, tron, second)
        assert (refused.value.sqlstate, refused.value.diag.constraint_name) == ("FP002", "gas_max_total")
        await new_transfer(connection, tron, second, amount=4 * TRX)

    async def test_two_sessions_cannot_both_take_the_last_of_it(
        self, connection: Connection, tron: Chain, database: str
    ) -> None:
        first, second = await add_wallets(connection, tron, 2)
        await limits(connection, gas_max_per_topup=5 * TRX, gas_max_per_wallet_day=5 * TRX, gas_max_per_day=5 * TRX)
        job = await new_job(connection, second)
        async with second_session(database) as other:
            async with connection.transaction():
                await new_transfer(connection, tron, first)
                paying = asyncio.create_task(new_transfer(other, tron, second, job=job))
                await until_blocked(connection, other)
            with pytest.raises(psycopg.DatabaseError, match="gas_max_per_day"):
                await paying
        assert await value(connection, "SELECT sum(amount) FROM transfers") == 5 * TRX

    async def test_many_sessions_spend_exactly_the_budget(
        self, connection: Connection, tron: Chain, database: str
    ) -> None:
        wallets = await add_wallets(connection, tron, 12)
        await limits(connection, gas_max_per_topup=5 * TRX, gas_max_per_wallet_day=5 * TRX, gas_max_per_day=35 * TRX)
        jobs = [await new_job(connection, wallet) for wallet in wallets]

        async def pay(number: int) -> str | None:
            """The SQLSTATE with which a top-up was refused."""
            async with second_session(database) as session:
                try:
                    await new_transfer(session, tron, wallets[number], job=jobs[number])
                except psycopg.DatabaseError as refused:
                    return refused.sqlstate
            return None

        answers = await asyncio.gather(*(pay(number) for number in range(12)))
        assert (answers.count(None), answers.count("FP002")) == (7, 5)
        assert await rows(connection, "SELECT sum(amount), sum(topups) FROM gas_spending") == [(35 * TRX, 7)]

    async def test_a_budget_taken_back_by_a_rollback(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        async with connection.transaction(force_rollback=True):
            await new_transfer(connection, tron, wallet)
        assert await rows(connection, "SELECT * FROM gas_spending") == []
        await new_transfer(connection, tron, wallet)

    async def test_the_same_payment_again_is_no_second_topup(self, connection: Connection, tron: Chain) -> None:
        """ON CONFLICT DO NOTHING of an idempotency key neither meets the cooldown nor counts."""
        (wallet,) = await add_wallets(connection, tron, 1)
        await new_transfer(connection, tron, wallet)
        again = await connection.execute(
            "INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address,"
            " amount, fee_reserved, idempotency_key) SELECT kind, job_id, chain_id, wallet_id, asset_on_chain_id,"
            " from_address, to_address, amount, fee_reserved, idempotency_key FROM transfers"
            " ON CONFLICT DO NOTHING RETURNING id"
        )
        assert await again.fetchall() == []
        assert await rows(connection, "SELECT amount, topups FROM gas_spending") == [(5 * TRX, 1)]

    async def test_who_dates_a_topup_back_is_not_believed(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        job = await new_job(connection, wallet)
        await connection.execute(
            "INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address,"
            " amount, fee_reserved, idempotency_key, created_at)"
            " VALUES ('gas', %s, %s, %s, %s, 'Tfrom', %s, 1, 0, 'k', '2001-01-01')",
            [job, tron.id, wallet.id, tron.native_id, wallet.address],
        )
        assert await value(connection, "SELECT now() - created_at < interval '1 minute' FROM transfers")

    async def test_other_isolation_levels_are_refused(self, connection: Connection, tron: Chain) -> None:
        """They would add up an old snapshot."""
        (wallet,) = await add_wallets(connection, tron, 1)
        job = await new_job(connection, wallet)
        await connection.execute("SET default_transaction_isolation = 'repeatable read'")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            await new_transfer(connection, tron, wallet, job=job)

    async def test_only_gas_is_budgeted(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await new_transfer(connection, tron, wallet, "consolidation", amount=10**30, state="final")
        await new_transfer(connection, tron, wallet, "consolidation", amount=10**30)
        assert await rows(connection, "SELECT * FROM gas_spending") == []


class TestWhatEnters:
    async def insert(self, connection: Connection, **columns: Any) -> str | None:
        names = ", ".join(columns)
        places = ", ".join(["%s"] * len(columns))
        try:
            await connection.execute(
                f"INSERT INTO transfers ({names}, idempotency_key) VALUES ({places}, 'k')",  # noqa: S608
                list(columns.values()),
            )
        except psycopg.DatabaseError as error:
            return error.diag.message_primary
        await connection.execute("UPDATE transfers SET state = 'rejected'")
        return None

    async def test_parts_that_do_not_belong_together(self, connection: Connection, tron: Chain) -> None:
        wallet, other = await add_wallets(connection, tron, 2)
        second_chain = await value(
            connection,
            "INSERT INTO chains (name, family, network_id, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,"
            " gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day)"
            " VALUES ('nile', 'tron', 'nile', 5, 1, 5, 1, 50, 100, 1000) RETURNING id",
        )
        gas = {
            "kind": "gas",
            "job_id": await new_job(connection, wallet),
            "chain_id": tron.id,
            "wallet_id": wallet.id,
            "asset_on_chain_id": tron.native_id,
            "from_address": GAS_STATION,
            "to_address": wallet.address,
            "amount": 1,
            "fee_reserved": 0,
        }
        tokens = gas | {
            "kind": "consolidation",
            "asset_on_chain_id": tron.token_id,
            "from_address": wallet.address,
            "to_address": TREASURY,
        }
        for wrong, reason in (
            (gas | {"wallet_id": other.id, "to_address": other.address}, "is not of wallet"),
            (gas | {"chain_id": second_chain}, "is not on chain"),
            (gas | {"asset_on_chain_id": tron.token_id}, "gas is the native coin, not USDT"),
            (gas | {"to_address": other.address}, "cannot go to"),
            (tokens | {"asset_on_chain_id": tron.native_id}, "TRX is not a token"),
            (tokens | {"from_address": other.address}, "cannot be consolidated from"),
            (gas | {"amount": 0}, "transfers_amount_check"),
            (gas | {"amount": -1}, "raw_amount_is_not_negative"),
            (gas | {"amount": "1.5"}, "raw_amount_is_whole"),
        ):
            assert reason in str(await self.insert(connection, **wrong)), wrong
        assert await self.insert(connection, **gas) is None

    async def test_one_live_payment_per_wallet_asset_and_kind(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        job = await new_job(connection, wallet, "consolidation")
        await new_transfer(connection, tron, wallet, "consolidation", job=job)
        with pytest.raises(psycopg.errors.UniqueViolation):
            await new_transfer(connection, tron, wallet, "consolidation", job=job)

    async def test_a_bundle_has_one_chain_and_one_sender(self, connection: Connection, tron: Chain) -> None:
        """All that carries or pays in it: a payment, a request and an attempt of another sender are refused."""
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet, "consolidation")
        request = await ask(connection, transfer)
        others = (
            "INSERT INTO transfers (kind, bundle_id, job_id, chain_id, wallet_id, asset_on_chain_id, from_address,"
            " to_address, amount, fee_reserved, idempotency_key) SELECT 'gas', (SELECT max(id) FROM bundles), job_id,"
            " chain_id, wallet_id, %(coin)s, %(other)s, from_address, 1, 0, 'k' FROM transfers",
            "INSERT INTO signing_requests (bundle_id, chain_id, sender, expiration, parameters, unsigned_bytes,"
            r" fee_cap, state) SELECT max(id), max(chain_id), %(other)s, now(), '{}', '\x0a', 1, 'signed' FROM bundles",
            "INSERT INTO chain_transactions (bundle_id, request_id, chain_id, attempt, txid, signed_bytes, sender,"
            " expiration, fee_cap) SELECT bundle_id, request_id, chain_id, 1, 'tx',"
            r" '\x0a', %(other)s, expiration, fee_cap FROM signing_requests",
        )
        for other in others:
            with pytest.raises(psycopg.DatabaseError) as refused:
                await connection.execute(other, {"other": GAS_STATION, "coin": tron.native_id})
            assert refused.value.sqlstate in {"FP003", "FP004", "23503"}, other
        assert await keep(connection, request)

    async def test_nothing_joins_what_is_asked_to_be_signed(self, connection: Connection, tron: Chain) -> None:
        """Until then a bundle may carry several payments; no two of them ever claim the same effect."""
        wallets = await add_wallets(connection, tron, 3)
        bundle = await value(
            connection,
            "INSERT INTO bundles (chain_id, sender) VALUES (%s, %s) RETURNING id",
            *(tron.id, GAS_STATION),
        )
        first, second = [await new_transfer(connection, tron, wallet, fee=TRX, bundle=bundle) for wallet in wallets[:2]]
        request = await ask(connection, first, fee_cap=3 * TRX + 1)
        assert await rows(connection, "SELECT fees FROM gas_spending") == [(3 * TRX + 1,)], "the fee is one"
        with pytest.raises(psycopg.DatabaseError, match="a signature was asked for bundle"):
            await new_transfer(connection, tron, wallets[2], bundle=bundle)
        attempt = await keep(connection, request)
        assert await rows(connection, "SELECT DISTINCT state FROM transfers") == [("broadcasting",)]
        for state in ("included", "final"):
            await connection.execute(
                "UPDATE chain_transactions SET state = %s, block_number = 7 WHERE id = %s", [state, attempt]
            )
        await connection.execute("UPDATE transfers SET state = 'included'")
        settle = "UPDATE transfers SET state = 'final', place = %s WHERE id = %s"
        await connection.execute(settle, ["o0", first])
        with pytest.raises(psycopg.errors.UniqueViolation, match="transfers_one_per_effect"):
            await connection.execute(settle, ["o0", second])
        await connection.execute(settle, ["o1", second])


class TestSettled:
    @pytest.fixture
    async def wallet(self, connection: Connection, tron: Chain) -> Wallet:
        """Flagged for both, read a moment ago."""
        (wallet,) = await add_wallets(connection, tron, 1)
        await connection.execute(
            "UPDATE wallet_balances SET recheck = false, next_check_at = now() + interval '1 hour',"
            " on_chain_balance_raw = CASE asset_on_chain_id WHEN %s THEN '0' ELSE %s END",
            [tron.native_id, str(300 * USDT)],
        )
        return wallet

    @pytest.mark.parametrize(
        ("kind", "end", "flags"),
        [
            ("gas", "final", (False, True)),
            ("gas", "reverted", (True, True)),
            ("consolidation", "final", (True, False)),
            ("consolidation", "reverted", (True, True)),
            ("withdrawal", "final", (True, True)),
        ],
    )
    async def test_flags_and_balances(
        self, connection: Connection, tron: Chain, wallet: Wallet, kind: str, end: str, flags: tuple[bool, bool]
    ) -> None:
        transfer = await new_transfer(connection, tron, wallet, kind, state="included")
        assert await rows(connection, "SELECT needs_gas, needs_consolidation FROM wallets") == [(True, True)]
        due = "SELECT count(*) FROM wallet_balances WHERE recheck AND next_check_at <= now()"
        assert await value(connection, due) == 0
        await finish(connection, transfer, end)
        assert await rows(connection, "SELECT needs_gas, needs_consolidation FROM wallets") == [flags]
        assert await value(connection, due) == (1 if kind == "gas" else 2)  # gas moves the coin alone

    async def test_consolidation_flagged_by_hand_outlives_the_gas_it_waits_for(
        self, connection: Connection, tron: Chain
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await set_balance(connection, wallet, tron.native_id, 0)
        await set_balance(connection, wallet, tron.token_id, 150 * USDT)  # below the threshold of the flag
        await connection.execute("UPDATE user_wallets SET needs_consolidation = true")
        transfer = await new_transfer(connection, tron, wallet, state="included")
        await set_balance(connection, wallet, tron.native_id, 6 * TRX)  # the sync may see it before it is settled
        await finish(connection, transfer, "final")
        await set_balance(connection, wallet, tron.native_id, 6 * TRX)
        assert await rows(connection, "SELECT needs_gas, needs_consolidation FROM wallets") == [(False, True)]
        await set_balance(connection, wallet, tron.token_id, 160 * USDT)  # now it is for the rule to say
        assert await rows(connection, "SELECT needs_gas, needs_consolidation FROM wallets") == [(False, False)]

    async def test_rejected_and_expired_leave_everything_as_it_is(
        self, connection: Connection, tron: Chain, wallet: Wallet
    ) -> None:
        transfer = await new_transfer(connection, tron, wallet, state="broadcasting")
        await finish(connection, transfer, "expired", "rejected")
        assert await rows(connection, "SELECT needs_gas, needs_consolidation FROM wallets") == [(True, True)]
        assert await value(connection, "SELECT count(*) FROM wallet_balances WHERE recheck") == 0

    @pytest.mark.parametrize("state", ["final", "reverted"])
    async def test_a_node_that_is_behind_does_not_undo_it(
        self, connection: Connection, tron: Chain, state: str
    ) -> None:
        """What it reads is from before the payment: it is read again, and nothing is decided by it."""
        (wallet,) = await add_wallets(connection, tron, 1)
        await set_balance(connection, wallet, tron.native_id, 10 * TRX)
        await set_balance(connection, wallet, tron.token_id, 300 * USDT)
        await connection.execute("UPDATE wallet_balances SET block_number = 10")
        transfer = await new_transfer(connection, tron, wallet, "consolidation")
        await new_attempt(connection, transfer)
        for step in ("included", state):
            await connection.execute("UPDATE chain_transactions SET state = %s, block_number = 16", [step])
        await finish(connection, transfer, "included", state)
        await connection.execute(
            "UPDATE wallet_balances SET locked_by = 'sync', processing_status = 'processing',"
            " locked_until = now() + interval '1 minute'"
        )
        found = await rows(connection, "SELECT id, on_chain_balance_raw FROM wallet_balances ORDER BY id")
        cursor = await connection.execute(
            statement("sync/store"),
            {
                "lock": "sync",
                "ids": [balance for balance, _ in found],
                "raws": ["7", "7"],
                "blocks": [15, 15],
                "errors": [None, None],
            },
        )
        assert [outcome for _, outcome, _ in await cursor.fetchall()] == ["older", "older"]
        known = "SELECT on_chain_balance_raw, recheck FROM wallet_balances ORDER BY id"
        assert await rows(connection, known) == [(raw, True) for _, raw in found]

    async def test_the_arrival_of_gas_starts_the_consolidation(
        self, connection: Connection, tron: Chain, wallet: Wallet, database: str
    ) -> None:
        transfer = await new_transfer(connection, tron, wallet)
        async with notifications_of(database, connection) as notifications:
            await finish(connection, transfer, "broadcasting")
            assert await notifications.received() == [("transfers", {"tron": 1})]
            await finish(connection, transfer, "included")
            assert await notifications.received() == []
            await finish(connection, transfer, "broadcasting")  # forked away: sent again
            assert await notifications.received() == [("transfers", {"tron": 1})]
            await finish(connection, transfer, "included", "final")
            assert await notifications.received() == [
                ("balance_due", {"balances": 1, "wallets": [wallet.address]}),
                ("wallet_flags", {"needs_gas": 0, "ready_to_consolidate": 1, "wallets": [wallet.address]}),
            ]

    async def test_a_whole_block_at_once(
        self, connection: Connection, tron: Chain, wallet: Wallet, database: str
    ) -> None:
        wallets = [wallet, *await add_wallets(connection, tron, 2)]
        await connection.execute("UPDATE wallets SET needs_gas = true, needs_consolidation = true")
        for each in wallets:
            await new_transfer(connection, tron, each, state="included")
        async with notifications_of(database, connection) as notifications:
            await connection.execute("UPDATE transfers SET state = 'final'")
            received = await notifications.received()
        assert (
            "wallet_flags",
            {"needs_gas": 0, "ready_to_consolidate": 3, "wallets": [each.address for each in wallets]},
        ) in received
        assert len(received) == 2

    async def test_a_settlement_and_the_sync_do_not_deadlock(
        self, connection: Connection, tron: Chain, wallet: Wallet, database: str
    ) -> None:
        """Both lock the balances first and the wallet second."""
        transfer = await new_transfer(connection, tron, wallet, state="included")
        async with second_session(database) as sync:
            async with connection.transaction():
                await finish(connection, transfer, "final")
                storing = asyncio.create_task(
                    sync.execute(
                        "UPDATE wallet_balances SET on_chain_balance_raw = '1' WHERE wallet_id = %s", [wallet.id]
                    )
                )
                await until_blocked(connection, sync)
                await connection.execute("UPDATE wallets SET needs_gas = false WHERE id = %s", [wallet.id])
            await storing


class TestJobsAndMoney:
    @pytest.mark.parametrize("status", ["completed", "failed"])
    @pytest.mark.parametrize("state", ["requested", "refused", "expired"])
    async def test_a_job_that_ends_gives_up_what_never_left(
        self, connection: Connection, tron: Chain, status: str, state: str
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet)
        if state == "refused":
            await ask(connection, transfer)
            await connection.execute("UPDATE signing_requests SET state = 'refused', refusal = 'no'")
        if state == "expired":
            await new_attempt(connection, transfer)
            await read_past_the_expiration(connection)
            await connection.execute("UPDATE chain_transactions SET state = 'expired'")
            await finish(connection, transfer, "expired")
        await connection.execute("UPDATE job_logs SET status = %s", [status])
        assert await rows(connection, "SELECT state, error_message, settled_at IS NOT NULL FROM transfers") == [
            ("rejected", "its job ended before it was signed", True)
        ]
        attempts = {"requested": [], "refused": [], "expired": [("expired",)]}[state]
        assert await rows(connection, "SELECT state FROM chain_transactions") == attempts

    @pytest.mark.parametrize("status", ["completed", "failed"])
    async def test_a_job_that_ends_leaves_what_may_be_signed(
        self, connection: Connection, tron: Chain, status: str
    ) -> None:
        """Only the signer knows."""
        (wallet,) = await add_wallets(connection, tron, 1)
        await ask(connection, await new_transfer(connection, tron, wallet))
        await connection.execute("UPDATE job_logs SET status = %s", [status])
        assert await rows(connection, "SELECT t.state, r.state FROM transfers t, signing_requests r") == [
            ("requested", "asked")
        ]

    @pytest.mark.parametrize("status", ["retrying", "pending"])
    async def test_a_job_that_goes_on_keeps_it(self, connection: Connection, tron: Chain, status: str) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await new_transfer(connection, tron, wallet)
        await connection.execute("UPDATE job_logs SET status = %s", [status])
        assert await value(connection, "SELECT state FROM transfers") == "requested"

    @pytest.mark.parametrize("state", ["broadcasting", "included"])
    @pytest.mark.parametrize(
        "change",
        ["status = 'completed'", "status = 'failed'", "status = 'retrying'", "status = 'pending'", "status = status"],
    )
    async def test_no_job_leaves_the_chain_with_money_in_flight(
        self, connection: Connection, tron: Chain, state: str, change: str
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet, state=state)
        await connection.execute("UPDATE job_logs SET awaiting_chain = true")
        with pytest.raises(psycopg.DatabaseError, match=f"transfer {transfer} is {state}") as refused:
            await connection.execute(f"UPDATE job_logs SET awaiting_chain = false, {change}")  # noqa: S608
        assert refused.value.sqlstate == "FP003"

    async def test_settled_together_in_any_order(self, connection: Connection, tron: Chain) -> None:
        wallets = await add_wallets(connection, tron, 2)
        for wallet in wallets:
            await new_transfer(connection, tron, wallet, state="included")
        await connection.execute("UPDATE job_logs SET awaiting_chain = true")
        job = "UPDATE job_logs SET awaiting_chain = false, status = 'completed' WHERE wallet_id = %s"
        transfer = "UPDATE transfers SET state = 'final' WHERE wallet_id = %s"
        async with connection.transaction():
            await connection.execute(job, [wallets[0].id])
            await connection.execute(transfer, [wallets[0].id])
        async with connection.transaction():
            await connection.execute(transfer, [wallets[1].id])
            await connection.execute(job, [wallets[1].id])
        assert await value(connection, "SELECT count(*) FROM job_logs WHERE status = 'completed'") == 2


async def test_times_of_the_end_are_filled_in(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await new_job(connection, wallet, status="pending")
    ended = "SELECT completed_at IS NOT NULL FROM job_logs"
    await connection.execute("UPDATE job_logs SET status = 'failed'")
    assert await value(connection, ended) is True
    await connection.execute("UPDATE job_logs SET status = 'pending'")
    assert await value(connection, ended) is False
    await connection.execute("UPDATE job_logs SET status = 'cancelled'")
    assert await value(connection, ended) is True


async def test_a_limit_that_is_lowered_while_a_payment_waits_counts(
    connection: Connection, database: str, tron: Chain
) -> None:
    """Limits are read once nobody else is counted, and not before."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await new_job(connection, wallet)
    async with second_session(database) as other, second_session(database) as third:
        async with other.transaction():
            await other.execute("SELECT lock_gas(%s)", [tron.id])
            inserting = asyncio.create_task(new_transfer(third, tron, wallet, amount=5 * TRX))
            await until_blocked(connection, third)
            await connection.execute("UPDATE chains SET gas_max_per_topup = 4000000, gas_amount = 4000000")
        with pytest.raises(psycopg.DatabaseError, match="would pass gas_max_per_topup = 4000000"):
            await inserting
