"""Least privilege: each role may do what sql/roles says and nothing else, tried on every table and operation."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo

from pipeline.db.errors import MigrationError
from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection
from tests.db.money import new_attempt, new_transfer
from tests.db.sessions import rows, value
from tests.seed import Chain, add_wallets

ROLES = (
    "pipeline_sync",
    "pipeline_deposits",
    "pipeline_executor",
    "pipeline_confirmations",
    "pipeline_web",
    "pipeline_agent",
    "pipeline_readonly",
)
EVERYTHING = {
    "admin_actions",
    "alerts",
    "alert_silences",
    "alert_deliveries",
    "asset_on_chain",
    "bundles",
    "signing_requests",
    "chain_cursors",
    "chain_transactions",
    "chains",
    "fees_paid",
    "gas_spending",
    "nonces",
    "senders",
    "job_logs",
    "leaderships",
    "state_transitions",
    "sync_pages",
    "balance_state",
    "system_config",
    "transfers",
    "wallet_balances",
    "wallets",
    "worker_registry",
    "worker_types",
    "worker_targets",
    "user_wallets",
    "wallet_flag_rule",
    "wallet_state",
    "all_jobs",
    "job_history",
    "job_history_months",
    "job_history_names",
    "job_counts",
    "job_count_deltas",
    "job_totals",
}
VIEWS = ("balance_state", "user_wallets", "wallet_flag_rule", "wallet_state", "all_jobs", "job_totals")
LEDGER = "schema_migrations"
"""Readable by each of our roles: who starts waits for the right version."""
TO_READ = {"wallets", "wallet_balances", "chains", "asset_on_chain", "system_config"}
MAY: dict[str, dict[str, set[str]]] = {
    "pipeline_sync": {"SELECT": TO_READ | {"sync_pages"}, "UPDATE": {"wallet_balances"}},
    "pipeline_deposits": {
        "SELECT": TO_READ | {"chain_cursors"},
        "INSERT": {"chain_cursors"},
        "UPDATE": {"chain_cursors"},
    },
    "pipeline_executor": {
        "SELECT": EVERYTHING,
        "INSERT": {"job_logs", "transfers", "chain_transactions", "bundles", "signing_requests"},
        "UPDATE": {"job_logs", "transfers", "chain_transactions", "signing_requests", "wallets"},
    },
    "pipeline_confirmations": {
        "SELECT": EVERYTHING,
        "INSERT": {"job_logs", "transfers", "chain_transactions", "bundles", "nonces", "chain_cursors"},
        "UPDATE": {"job_logs", "transfers", "chain_transactions", "nonces", "chain_cursors", "senders"},
    },
    "pipeline_web": {"SELECT": EVERYTHING},
    "pipeline_agent": {"SELECT": {"worker_registry", "worker_types", "worker_targets", "system_config"}},
    "pipeline_readonly": {"SELECT": EVERYTHING},
}
COLUMNS = {
    ("pipeline_executor", "UPDATE", "signing_requests"): {"state", "refusal"},
    ("pipeline_sync", "UPDATE", "wallet_balances"): {
        "on_chain_balance_raw",
        "on_chain_balance_human",
        "processing_status",
        "locked_until",
        "locked_by",
        "next_check_at",
        "recheck",
        "block_number",
        "last_checked",
        "last_processed_at",
        "last_error",
        "last_error_at",
        "sync_count",
        "error_count",
        "updated_at",
    },
    ("pipeline_executor", "UPDATE", "wallets"): {"needs_gas", "needs_consolidation"},
    ("pipeline_confirmations", "UPDATE", "senders"): {
        "first_nonce",
        "finalized",
        "final_block",
        "unknown_below",
        "unknown_since",
        "stuck",
        "stuck_since",
        "unexplained",
    },
}
"""Where not the whole table is meant."""
PROCESS = {
    "register_worker",
    "worker_heartbeat",
    "report_worker",
    "worker_orders",
    "memory_restarts",
    "schema_version",
    "notification_queue_suspects",
}
FUNCTIONS = {
    "pipeline_sync": PROCESS | {"claim_sync_page", "store_sync_page", "unlock_sync_pages"},
    "pipeline_deposits": PROCESS | {"make_balances_due"},
    "pipeline_executor": PROCESS
    | {
        "lead",
        "stop_leading",
        "leaderships_without_leader",
        "blocked_sessions",
        "lock_gas",
        "lock_sender",
        "make_balances_due",
        "evaluate_flags",
        "clear_served_flags",
        "mark_silent_workers",
        "rescue_jobs",
        "reserve_nonce",
        "reserve_nonces",
        "reserve_gap",
        "give_back_nonce",
        "request_reconciliation",
        "advance_sequences",
        "sequences_behind",
        "compare_balances",
        "repair_wallets",
        "repair_jobs",
        "repair_times",
        "scale_by_load",
        "add_history_month",
        "drop_history_month",
        "fold_job_counts",
        "forget_old_leaderships",
        "history_months",
        "move_finished_jobs",
        "record_alerts",
        "close_alerts_of_other_rules",
        "forget_old_alerts",
        "claim_alert_deliveries",
        "note_alert_delivery",
        "old_transactions",
    },
    "pipeline_confirmations": PROCESS
    | {
        "lead",
        "stop_leading",
        "leaderships_without_leader",
        "blocked_sessions",
        "lock_gas",
        "lock_sender",
        "mark_silent_workers",
        "rescue_jobs",
        "freeze_sender",
        "request_reconciliation",
        "advance_sequences",
    },
    "pipeline_web": PROCESS
    | {
        "make_balances_due",
        "evaluate_flags",
        "retry_job",
        "retry_failed_jobs",
        "cleanup_stuck_jobs",
        "cancel_job",
        "add_wallets",
        "set_wallet_flags",
        "add_chain",
        "set_chain_active",
        "set_chain_rule",
        "add_asset",
        "set_asset_active",
        "set_asset_thresholds",
        "set_asset_rule",
        "set_system_config",
        "release_sender",
        "blocked_sessions",
        "leaderships_without_leader",
        "advance_sequences",
        "sequences_behind",
        "compare_balances",
        "history_months",
        "note_history_export",
        "control_worker",
        "scale_workers",
        "acknowledge_alert",
        "silence_alerts",
        "end_silence",
        "old_transactions",
    },
    "pipeline_agent": PROCESS | {"take_slots", "end_slot", "slot_is_locked"},
    "pipeline_readonly": {
        "schema_version",
        "blocked_sessions",
        "leaderships_without_leader",
        "sequences_behind",
        "compare_balances",
        "history_months",
        "old_transactions",
    },
}
"""Of those that act with the owner's rights."""
RELATIONS = """
SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attgenerated = '')
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^pg_'
GROUP BY n.nspname, c.relname
"""


