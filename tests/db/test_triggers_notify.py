"""Doorbells: one for a statement that makes work, none for one that does not, with a payload for people."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from tests.db.notifications import Notifications, notifications_of
from tests.db.sessions import rows, value
from tests.seed import TRX, USDT, Chain, Wallet, add_wallets


@pytest.fixture
async def notifications(database: str, connection: Connection, tron: Chain) -> AsyncIterator[Notifications]:
    async with notifications_of(database, connection) as opened:
        yield opened


@pytest.fixture
async def wallets(connection: Connection, tron: Chain, notifications: Notifications) -> list[Wallet]:
    """Three wallets, read once, holding enough of the coin and nothing to move; all quiet."""
    added = list(await add_wallets(connection, tron, 3))
    await read(connection, tron, 9 * TRX, 0)
    await notifications.received()
    return added


async def read(connection: Connection, tron: Chain, coin: int, token: int) -> None:
    """All balances, as the sync stores them."""
    await connection.execute(
        "UPDATE wallet_balances SET recheck = false, next_check_at = now() + interval '5 minutes',"
        " on_chain_balance_raw = CASE asset_on_chain_id WHEN %s THEN %s ELSE %s END",
        [tron.native_id, str(coin), str(token)],
    )


class TestWalletFlags:
    async def test_one_notify_for_a_statement(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute("UPDATE wallets SET needs_gas = true")
        assert await notifications.received() == [
            (
                "wallet_flags",
                {"needs_gas": 3, "ready_to_consolidate": 0, "wallets": [wallet.address for wallet in wallets]},
            )
        ]

    async def test_the_same_value_again_notifies_nobody(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute("UPDATE wallets SET needs_gas = true, needs_consolidation = true")
        await notifications.received()
        await connection.execute("UPDATE wallets SET needs_gas = true, needs_consolidation = true")
        await connection.execute("UPDATE user_wallets SET needs_gas = true")
        assert await notifications.received() == []

    @pytest.mark.parametrize(
        ("before", "after", "gas", "ready"),
        [
            ((False, False), (True, False), 1, 0),
            ((False, False), (False, True), 0, 1),
            ((False, False), (True, True), 1, 0),
            ((True, False), (False, False), 0, 0),
            ((True, False), (True, True), 0, 0),
            ((True, False), (False, True), 0, 1),
            ((False, True), (False, False), 0, 0),
            ((False, True), (True, True), 1, 0),
            ((False, True), (True, False), 1, 0),
            ((True, True), (False, True), 0, 1),  # gas has arrived: consolidation may start
            ((True, True), (True, False), 0, 0),
            ((True, True), (False, False), 0, 0),
        ],
    )
    async def test_every_change_of_a_wallet(
        self,
        connection: Connection,
        notifications: Notifications,
        wallets: list[Wallet],
        before: tuple[bool, bool],
        after: tuple[bool, bool],
        gas: int,
        ready: int,
    ) -> None:
        write = "UPDATE wallets SET needs_gas = %s, needs_consolidation = %s WHERE id = %s"
        await connection.execute(write, [*before, wallets[1].id])
        await notifications.received()
        await connection.execute(write, [*after, wallets[1].id])
        expected = (
            [{"needs_gas": gas, "ready_to_consolidate": ready, "wallets": [wallets[1].address]}] if gas + ready else []
        )
        assert await notifications.on("wallet_flags") == expected

    async def test_unrelated_columns_notify_nobody(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute("UPDATE wallets SET needs_gas = true")
        await notifications.received()
        await connection.execute("UPDATE wallets SET updated_at = now(), user_id = NULL")
        assert await notifications.received() == []

    async def test_equal_payloads_of_a_transaction_are_one(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        async with connection.transaction():
            for _ in range(3):
                await connection.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [wallets[0].id])
                await connection.execute("UPDATE wallets SET needs_gas = false WHERE id = %s", [wallets[0].id])
        assert len(await notifications.on("wallet_flags")) == 1

    async def test_a_rollback_notifies_nobody(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        async with connection.transaction(force_rollback=True):
            await connection.execute("UPDATE wallets SET needs_gas = true")
        assert await notifications.received() == []

    async def test_set_by_hand_through_the_view(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute("UPDATE user_wallets SET needs_consolidation = true")
        assert [payload["ready_to_consolidate"] for payload in await notifications.on("wallet_flags")] == [3]

    async def test_wallets_inserted_with_a_flag(
        self, connection: Connection, tron: Chain, notifications: Notifications
    ) -> None:
        await connection.execute(
            "INSERT INTO wallets (chain_id, address, needs_gas, needs_consolidation)"
            " VALUES (%s, 'Ta', true, true), (%s, 'Tb', false, true), (%s, 'Tc', false, false)",
            [tron.id, tron.id, tron.id],
        )
        assert await notifications.on("wallet_flags") == [
            {"needs_gas": 1, "ready_to_consolidate": 1, "wallets": ["Ta", "Tb"]}
        ]

    async def test_many_wallets_are_counted_and_twenty_named(
        self, connection: Connection, tron: Chain, notifications: Notifications
    ) -> None:
        await connection.execute(
            "INSERT INTO wallets (chain_id, address) SELECT %s, repeat(chr(7) || '\U0001f4b0\"', 100) || n"
            " FROM generate_series(1, 500) n",
            [tron.id],
        )
        await connection.execute("UPDATE wallets SET needs_gas = true")
        ((channel, payload),) = [payload for payload in await notifications.received() if payload[0] != "balance_due"]
        assert (channel, payload["needs_gas"], len(payload["wallets"])) == ("wallet_flags", 500, 20)

    async def test_balances_of_many_wallets_notify_once(
        self, connection: Connection, tron: Chain, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await read(connection, tron, 1 * TRX, 300 * USDT)
        named = [wallet.address for wallet in wallets]
        assert await notifications.received() == [
            ("wallet_flags", {"needs_gas": 3, "ready_to_consolidate": 0, "wallets": named})
        ]
        await read(connection, tron, 1 * TRX, 300 * USDT)
        assert await notifications.received() == []
        await read(connection, tron, 9 * TRX, 300 * USDT)
        assert await notifications.received() == [
            ("wallet_flags", {"needs_gas": 0, "ready_to_consolidate": 3, "wallets": named})
        ]
        await read(connection, tron, 9 * TRX, 0)
        assert await notifications.received() == []

    async def test_a_changed_threshold_notifies(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute("UPDATE chains SET gas_flag_below = %s", [10 * TRX])
        assert [payload["needs_gas"] for payload in await notifications.on("wallet_flags")] == [3]


class TestJobs:
    async def test_inserted_due(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute(
            "INSERT INTO job_logs (job_type, wallet_address) SELECT t.kind, w.address FROM wallets w,"
            " (VALUES ('gas-topup'), ('consolidation')) AS t (kind) WHERE t.kind = 'gas-topup' OR w.id = %s",
            [wallets[0].id],
        )
        assert await notifications.received() == [("jobs", {"gas-topup": 3, "consolidation": 1})]

    async def test_inserted_as_another_transaction_wrote_it(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        """From a dump, or from a copy of the table."""
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, status, wallet_address, entered_xid)"
            " VALUES ('copied', 'gas-topup', 'pending', %s, '3')",
            [wallets[0].address],
        )
        assert await notifications.received() == [("jobs", {"gas-topup": 1})]

    @pytest.mark.parametrize(
        ("columns", "values"),
        [
            ("status, lease", "'active', 1"),
            ("status, completed_at", "'completed', now()"),
            ("run_at", "now() + interval '1 minute'"),
        ],
    )
    async def test_inserted_but_not_due(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet], columns: str, values: str
    ) -> None:
        await connection.execute(
            f"INSERT INTO job_logs (job_type, wallet_address, {columns}) VALUES ('gas-topup', %s, {values})",  # noqa: S608
            [wallets[0].address],
        )
        assert await notifications.received() == []

    async def test_updates(self, connection: Connection, notifications: Notifications, wallets: list[Wallet]) -> None:
        job = await value(
            connection,
            "INSERT INTO job_logs (job_type, wallet_address, run_at)"
            " VALUES ('gas-topup', %s, now() + interval '1 hour')"
            " RETURNING id",
            wallets[0].address,
        )

        async def after(change: str) -> list[object]:
            await connection.execute(f"UPDATE job_logs SET {change} WHERE id = %s", [job])  # noqa: S608
            return await notifications.on("jobs")

        assert await after("run_at = now() + interval '1 minute'") == []
        assert await after("run_at = now()") == [{"gas-topup": 1}]
        assert await after("run_at = now(), priority = 10") == []
        assert await after("status = 'active', lease = lease + 1") == []
        assert await after("status = 'retrying', run_at = now() + interval '1 minute'") == []
        assert await after("status = 'retrying', run_at = now()") == [{"gas-topup": 1}]
        assert await after("status = 'active', lease = lease + 1") == []
        assert await after("status = 'pending'") == [{"gas-topup": 1}]  # handed back
        assert await after("status = 'active', lease = lease + 1") == []
        assert await after("status = 'failed'") == []
        assert await after("status = 'pending'") == [{"gas-topup": 1}]
        assert await after("status = 'cancelled'") == []

    async def test_enqueue_and_claim_notifies_nobody(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute("UPDATE wallets SET needs_gas = true")
        await notifications.received()
        claimed = await rows(connection, "SELECT gen_random_uuid()")
        cursor = await connection.execute(
            statement("queue/enqueue_and_claim"),
            {
                "worker_id": claimed[0][0],
                "deadline_seconds": 60.0,
                "job_type": "gas-topup",
                "chain_ids": None,
                "capacity": 10,
                "min_age_seconds": 0.0,
                "flags_since": "0",
                "due_within_seconds": None,
                "quiet_seconds": 0.0,
                "batch": 10,
                "triggered_by": "event",
                "max_retries": 3,
            },
        )
        assert len(await cursor.fetchall()) == 3
        assert await notifications.received() == []


class TestBalanceDue:
    async def test_a_new_wallet_is_due(self, connection: Connection, tron: Chain, notifications: Notifications) -> None:
        first, second = await add_wallets(connection, tron, 2)
        assert await notifications.received() == [
            ("balance_due", {"balances": 4, "wallets": [first.address, second.address]})
        ]

    async def test_addresses_of_several_wallets_changed_at_once(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute(
            "UPDATE wallets SET address = address || CASE WHEN id <> %s THEN 'x' ELSE '' END", [wallets[0].id]
        )
        changed = [wallet.address + "x" for wallet in wallets[1:]]
        assert await notifications.received() == [("balance_due", {"balances": 4, "wallets": changed})]
        await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '5 minutes'")
        async with connection.transaction():
            await connection.execute("UPDATE wallets SET derivation_index = 77 WHERE id = %s", [wallets[0].id])
            await connection.execute("UPDATE wallets SET needs_gas = true, user_id = NULL")
        assert [payload for payload in await notifications.received() if payload[0] != "wallet_flags"] == [
            ("balance_due", {"balances": 2, "wallets": [wallets[0].address]})
        ]

    async def test_made_due_from_outside(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute(
            "UPDATE wallet_balances SET next_check_at = now() WHERE wallet_id = %s", [wallets[1].id]
        )
        assert await notifications.received() == [("balance_due", {"balances": 2, "wallets": [wallets[1].address]})]
        await connection.execute(
            "UPDATE wallet_balances SET next_check_at = now() WHERE wallet_id = %s", [wallets[1].id]
        )
        await connection.execute(
            "UPDATE wallet_balances SET next_check_at = now() - interval '1 hour' WHERE wallet_id = %s", [wallets[1].id]
        )
        assert await notifications.received() == []  # was due already
        await connection.execute("UPDATE wallet_balances SET next_check_at = now() + interval '1 minute'")
        assert await notifications.received() == []

    async def test_the_sync_notifies_nobody(
        self, connection: Connection, tron: Chain, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute("UPDATE wallet_balances SET next_check_at = now()")
        await notifications.received()
        parameters = {"batch": 100, "lock": "sync:1", "lock_seconds": 120.0, "chain_id": tron.id}
        cursor = await connection.execute(statement("sync/claim"), parameters)
        claimed = [row[0] for row in await cursor.fetchall()]
        assert len(claimed) == 6
        assert await notifications.received() == []
        cursor = await connection.execute(
            statement("sync/store"),
            {
                "ids": claimed,
                "raws": [str(9 * TRX + n) for n in range(6)],
                "blocks": [7] * 6,
                "errors": [None] * 6,
                "lock": "sync:1",
            },
        )
        assert len(await cursor.fetchall()) == 6
        assert await notifications.on("balance_due") == []

    async def test_unlocked_by_hand_is_due_at_once(
        self, connection: Connection, tron: Chain, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute(
            "UPDATE wallet_balances SET next_check_at = now() WHERE wallet_id = %s", [wallets[0].id]
        )
        await notifications.received()
        await connection.execute(
            statement("sync/claim"), {"batch": 100, "lock": "sync:1", "lock_seconds": 120.0, "chain_id": tron.id}
        )
        await connection.execute(
            "UPDATE wallet_balances SET processing_status='idle', locked_until=NULL, locked_by=NULL"
            " WHERE processing_status='processing'"
        )
        assert await notifications.received() == [("balance_due", {"balances": 2, "wallets": [wallets[0].address]})]

    async def test_a_changed_address_is_read_again(
        self, connection: Connection, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute("UPDATE wallets SET address = 'invalid' WHERE id = %s", [wallets[2].id])
        assert await notifications.received() == [("balance_due", {"balances": 2, "wallets": ["invalid"]})]

    async def test_a_new_asset_is_read_for_every_wallet(
        self, connection: Connection, tron: Chain, notifications: Notifications, wallets: list[Wallet]
    ) -> None:
        await connection.execute(
            "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above,"
            " consolidate_execute_min) VALUES (%s, 'USDC', 'Tusdc', 6, 10, 5)",
            [tron.id],
        )
        assert await notifications.received() == [
            ("balance_due", {"balances": 3, "wallets": [wallet.address for wallet in wallets]}),
            ("config", {"table": "asset_on_chain", "keys": ["tron/USDC"]}),
        ]


class TestConfig:
    async def test_system_config(self, connection: Connection, notifications: Notifications) -> None:
        await connection.execute("INSERT INTO system_config (key, value) VALUES ('paused', 'false'), ('sweep', '{}')")
        assert await notifications.received() == [("config", {"table": "system_config", "keys": ["paused", "sweep"]})]
        upsert = (
            "INSERT INTO system_config (key, value) VALUES ('paused', %s)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        )
        await connection.execute(upsert, ["false"])
        assert await notifications.received() == []
        await connection.execute(upsert, ["true"])
        assert await notifications.received() == [("config", {"table": "system_config", "keys": ["paused"]})]
        await connection.execute("DELETE FROM system_config WHERE key = 'sweep'")
        assert await notifications.received() == [("config", {"table": "system_config", "keys": ["sweep"]})]

    async def test_chains_and_assets(self, connection: Connection, notifications: Notifications) -> None:
        await connection.execute("UPDATE chains SET sync_interval = '1 minute'")
        await connection.execute("UPDATE chains SET sync_interval = '1 minute'")
        await connection.execute(
            "UPDATE asset_on_chain SET consolidate_execute_min = 7 WHERE contract_address IS NOT NULL"
        )
        assert await notifications.received() == [
            ("config", {"table": "chains", "keys": ["tron"]}),
            ("config", {"table": "asset_on_chain", "keys": ["tron/USDT"]}),
        ]

    async def test_long_keys_fit(self, connection: Connection, notifications: Notifications) -> None:
        await connection.execute(
            "INSERT INTO system_config (key, value) SELECT repeat('k', 500) || n, '1' FROM generate_series(1, 100) n"
        )
        ((channel, _),) = await notifications.received()
        assert channel == "config"


async def test_what_does_not_commit_does_not_notify(
    connection: Connection, notifications: Notifications, wallets: list[Wallet]
) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        await connection.execute(
            "INSERT INTO job_logs (job_type, wallet_address) VALUES ('gas-topup', %s), ('gas-topup', %s)",
            [wallets[0].address, wallets[0].address],
        )
    assert await notifications.received() == []
