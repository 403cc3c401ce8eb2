"""Every action of an operator is one function that acts and writes admin_actions; rules that are changed by hand are
in the trail, too."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from pipeline.db.pool import Connection
from tests.db.sessions import rows, value
from tests.seed import Chain, Wallet, add_wallets

NOBODY = "00000000-0000-4000-8000-000000000001"
"""No user has this id."""


TRAIL = "SELECT action_type, target_type, target_id, details FROM admin_actions ORDER BY id"
WHO = {"login", "role", "program"}
CHAIN = (
    "SELECT add_chain('polygon', 'evm', '137', 'POL', 18, 4, 2, 10, 1, 100, 400, 40000,"
    ' nodes => \'["https://key:word@node.example/v2/secret", {"url": "https://other.example/secret"}]\')'
)


async def trail(connection: Connection) -> list[tuple[str, str, str | None, dict[str, Any]]]:
    """Action, kind of target, target and details without who it was."""
    return [
        (action, kind, target, {name: one for name, one in details.items() if name not in WHO})
        for action, kind, target, details in await rows(connection, TRAIL)
    ]


@pytest.fixture
async def wallet(connection: Connection, tron: Chain) -> Wallet:
    """One wallet; what seeding wrote into the trail is gone."""
    (made,) = await add_wallets(connection, tron, 1)
    await connection.execute("DELETE FROM admin_actions")
    return made


@pytest.fixture
async def failed(connection: Connection, wallet: Wallet) -> str:
    """A job that failed."""
    await connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES ('dead', 'gas-topup', 'pending', %s)",
        [wallet.address],
    )
    await connection.execute("UPDATE job_logs SET status = 'active', lease = lease + 1, started_at = now()")
    await connection.execute(
        "UPDATE job_logs SET status = 'failed', completed_at = now(), error_message = 'no gas', retry_count = 3"
    )
    return "dead"


class TestJobs:
    async def test_retry(self, connection: Connection, failed: str) -> None:
        assert await rows(connection, "SELECT * FROM retry_job(%s)", failed) == [("dead", 0, 3)]
        ((action, kind, target, details),) = await trail(connection)
        assert (action, kind, target) == ("job.retry", "job", "dead")
        assert details["before"] == {"status": "failed", "retry_count": 3, "error_message": "no gas"}
        assert details["reset_retry_count"] is True
        with pytest.raises(psycopg.Error, match="dead is pending: only failed jobs are retried") as refused:
            await connection.execute("SELECT retry_job(%s)", [failed])
        assert refused.value.sqlstate == "FP003"

    async def test_retry_without_reset_has_one_attempt(self, connection: Connection, failed: str) -> None:
        assert await rows(connection, "SELECT * FROM retry_job(%s, false)", failed) == [("dead", 3, 4)]

    async def test_retry_beside_a_live_job(self, connection: Connection, failed: str, wallet: Wallet) -> None:
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES ('l', 'gas-topup', 'pending', %s)",
            [wallet.address],
        )
        with pytest.raises(psycopg.Error, match="has a live gas-topup job already"):
            await connection.execute("SELECT retry_job(%s)", [failed])
        assert await trail(connection) == []

    async def test_retry_of_many(self, connection: Connection, failed: str) -> None:
        assert await value(connection, "SELECT retry_failed_jobs('consolidation', 24)") == 0
        assert await trail(connection) == []
        assert await value(connection, "SELECT retry_failed_jobs('gas-topup', 24)") == 1
        assert await trail(connection) == [
            ("jobs.retry_failed", "job_type", "gas-topup", {"hours": 24, "retried": 1, "job_ids": ["dead"]})
        ]

    async def test_cleanup(self, connection: Connection, wallet: Wallet) -> None:
        assert await value(connection, "SELECT cleanup_stuck_jobs(10)") == 0
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, status, wallet_address) VALUES ('s', 'gas-topup', 'pending', %s)",
            [wallet.address],
        )
        await connection.execute(
            "UPDATE job_logs SET status = 'active', lease = lease + 1, lease_deadline = now() - interval '1 minute'"
        )
        assert await value(connection, "SELECT cleanup_stuck_jobs(10)") == 1
        assert await trail(connection) == [
            ("jobs.cleanup_stuck", "jobs", None, {"minutes": 10, "rescued": 1, "job_ids": ["s"]})
        ]

    async def test_cancel(self, connection: Connection, failed: str) -> None:
        await connection.execute("SELECT retry_job(%s)", [failed])
        assert await value(connection, "SELECT cancel_job(%s)", failed) is True
        assert await value(connection, "SELECT cancel_job(%s)", failed) is False
        assert [action for action, *_ in await trail(connection)] == ["job.retry", "job.cancel"]


class TestWallets:
    async def test_one_is_named_many_are_counted(self, connection: Connection, wallet: Wallet) -> None:
        query = "SELECT * FROM add_wallets('tron', %s, %s)"
        assert await rows(connection, query, ["A"], [7]) == [("A", 7)]
        assert await rows(connection, query, ["A", "B", "C"], [7, None, 8]) == [("B", None), ("C", 8)]
        assert await rows(connection, query, ["A"], [7]) == []
        one, many = await trail(connection)
        assert one[:3] == ("wallets.add", "wallet", "tron/A")
        assert many[:3] == ("wallets.add", "chain", "tron")
        assert (many[3]["added"], many[3]["foreign"]) == (2, 1)
        assert many[3]["wallets"] == [{"address": "B", "index": None}, {"address": "C", "index": 8}]

    @pytest.mark.parametrize(
        ("call", "said"),
        [
            ("add_wallets('trn', ARRAY['A'])", "no chain is called 'trn'; there are: tron"),
            ("add_wallets('tron', ARRAY['A', 'B'], ARRAY[1, 1])", "wallets_chain_id_derivation_index_key"),
            (f"add_wallets('tron', ARRAY['A'], NULL, ARRAY['{NOBODY}'::uuid])", "no such user"),
        ],
    )
    async def test_all_or_nothing(self, connection: Connection, wallet: Wallet, call: str, said: str) -> None:
        with pytest.raises(psycopg.Error, match=said):
            await connection.execute(f"SELECT {call}".encode())
        assert await value(connection, "SELECT count(*) FROM wallets") == 1
        assert await trail(connection) == []

    async def test_an_index_that_another_wallet_has(self, connection: Connection, wallet: Wallet) -> None:
        await connection.execute("SELECT add_wallets('tron', ARRAY['A'], ARRAY[7])")
        with pytest.raises(psycopg.Error, match=r"index 7 already belongs to wallet .* with address A"):
            await connection.execute("SELECT add_wallets('tron', ARRAY['B'], ARRAY[7])")

    async def test_flags(self, connection: Connection, wallet: Wallet) -> None:
        query = "SELECT * FROM set_wallet_flags(%s, needs_consolidation => true)"
        assert await rows(connection, query, wallet.address) == [("tron", False, True)]
        assert await rows(connection, query, wallet.address) == [("tron", False, True)]
        ((action, kind, target, details),) = await trail(connection)
        assert (action, kind, target) == ("wallet.set_flags", "wallet", f"tron/{wallet.address}")
        assert details["before"] == {"needs_gas": False, "needs_consolidation": False}
        assert details["after"] == {"needs_gas": False, "needs_consolidation": True}

    async def test_flags_of_an_address_on_several_chains(self, connection: Connection, wallet: Wallet) -> None:
        await connection.execute(CHAIN.encode())
        await connection.execute("SELECT add_wallets('polygon', ARRAY[%s])", [wallet.address])
        with pytest.raises(psycopg.Error, match="is watched on polygon, tron: name one"):
            await connection.execute("SELECT set_wallet_flags(%s, true)", [wallet.address])
        assert await rows(
            connection, "SELECT * FROM set_wallet_flags(%s, true, chain => 'polygon')", wallet.address
        ) == [("polygon", True, False)]
        with pytest.raises(psycopg.errors.NoDataFound, match="no wallet nobody is watched"):
            await connection.execute("SELECT set_wallet_flags('nobody', true)")


class TestRules:
    async def test_a_chain(self, connection: Connection, wallet: Wallet) -> None:
        await connection.execute(CHAIN.encode())
        assert await value(connection, "SELECT set_chain_active('polygon', false)") is True
        assert await value(connection, "SELECT set_chain_active('polygon', false)") is False
        await connection.execute("SELECT set_chain_rule('polygon', 'gas_amount', '11')")
        await connection.execute("SELECT set_chain_rule('polygon', 'fees.cap', '5')")
        added, coin, off, amount, fees = await trail(connection)
        assert added[:3] == ("chain.add", "chain", "polygon")
        assert added[3]["after"]["nodes"] == ["https://node.example", "https://other.example"]
        assert "secret" not in str(added)
        assert added[3]["after"]["gas_amount"] == "10"
        assert coin[:3] == ("asset.add", "asset", "polygon/POL")
        assert off == (
            "chain.disable",
            "chain",
            "polygon",
            {"before": {"is_active": True}, "after": {"is_active": False}},
        )
        assert amount[0] == "chain.set"
        assert amount[3] == {"before": {"gas_amount": "10"}, "after": {"gas_amount": "11"}}
        assert fees[3] == {"before": {"fees": {}}, "after": {"fees": {"cap": 5}}}

    async def test_an_asset(self, connection: Connection, wallet: Wallet) -> None:
        await connection.execute("SELECT add_asset('tron', 'TX', 'USDX', 6, 200, 100)")
        assert await value(connection, "SELECT set_asset_active('tron', 'usdx', false)") is True
        await connection.execute("SELECT set_asset_thresholds('tron', 'TX', flag_above => 300)")
        await connection.execute("SELECT set_asset_rule('tron', 'USDX', 'consolidate_execute_min', '50')")
        assert [(action, target) for action, _, target, _ in await trail(connection)] == [
            ("asset.add", "tron/USDX"),
            ("asset.disable", "tron/USDX"),
            ("asset.set", "tron/USDX"),
            ("asset.set", "tron/USDX"),
        ]
        assert (await trail(connection))[2][3] == {
            "before": {"consolidate_flag_above": "200"},
            "after": {"consolidate_flag_above": "300"},
        }

    async def test_a_setting(self, connection: Connection, wallet: Wallet) -> None:
        for setting in ("true", "true", "false"):
            await connection.execute(
                "SELECT set_system_config('paused', %s, 'stands still')", [Jsonb(setting == "true")]
            )
        first, second = await trail(connection)
        assert first[:3] == ("config.add", "config", "paused")
        assert second == ("config.set", "config", "paused", {"before": {"value": True}, "after": {"value": False}})

    @pytest.mark.parametrize(
        ("call", "said"),
        [
            ("set_chain_rule('tron', 'name', 'x')", 'chains have no rule "name"'),
            ("set_chain_rule('tron', 'id = 1; --', 'x')", "chains have no rule"),
            ("set_chain_rule('tron', 'gas_policy', 'x')", "chains_gas_policy_check"),
            ("set_asset_rule('tron', 'USDT', 'decimals', '7')", 'assets have no rule "decimals"'),
            ("set_asset_active('tron', 'DAI', true)", "tron has no token 'DAI'; there are: USDT"),
            ("set_chain_active('bsc', true)", "no chain is called 'bsc'; there are: tron"),
            ("add_asset('tron', (asset_named('tron', 'USDT')).contract_address, 'X', 6, 2, 1)", "is on tron already"),
            (CHAIN.removeprefix("SELECT ").replace("polygon", "tron"), "is there already as chain tron, switched on"),
        ],
    )
    async def test_what_is_refused_leaves_no_trace(
        self, connection: Connection, wallet: Wallet, call: str, said: str
    ) -> None:
        with pytest.raises(psycopg.Error, match=said):
            await connection.execute(f"SELECT {call}".encode())
        assert await trail(connection) == []

    async def test_a_change_typed_in_psql_is_in_the_trail(self, connection: Connection, wallet: Wallet) -> None:
        await connection.execute("UPDATE chains SET gas_amount = gas_amount * 2, nodes = '[\"https://n.example/key\"]'")
        await connection.execute("UPDATE chains SET gas_amount = gas_amount")
        await connection.execute("INSERT INTO system_config (key, value) VALUES ('paused', 'true')")
        await connection.execute("DELETE FROM system_config")
        changed, paused, deleted = await trail(connection)
        assert changed[:3] == ("chain.set", "chain", "tron")
        assert changed[3]["after"] == {"gas_amount": "10000000", "nodes": ["https://n.example"]}
        assert paused[:3] == ("config.add", "config", "paused")
        assert deleted == (
            "config.delete",
            "config",
            "paused",
            {"before": {"key": "paused", "value": True, "description": None}, "after": {}},
        )


async def test_who_it_was(connection: Connection, wallet: Wallet) -> None:
    admin: UUID = await value(connection, "INSERT INTO auth.users (email) VALUES ('a@b.c') RETURNING id")
    await connection.execute("SET application_name = 'psql of somebody'")
    await connection.execute("SELECT set_system_config('paused', 'true', admin => %s)", [admin])
    await connection.execute("SELECT set_wallet_flags(%s, true, admin => %s)", [wallet.address, admin])
    await connection.execute("UPDATE chains SET gas_amount = gas_amount * 2")
    said = await rows(connection, "SELECT admin_user_id, details FROM admin_actions ORDER BY id")
    assert [user for user, _ in said] == [admin, admin, None]
    login = await value(connection, "SELECT session_user")
    for _, details in said:
        assert {name: details[name] for name in WHO} == {"login": login, "role": login, "program": "psql of somebody"}


async def test_one_transaction(connection: Connection, failed: str, wallet: Wallet) -> None:
    """What is rolled back was not done, and nobody says that it was."""
    async with connection.transaction(force_rollback=True):
        await connection.execute("SELECT retry_job(%s)", [failed])
        await connection.execute("SELECT set_wallet_flags(%s, true)", [wallet.address])
        await connection.execute("SELECT set_system_config('paused', 'true')")
        await connection.execute("SELECT add_wallets('tron', ARRAY['A'])")
        assert len(await trail(connection)) == 4
    assert await trail(connection) == []


async def test_the_web_acts_through_functions_alone(connection: Connection, failed: str, wallet: Wallet) -> None:
    await connection.execute("SET ROLE pipeline_web")
    for call in (
        "retry_job('dead')",
        "cancel_job('dead')",
        "retry_failed_jobs(NULL, 24)",
        "cleanup_stuck_jobs(10)",
        f"set_wallet_flags('{wallet.address}', true)",
        "add_wallets('tron', ARRAY['A'])",
        "set_system_config('paused', 'true')",
        "set_chain_rule('tron', 'gas_amount', '6000000')",
        "set_chain_active('tron', false)",
        "set_asset_active('tron', 'USDT', false)",
        "set_asset_thresholds('tron', 'USDT', 300000000)",
        "add_asset('tron', 'TX', 'USDX', 6, 200, 100)",
        CHAIN.removeprefix("SELECT "),
    ):
        await connection.execute(f"SELECT {call}".encode())
    for statement in (
        "INSERT INTO admin_actions (action_type) VALUES ('nothing')",
        "SELECT write_admin_action('nothing', 'x', 'x', '{}', NULL)",
        "DELETE FROM admin_actions",
        "UPDATE wallets SET needs_gas = true",
        "UPDATE chains SET gas_amount = gas_amount",
        "INSERT INTO system_config (key, value) VALUES ('paused', 'true')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())
    assert {details["role"] for *_, details in await rows(connection, TRAIL)} == {"pipeline_web"}


@pytest.mark.parametrize(
    "role", ["pipeline_sync", "pipeline_deposits", "pipeline_executor", "pipeline_confirmations", "pipeline_readonly"]
)
async def test_no_process_acts_as_an_operator(connection: Connection, failed: str, role: str) -> None:
    await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    for call in ("retry_job('dead')", "set_system_config('paused', 'false')", "set_chain_active('tron', false)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(f"SELECT {call}".encode())


async def test_every_action_has_a_comment_and_an_admin(connection: Connection) -> None:
    """What the web may call and writes the trail is found by \\df+ in psql."""
    found = await rows(
        connection,
        "SELECT p.proname, obj_description(p.oid), pg_get_function_arguments(p.oid) FROM pg_proc p"
        " WHERE p.oid IN (SELECT own_functions()) AND p.prosrc ~ '(write_admin_action|act_for_admin)'"
        " AND p.prosecdef AND p.prorettype <> 'trigger'::regtype"
        # The sweep's own: nobody else does it.
        " AND p.proname <> 'scale_by_load'",
    )
    assert len(found) == 23
    for name, comment, arguments in found:
        assert comment, name
        assert "admin uuid DEFAULT NULL" in arguments, name