def expected_columns(role: str, operation: str, schema: str, table: str, columns: list[str]) -> set[str]:
    if schema != "public" or table not in MAY[role].get(operation, set()):
        return set(columns) if (operation, table) == ("SELECT", LEDGER) else set()
    if operation == "SELECT" and table == "chain_transactions" and role in ("pipeline_web", "pipeline_readonly"):
        return set(columns) - {"signed_bytes"}
    if operation == "SELECT" and table == "signing_requests" and role in ("pipeline_web", "pipeline_readonly"):
        return set(columns) - {"unsigned_bytes"}
    return COLUMNS.get((role, operation, table), set(columns))


async def allowed(connection: Connection, statement: sql.Composable) -> bool:
    """Whether a statement gets past the permissions; what else may be wrong with it, and what it did, is undone."""
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        return "row-level security" in str(error)  # the table is its own, this row is not
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.ObjectNotInPrerequisiteState):
        return False  # by nobody: a computed column of a view, a view that is not simple
    except psycopg.Error:
        return True
    return True


@pytest.mark.parametrize("role", ROLES)
async def test_every_table_and_operation(connection: Connection, tron: Chain, role: str) -> None:
    """By trying: each column to read and to update, an insert, a delete, a truncate on every relation there is."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await new_attempt(connection, await new_transfer(connection, tron, wallet))
    relations = await rows(connection, RELATIONS)
    assert {name for schema, name, _ in relations if schema == "public"} == EVERYTHING | {LEDGER}
    await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    for schema, table, columns in relations:
        target = sql.Identifier(schema, table)
        reads, updates = set(), set()
        for column in columns:
            name = sql.Identifier(column)
            if await allowed(connection, sql.SQL("SELECT {} FROM {}").format(name, target)):
                reads.add(column)
            if await allowed(connection, sql.SQL("UPDATE {} SET {} = NULL WHERE false").format(target, name)):
                updates.add(column)
        assert reads == expected_columns(role, "SELECT", schema, table, columns), table
        # Columns that are always generated cannot be assigned by anybody; Postgres says so before it looks at rights.
        assert updates - {"id"} == expected_columns(role, "UPDATE", schema, table, columns) - {"id"}, table
        for operation, statement in (
            ("INSERT", sql.SQL("INSERT INTO {} DEFAULT VALUES").format(target)),
            ("DELETE", sql.SQL("DELETE FROM {} WHERE false").format(target)),
            ("TRUNCATE", sql.SQL("TRUNCATE {} CASCADE").format(target)),
        ):
            if operation == "TRUNCATE" and table in VIEWS:
                continue  # not a thing one does to a view
            may = bool(expected_columns(role, operation, schema, table, columns))
            assert await allowed(connection, statement) == may, (operation, table)


@pytest.mark.parametrize("role", ROLES)
async def test_the_catalogue_says_the_same(connection: Connection, role: str) -> None:
    """No privilege of any other kind (REFERENCES, TRIGGER, MAINTAIN), and no way to another role's."""
    granted = await rows(
        connection,
        "SELECT c.relname, acl.privilege_type, acl.is_grantable FROM pg_class c, aclexplode(c.relacl) acl"
        " WHERE acl.grantee = %s::regrole",
        role,
    )
    assert {
        (table, privilege) for table, privilege, _ in granted if privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
    } >= {(table, "SELECT") for table in MAY[role]["SELECT"] - {"chain_transactions", "signing_requests"}}
    assert {privilege for _, privilege, _ in granted} <= {"SELECT", "INSERT", "UPDATE", "USAGE"}
    assert not any(grantable for *_, grantable in granted)
    assert await rows(connection, "SELECT 1 FROM pg_auth_members WHERE member = %s::regrole", role) == []
    assert await rows(
        connection,
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolcanlogin, rolbypassrls FROM pg_roles WHERE rolname = %s",
        role,
    ) == [(False, False, False, False, False)]


@pytest.mark.parametrize("role", ROLES)
async def test_functions_with_the_owners_rights(connection: Connection, role: str) -> None:
    may = await rows(
        connection,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
        " AND has_function_privilege(%s, oid, 'EXECUTE')",
        role,
    )
    assert {name for (name,) in may} == FUNCTIONS[role]


async def test_the_rights_of_the_owner_are_nobodys_by_default(connection: Connection) -> None:
    """Nobody but the roles named above may call a definer function, and all of them pin their search_path."""
    assert (
        await rows(
            connection,
            "SELECT p.oid::regprocedure::text FROM pg_proc p,"
            " aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl"
            " WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef AND acl.grantee <> p.proowner"
            " AND acl.grantee NOT IN (SELECT oid FROM pg_roles WHERE rolname LIKE 'pipeline\\_%')",
        )
        == []
    )
    assert (
        await rows(
            connection,
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'"
            " AND (proconfig @> ARRAY['search_path=pg_catalog, public, pg_temp']) IS NOT TRUE",
        )
        == []
    )


async def test_trigger_functions_act_with_the_owners_rights(connection: Connection) -> None:
    """But for the one of the view, which inserts what its caller may insert."""
    assert await rows(
        connection,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype"
        " AND NOT prosecdef",
    ) == [("insert_user_wallet",)]


async def test_a_schema_before_ours_changes_nothing(connection: Connection, tron: Chain) -> None:
    """Who can create objects somewhere cannot put them between a trigger and its tables."""
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute("CREATE SCHEMA trap")
    await connection.execute("CREATE TABLE trap.wallets (LIKE public.wallets)")
    await connection.execute("CREATE TEMPORARY TABLE chains (LIKE public.chains)")
    await connection.execute("SET search_path = trap, public")
    await connection.execute(
        "UPDATE public.wallet_balances SET recheck = false, on_chain_balance_raw = '1' WHERE asset_on_chain_id = %s",
        [tron.native_id],
    )
    assert await value(connection, "SELECT needs_gas FROM public.wallets WHERE id = %s", wallet.id) is True


async def test_row_security_is_on_every_table(connection: Connection) -> None:
    tables = await rows(
        connection,
        "SELECT relname, relrowsecurity FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')",
    )
    assert len(tables) == 31
    assert all(secured for _, secured in tables), tables
    views = await rows(
        connection,
        "SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v'",
    )
    assert {(name, *options) for name, options in views} == {(name, "security_invoker=true") for name in VIEWS}


async def test_row_security_holds_who_was_granted_too_much(connection: Connection, tron: Chain) -> None:
    """As on Supabase, where anon is granted everything on new tables."""
    await add_wallets(connection, tron, 1)
    async with connection.transaction(force_rollback=True):
        await connection.execute("CREATE ROLE flagpost_test_outsider")
        await connection.execute("GRANT USAGE ON SCHEMA public TO flagpost_test_outsider")
        await connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO flagpost_test_outsider")
        await connection.execute("SET LOCAL ROLE flagpost_test_outsider")
        for table in sorted(EVERYTHING):
            assert await rows(connection, f"SELECT 1 FROM {table}") == [], table  # noqa: S608
        changed = await connection.execute("UPDATE wallets SET needs_gas = true")
        assert changed.rowcount == 0


@pytest.mark.parametrize(
    ("role", "own", "others"),
    [("pipeline_confirmations", "confirmations", "deposits"), ("pipeline_deposits", "deposits", "confirmations")],
)
async def test_cursors_are_split_by_purpose(
    connection: Connection, tron: Chain, role: str, own: str, others: str
) -> None:
    insert = "INSERT INTO chain_cursors VALUES (%s, %s, 1, 'id', now())"
    await connection.execute(insert, [tron.id, others])
    await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    await connection.execute(insert, [tron.id, own])
    changed = await connection.execute("UPDATE chain_cursors SET block_number = 2")
    assert changed.rowcount == 1
    await connection.execute("RESET ROLE")
    await connection.execute("DELETE FROM chain_cursors WHERE purpose = %s", [own])
    await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await connection.execute(insert, [tron.id, others])


@pytest.mark.parametrize(
    ("number", "ahead", "may"),
    [
        (1_000, "10 s", True),
        (999_999_999, "10 s", False),
        (10_000 + 1_000, "10 s", True),  # a burst
        (10_000 + 1_100, "10 s", False),
        (1_001, "119 s", True),
        (1_001, "3 min", False),
    ],
)
async def test_a_cursor_cannot_be_forged_far_ahead(
    connection: Connection, tron: Chain, number: int, ahead: str, may: bool
) -> None:
    """Above a height that is none nothing would be settled; by a time that is yet to come bytes would be proved dead
    that may still land. Its blocks come every 3 s."""
    await connection.execute("UPDATE chains SET clock_ahead = '2 min'")
    move = "UPDATE chain_cursors SET block_number = %s, block_time = now() + %s::interval"
    await connection.execute("INSERT INTO chain_cursors VALUES (%s, 'confirmations', 1000, 'id', now())", [tron.id])
    async with connection.transaction(force_rollback=True):
        await connection.execute(move, [number, ahead])  # as the owner of the schema corrects it
    await connection.execute("SET ROLE pipeline_confirmations")
    if may:
        await connection.execute(move, [number, ahead])
        return
    with pytest.raises(psycopg.Error) as refused:
        await connection.execute(move, [number, ahead])
    assert refused.value.sqlstate == "FP017"


async def test_the_first_cursor_of_a_chain_is_not_of_a_time_to_come(connection: Connection, tron: Chain) -> None:
    await connection.execute("UPDATE chains SET clock_ahead = '2 min'")
    await connection.execute("SET ROLE pipeline_confirmations")
    with pytest.raises(psycopg.Error, match="more than clock_ahead"):
        await connection.execute(
            "INSERT INTO chain_cursors VALUES (%s, 'confirmations', 1, 'id', now() + interval '1 day')", [tron.id]
        )


async def test_the_sync_moves_flags_only_through_balances(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await connection.execute("SET ROLE pipeline_sync")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await connection.execute("UPDATE wallets SET needs_gas = true")
    await connection.execute(
        "UPDATE wallet_balances SET recheck = false, on_chain_balance_raw = '1' WHERE asset_on_chain_id = %s",
        [tron.native_id],
    )
    assert await value(connection, "SELECT needs_gas FROM wallets WHERE id = %s", wallet.id) is True


class Owner:
    """A user who is no superuser, owns a database and may create roles."""

    def __init__(self, server_dsn: str) -> None:
        self.name = "flagpost_test_owner"
        self._server = server_dsn
        self.dsn = make_conninfo(server_dsn, user=self.name, password="secret", dbname=self.name)

    def create(self) -> None:
        with psycopg.connect(self._server, autocommit=True) as admin:
            admin.execute("CREATE ROLE flagpost_test_owner LOGIN CREATEROLE PASSWORD 'secret'")
            admin.execute("CREATE DATABASE flagpost_test_owner OWNER flagpost_test_owner")

    def drop(self) -> None:
        with psycopg.connect(self._server, autocommit=True) as admin:
            admin.execute("DROP DATABASE IF EXISTS flagpost_test_owner WITH (FORCE)")
            for role in ROLES:
                # From Postgres 16 on the grants name who gave them.
                admin.execute(sql.SQL("REVOKE {} FROM flagpost_test_owner CASCADE").format(sql.Identifier(role)))
            admin.execute("DROP ROLE flagpost_test_owner")


@pytest.fixture
def owner(server_dsn: str, template: str) -> Iterator[Owner]:
    """``template`` was migrated by the superuser first: the roles of the server are there, and not the owner's own."""
    made = Owner(server_dsn)
    made.create()
    try:
        yield made
    finally:
        made.drop()


async def test_an_owner_who_is_no_superuser_migrates(owner: Owner, server_dsn: str) -> None:
    if await _version(server_dsn) >= 160000:
        # There CREATEROLE reaches only roles of one's own making; the message says what to do about others.
        with pytest.raises(MigrationError, match=r"GRANT pipeline_\w+ TO flagpost_test_owner WITH ADMIN OPTION"):
            await migrate(owner.dsn)
        with psycopg.connect(server_dsn, autocommit=True) as admin:
            for role in ROLES:
                admin.execute(sql.SQL("GRANT {} TO flagpost_test_owner WITH ADMIN OPTION").format(sql.Identifier(role)))
    await migrate(owner.dsn)
    await migrate(owner.dsn)
    async with await AsyncConnection.connect(owner.dsn, autocommit=True) as connection:
        for role in ROLES:
            await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            assert await value(connection, "SELECT current_user::text") == role


async def _version(dsn: str) -> int:
    async with await AsyncConnection.connect(dsn) as connection:
        return connection.info.server_version


async def test_what_was_granted_by_hand_is_gone_after_migrate(connection: Connection, database: str) -> None:
    await connection.execute("GRANT DELETE, INSERT ON wallets TO pipeline_sync")
    await connection.execute("GRANT EXECUTE ON FUNCTION evaluate_flags(uuid[]) TO PUBLIC")
    await connection.execute(
        "CREATE POLICY flagpost_pipeline_sync_all ON wallets FOR ALL TO pipeline_sync USING (true)"
    )
    await connection.execute("DROP POLICY flagpost_pipeline_sync_update ON wallet_balances")
    await migrate(database)

    async def state() -> list[tuple[Any, ...]]:
        return await rows(
            connection,
            "SELECT has_table_privilege('pipeline_sync', 'wallets', 'DELETE, INSERT'),"
            " has_function_privilege('pipeline_readonly', 'evaluate_flags(uuid[])', 'EXECUTE'),"
            " (SELECT count(*) FROM pg_policies WHERE policyname = 'flagpost_pipeline_sync_all'),"
            " (SELECT count(*) FROM pg_policies WHERE policyname = 'flagpost_pipeline_sync_update')",
        )

    assert await state() == [(False, False, 0, 1)]


async def test_nobody_creates_beside_our_functions(connection: Connection, database: str) -> None:
    """As a database upgraded from Postgres 14 lets everybody: an overload could be called with the owner's rights."""
    await connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    await migrate(database)
    assert await value(connection, "SELECT has_schema_privilege('pipeline_executor', 'public', 'CREATE')") is False


async def test_migrating_again_leaves_the_policies_alone(connection: Connection, database: str) -> None:
    """Dropping and creating them would lock every table against a running system."""
    policies = "SELECT oid, polname, xmin::text FROM pg_policy WHERE polname LIKE 'flagpost%' ORDER BY oid"
    before = await rows(connection, policies)
    assert len(before) > 40
    await migrate(database)
    assert await rows(connection, policies) == before


async def test_on_a_database_like_supabase(empty_database: str) -> None:
    """auth.users is there and is left alone; what is granted to everybody by default is of no use to them."""
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        await connection.execute("DROP ROLE IF EXISTS flagpost_test_anon")
        await connection.execute("CREATE ROLE flagpost_test_anon")
        try:
            await connection.execute("CREATE SCHEMA auth")
            await connection.execute("CREATE TABLE auth.users (id uuid PRIMARY KEY, phone text)")
            await connection.execute("GRANT USAGE ON SCHEMA public TO flagpost_test_anon")
            for kind in ("TABLES", "FUNCTIONS", "SEQUENCES"):
                await connection.execute(
                    f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {kind} TO flagpost_test_anon"
                )
            await migrate(empty_database)
            assert await rows(
                connection, "SELECT attname FROM pg_attribute WHERE attrelid = 'auth.users'::regclass AND attnum > 0"
            ) == [("id",), ("phone",)]
            await connection.execute("INSERT INTO user_wallets (address, network) VALUES ('Tone', 'tron')")
            await connection.execute("SET ROLE flagpost_test_anon")
            for table in sorted(EVERYTHING):
                assert await rows(connection, f"SELECT 1 FROM {table}") == [], table  # noqa: S608
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("INSERT INTO system_config (key, value) VALUES ('paused', 'true')")
            callable_as_owner = (
                "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
                " AND has_function_privilege(oid, 'EXECUTE')"
            )
            assert await rows(connection, callable_as_owner) == []
        finally:
            await connection.execute("RESET ROLE")
            await connection.execute("DROP OWNED BY flagpost_test_anon")
            await connection.execute("DROP ROLE flagpost_test_anon")
