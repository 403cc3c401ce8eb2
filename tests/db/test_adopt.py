"""A database with the runbooks' own tables is taken over whole, or not touched."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from pipeline.admin.adopt import Adoption, AdoptionRefused, NothingToAdopt, adopt
from pipeline.admin.errors import Conflict, NotFound
from pipeline.admin.refusals import act
from pipeline.chains.values import Family
from pipeline.db.migrate import migrate
from pipeline.db.values import adapters
from pipeline.keys.private import PrivateBranch
from pipeline.settings import Settings
from tests.db.cli_kit import Shell
from tests.db.logins import login, login_name

MNEMONIC = "abandon " * 11 + "about"
TRON = PrivateBranch.from_mnemonic(MNEMONIC, Family.TRON).public
EVM = PrivateBranch.from_mnemonic(MNEMONIC, Family.EVM).public
ANN = UUID("00000000-0000-4000-8000-000000000001")
FOREIGN = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
MAPPED = {"TRX mainnet": "tron"}
Db = AsyncConnection[Any]


def wallet(number: int) -> UUID:
    return UUID(f"10000000-0000-4000-8000-{number:012}")


WALLETS = [
    # id, user, address, network, balance, trx_balance, needs_gas, needs_consolidation
    (wallet(1), ANN, TRON.address(10), "TRON", "250.5", 7, False, True),
    (wallet(2), None, TRON.address(11), "TRX mainnet", "", 0, True, None),
    (wallet(3), None, FOREIGN, None, "n/a", 0, None, False),
    (wallet(4), ANN, EVM.address(12).lower(), "BSC", "1e3", 0, False, False),
    (wallet(5), None, TRON.address(3), "TRON", None, None, False, False),
    (wallet(6), None, TRON.address(13), "TRON", "0.0000001", 0, True, True),
    (wallet(7), None, TRON.address(14), "TRON", "5", 0, True, False),
]


def fill(dsn: str) -> None:
    """The runbooks' tables with rows, good and bad."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute((Path(__file__).parent / "runbook_tables.sql").read_bytes())
        for row in WALLETS:
            db.execute(
                "INSERT INTO user_wallets (id, user_id, address, network, balance, trx_balance, needs_gas,"
                " needs_consolidation, last_sync, label)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now() - interval '1 hour', 'vip')",
                row,
            )
        db.execute("INSERT INTO invoices (wallet_id, amount) VALUES (%s, 5), (%s, 6)", (wallet(1), wallet(3)))
        for job, kind, status, address, started in (
            ("done", "gas_topup", "completed", TRON.address(10), True),
            ("dead", "consolidation", "failed", TRON.address(11), True),
            ("running", "gas-topup", "active", TRON.address(13), True),
            ("tried", "consolidation", "retrying", TRON.address(13), True),
            ("waiting", "consolidation", "pending", TRON.address(10), False),
            ("twice", "consolidation", "queued", TRON.address(10), False),
            ("payout", "withdrawal", "pending", None, False),
            ("gone", "sync", "completed", "T-a-wallet-that-was-deleted", True),
            ("evm", "sync", "processing", EVM.address(12), True),
            ("other", "send-newsletter", "completed", None, True),
        ):
            db.execute(
                "INSERT INTO job_logs (job_id, job_type, status, wallet_address, user_id, triggered_by, data,"
                " started_at) VALUES (%s, %s, %s, %s, %s, 'cron', '{\"n\": 1}', CASE WHEN %s THEN now() END)",
                (job, kind, status, address, ANN, started),
            )
        db.execute("INSERT INTO tickets VALUES (1, 'done')")
        db.execute(
            "INSERT INTO admin_actions (admin_user_id, action_type, details)"
            " VALUES (%s, 'pause', '[1]'), (gen_random_uuid(), 'x', NULL)",
            (ANN,),
        )
        db.execute("""INSERT INTO system_config (key, value) VALUES ('gas_station', '{"limit": 5}')""")


@pytest.fixture
async def old(empty_database: str) -> AsyncIterator[Db]:
    fill(empty_database)
    async with await AsyncConnection.connect(empty_database, autocommit=True, context=adapters()) as db:
        yield db


@pytest.fixture
def settings(home: Path) -> Settings:
    (home / "mnemonic").write_text(MNEMONIC)
    (home / "mnemonic").chmod(0o600)
    return Settings(home=home)


async def adopted(old: Db, settings: Settings, **more: Any) -> Adoption:
    return await adopt(old, settings, apply=True, networks=MAPPED, indices=50, **more)


async def rows(db: Db, query: str, *parameters: Any) -> list[dict[str, Any]]:
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


async def everything(db: Db) -> list[dict[str, Any]]:
    """What a dry run must leave as it is: rows, and every object of the database."""
    return [
        *await rows(db, "SELECT to_jsonb(w) AS row FROM user_wallets w ORDER BY id"),
        *await rows(db, "SELECT to_jsonb(j) AS row FROM job_logs j ORDER BY id"),
        *await rows(
            db,
            "SELECT relname, relnamespace::regnamespace::text, relkind, relacl::text FROM pg_class"
            " WHERE relnamespace::regnamespace::text !~ '^pg_' ORDER BY 2, 1",
        ),
        *await rows(db, "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1, 2"),
        *await rows(
            db, "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1"
        ),
    ]


async def test_a_dry_run_changes_nothing_and_says_what_it_would_do(old: Db, settings: Settings) -> None:
    before = await everything(old)
    tried = await adopt(old, settings, apply=False, networks=MAPPED, indices=50)
    assert await everything(old) == before
    assert not tried.applied
    done = await adopted(old, settings)
    assert done.applied
    assert {**done.as_json(), "applied": False} == tried.as_json()


async def test_every_wallet_keeps_its_id_user_and_flags(old: Db, settings: Settings) -> None:
    done = await adopted(old, settings)
    assert (done.wallets, done.ours, done.foreign) == (7, 5, 2)
    assert done.by_chain == {"tron": 6, "bsc": 1}
    found = await rows(old, "SELECT * FROM user_wallets ORDER BY id")
    assert [row["id"] for row in found] == [row[0] for row in WALLETS]
    assert [row["user_id"] for row in found] == [row[1] for row in WALLETS]
    assert [(row["needs_gas"], row["needs_consolidation"]) for row in found] == [
        (bool(row[6]), bool(row[7])) for row in WALLETS
    ]
    assert [row["network"] for row in found] == ["tron", "tron", "tron", "bsc", "tron", "tron", "tron"]
    assert found[3]["address"] == EVM.address(12), "in its canonical form"
    # 4 and 6 had jobs of unknown state; index 3 is reserved for our own wallets.
    assert [row["derivation_index"] for row in found] == [10, 11, None, None, None, None, 14]
    assert [row["balance"] for row in found] == [Decimal("250.5"), 0, 0, 1000, 0, 0, 5]
    assert found[0]["trx_balance"] == 7
    assert all(row["last_sync"] is not None for row in found if row["balance"])
    assert any(TRON.address(3) in note for note in done.notes)
    assert any("2 balances are no amounts" in note for note in done.notes)
    assert (await rows(old, "SELECT label FROM adopted.user_wallets WHERE id = %s", wallet(1))) == [{"label": "vip"}]
    assert {row["recheck"] for row in await rows(old, "SELECT recheck FROM wallet_balances")} == {True}


async def test_no_job_that_was_running_is_run_or_paid_for(old: Db, settings: Settings) -> None:
    done = await adopted(old, settings)
    jobs = {row["job_id"]: row for row in await rows(old, "SELECT * FROM job_logs")}
    states = {name: job["status"] for name, job in jobs.items()}
    assert states == {
        "done": "completed", "dead": "failed", "running": "cancelled", "tried": "cancelled", "payout": "cancelled",
        "gone": "completed", "evm": "cancelled", "waiting": states["waiting"], "twice": states["twice"],
    }  # fmt: skip
    assert {states["waiting"], states["twice"]} == {"pending", "cancelled"}, "one live job for each wallet and type"
    assert {one["job_id"] for one in done.unknown_jobs} == {"running", "tried", "payout", "evm"}
    assert done.frozen == sorted([TRON.address(13), EVM.address(12)])
    assert "state unknown" in jobs["running"]["error_message"]
    assert jobs["done"]["job_type"] == "gas-topup"
    assert jobs["done"]["data"]["n"] == 1
    assert jobs["done"]["data"]["adopted"]["triggered_by"] == "cron"
    assert "send-newsletter" in "".join(done.notes)
    # Nobody's key is derived for a frozen wallet, whatever its flags say, and no bulk retry reaches the job.
    await old.execute("SELECT retry_failed_jobs('gas-topup', 1000)")
    assert await rows(old, "SELECT FROM job_logs WHERE job_id = 'running' AND status <> 'cancelled'") == []
    assert await rows(old, "SELECT needs_gas, derivation_index FROM wallets WHERE id = %s", wallet(6)) == [
        {"needs_gas": True, "derivation_index": None}
    ]


async def test_a_person_releases_a_frozen_wallet(old: Db, settings: Settings) -> None:
    await adopted(old, settings)
    frozen = await act(old, "adopt/frozen")
    assert [(row["address"], row["jobs"]) for row in frozen] == [
        (EVM.address(12), ["evm"]), (TRON.address(13), ["running", "tried"])
    ]  # fmt: skip
    with pytest.raises(NotFound, match="not frozen"):
        await act(old, "adopt/release", addresses=[TRON.address(10)])
    released = await act(old, "adopt/release", addresses=[TRON.address(13)])
    assert released == [{"address": TRON.address(13), "derivation_index": 13}]
    assert [row["address"] for row in await act(old, "adopt/frozen")] == [EVM.address(12)]
    (action,) = await rows(old, "SELECT details FROM admin_actions WHERE action_type = 'wallets.release_adopted'")
    assert action["details"]["wallets"] == [{"address": TRON.address(13), "index": 13}]


async def test_foreign_keys_refer_to_the_new_tables(old: Db, settings: Settings) -> None:
    done = await adopted(old, settings)
    assert done.foreign_keys == ["invoices.invoices_wallet → wallets (id)", "tickets.tickets_job → job_logs (job_id)"]
    keys = {
        row["conname"]: row["definition"]
        for row in await rows(
            old, "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE contype = 'f'"
        )
    }
    assert keys["invoices_wallet"] == (
        "FOREIGN KEY (wallet_id) REFERENCES wallets(id) ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED"
    )
    assert keys["tickets_job"] == "FOREIGN KEY (job) REFERENCES job_logs(job_id) ON DELETE SET NULL"
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await old.execute("DELETE FROM wallets WHERE id = %s", (wallet(1),))
    # The copy keeps nobody from leaving.
    await old.execute("UPDATE wallets SET user_id = NULL WHERE user_id = %s", (ANN,))
    await old.execute("UPDATE job_logs SET user_id = NULL WHERE user_id = %s AND status = 'pending'", (ANN,))
    referring = "SELECT FROM pg_constraint WHERE contype = 'f' AND conrelid::regclass::text LIKE 'adopted.%%'"
    assert await rows(old, referring) == []


async def test_policies_are_kept_or_listed_and_the_rest_is_listed(old: Db, settings: Settings) -> None:
    done = await adopted(old, settings)
    assert done.policies == [
        "job_logs: Users see their jobs (SELECT to PUBLIC)",
        "user_wallets: Users see their own wallets (SELECT to PUBLIC)",
    ]
    (left,) = done.policies_left
    assert "Rich ones" in left
    assert "trx_balance" in left
    kept = await rows(
        old,
        "SELECT tablename::text, qual FROM pg_policies WHERE policyname LIKE 'Users see%%' AND schemaname = 'public'",
    )
    assert {(row["tablename"], row["qual"]) for row in kept} == {
        ("wallets", "(auth.uid() = user_id)"), ("job_logs", "(auth.uid() = user_id)")
    }  # fmt: skip
    listed = "\n".join(done.left)
    for what in ("wallets_touch", "rich_wallets", "runbook_realtime"):
        assert what in listed


async def test_a_policy_that_restricts_everybody_is_listed(old: Db, settings: Settings) -> None:
    """On our tables it would hide rows from the processes, which then find nothing to do."""
    await old.execute("CREATE POLICY own ON job_logs AS RESTRICTIVE FOR SELECT USING (auth.uid() = user_id)")
    done = await adopted(old, settings)
    assert [left for left in done.policies_left if "job_logs: own" in left and "restrict our own processes" in left]
    assert await rows(old, "SELECT FROM pg_policies WHERE schemaname = 'public' AND policyname = 'own'") == []


async def test_other_sessions_are_named(old: Db, settings: Settings, empty_database: str) -> None:
    """An old worker that rests between two transactions holds no lock, and would go on."""
    async with await AsyncConnection.connect(empty_database, application_name="consolidation-worker-2"):
        done = await adopt(old, settings, apply=False, networks=MAPPED, indices=50)
    (note,) = [note for note in done.notes if "other sessions are connected" in note]
    assert "consolidation-worker-2 (1)" in note


async def test_an_adopted_database_is_as_a_migrated_one(
    old: Db, settings: Settings, empty_database: str, connection: Any
) -> None:
    """No trigger stays off, migrate finds nothing to do, and the runbooks' statements work."""
    await adopted(old, settings)
    off = "SELECT tgrelid::regclass::text || '.' || tgname AS name, tgenabled FROM pg_trigger t"
    off += " JOIN pg_class c ON c.oid = t.tgrelid"
    off += " WHERE c.relnamespace = 'public'::regnamespace AND NOT tgisinternal ORDER BY 1"
    elsewhere = await (await connection.execute(off)).fetchall()
    assert [tuple(row.values()) for row in await rows(old, off)] == elsewhere
    assert (await migrate(empty_database)).applied == ()
    await old.execute("UPDATE user_wallets SET needs_gas = true WHERE id = %s", (wallet(1),))
    await old.execute("INSERT INTO user_wallets (address, network) VALUES ('T-new', 'tron')")
    await old.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address)"
        " VALUES ('by hand', 'gas-topup', 'pending', %s)",
        (TRON.address(11),),
    )
    stats = await rows(old, "SELECT * FROM get_job_queue_stats()")
    assert {"gas-topup", "consolidation"} <= {row["job_type"] for row in stats}


async def test_again_there_is_nothing_to_adopt(old: Db, settings: Settings) -> None:
    await adopted(old, settings)
    before = await rows(old, "SELECT to_jsonb(w) FROM wallets w ORDER BY id")
    with pytest.raises(NothingToAdopt):
        await adopted(old, settings)
    assert await rows(old, "SELECT to_jsonb(w) FROM wallets w ORDER BY id") == before


async def test_an_empty_database_has_nothing_to_adopt(empty_database: str, settings: Settings) -> None:
    async with await AsyncConnection.connect(empty_database, autocommit=True, context=adapters()) as db:
        with pytest.raises(NothingToAdopt, match="no table user_wallets"):
            await adopt(db, settings, apply=True)


async def test_without_a_mnemonic_every_wallet_is_foreign(old: Db, home: Path) -> None:
    done = await adopt(old, Settings(home=home), apply=True, networks=MAPPED)
    assert (done.ours, done.foreign, done.frozen) == (0, 7, [])
    assert any("no mnemonic" in note for note in done.notes)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("UPDATE user_wallets SET address = NULL WHERE id = '10000000-0000-4000-8000-000000000003'", "has no address"),
        (
            "INSERT INTO user_wallets (address, network) SELECT upper(substr(address, 3)), 'BSC' FROM user_wallets"
            " WHERE network = 'BSC';"
            " UPDATE user_wallets SET address = '0x' || address WHERE address ~ '^[0-9A-F]{40}$'",
            "has the address of",
        ),
        (
            "ALTER TABLE user_wallets DROP CONSTRAINT user_wallets_user_id_fkey;"
            " UPDATE user_wallets SET user_id = gen_random_uuid() WHERE id = '10000000-0000-4000-8000-000000000003'",
            "who is not in auth.users",
        ),
        (
            "CREATE TABLE notes (address text CONSTRAINT by_address REFERENCES user_wallets (address))",
            "notes.by_address refers to user_wallets",
        ),
        ("UPDATE tickets SET job = 'other'", "refers to a row that is not taken over"),
        ("CREATE SCHEMA adopted", "the schema adopted is there already"),
        (
            "ALTER TABLE admin_actions DROP COLUMN id; ALTER TABLE admin_actions ADD COLUMN id bigserial",
            "ids are kept, and have to be uuid",
        ),
        (
            "UPDATE job_logs SET job_type = 'usdt-sweep' WHERE job_id = 'running'",
            "job running is active, of type 'usdt-sweep', which Flagpost has not",
        ),
    ],
)
async def test_what_cannot_be_mapped_is_refused_whole(old: Db, settings: Settings, damage: str, reason: str) -> None:
    await old.execute(damage.encode())
    before = await everything(old)
    with pytest.raises(AdoptionRefused, match=reason):
        await adopted(old, settings)
    assert await everything(old) == before


async def test_an_unknown_network_names_the_option_that_maps_it(old: Db, settings: Settings) -> None:
    with pytest.raises(AdoptionRefused, match="--network 'TRX mainnet=CHAIN'"):
        await adopt(old, settings, apply=True)


async def test_while_another_session_writes_nothing_is_done(old: Db, settings: Settings, empty_database: str) -> None:
    async with await AsyncConnection.connect(empty_database, application_name="old-worker") as writer:
        await writer.execute("UPDATE user_wallets SET label = 'x' WHERE id = %s", (wallet(1),))
        with pytest.raises(Conflict, match="old-worker"):
            await asyncio.wait_for(adopted(old, settings), 30)
        await writer.rollback()
    assert (await adopted(old, settings)).applied


async def test_an_address_on_two_chains_with_a_running_job_holds_both(old: Db, settings: Settings) -> None:
    with contextlib.suppress(psycopg.Error):
        await old.execute("ALTER TABLE user_wallets DROP CONSTRAINT user_wallets_address_key")
    await old.execute(
        "INSERT INTO user_wallets (id, address, network) VALUES (%s, %s, 'erc20')", (wallet(8), EVM.address(12))
    )
    done = await adopted(old, settings)
    assert done.frozen == sorted([TRON.address(13), EVM.address(12)])
    both = "SELECT derivation_index FROM wallets WHERE id = ANY (%s)"
    assert {row["derivation_index"] for row in await rows(old, both, [wallet(4), wallet(8)])} == {None}
    await act(old, "adopt/release", addresses=[EVM.address(12)])
    assert {row["derivation_index"] for row in await rows(old, both, [wallet(4), wallet(8)])} == {12}


async def test_an_owner_who_is_no_superuser_adopts(old: Db, settings: Settings, empty_database: str) -> None:
    """As on Supabase: the login owns the tables, may create roles and refer to auth.users, but owns no schema auth."""
    name = old.info.dbname
    ours = "FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
    with login(empty_database, "owner", "CREATEROLE") as dsn:
        owner = login_name("owner")
        await old.execute(f'ALTER DATABASE "{name}" OWNER TO {owner}; ALTER SCHEMA public OWNER TO {owner}'.encode())
        await old.execute(f"GRANT USAGE ON SCHEMA auth TO {owner}; GRANT ALL ON auth.users TO {owner}".encode())
        await old.execute(f"ALTER FUNCTION get_job_queue_stats() OWNER TO {owner}".encode())
        for row in await rows(old, f"SELECT oid::regclass::text AS name {ours}"):
            await old.execute(f"ALTER TABLE {row['name']} OWNER TO {owner}".encode())
        # Roles belong to the server, where another test's migration may have created them.
        for row in await rows(old, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'pipeline%%'"):
            await old.execute(f"GRANT {row['rolname']} TO {owner} WITH ADMIN OPTION".encode())
        try:
            async with await AsyncConnection.connect(dsn, autocommit=True, context=adapters()) as db:
                assert (await adopted(db, settings)).wallets == len(WALLETS)
        finally:
            await old.execute(f'ALTER DATABASE "{name}" OWNER TO CURRENT_USER'.encode())


def test_the_command_tries_adopts_and_releases(shell: Shell, empty_database: str) -> None:
    fill(empty_database)
    shell.env.setenv("DATABASE_URL", empty_database)
    assert "flagpost adopt" in shell.fails("migrate")
    (schema,) = [one for one in shell("doctor", "--json").json["checks"] if one["check"] == "schema"]
    assert "flagpost adopt" in schema["todo"]
    said = shell.fails("adopt")
    assert "--network 'TRX mainnet=CHAIN'" in said
    assert "was not changed" in said
    tried = shell("adopt", "--network", "TRX mainnet=tron", "--indices", "50")
    assert tried.code == 0
    assert "nothing was changed" in tried.out
    assert "jobs of unknown state" in tried.out
    done = shell("adopt", "--network", "TRX mainnet=tron", "--indices", "50", "--apply", "--json").json
    assert (done["applied"], done["wallets"], len(done["frozen"])) == (True, 7, 2)
    assert {row["address"] for row in shell("adopt", "frozen", "--json").json} == set(done["frozen"])
    assert "may be paid again (derivation index 13)" in shell("adopt", "release", TRON.address(13)).out
    assert "not frozen" in shell.fails("adopt", "release", TRON.address(13))
    again = shell("adopt", "--apply")
    assert (again.code, "nothing to adopt" in again.out) == (0, True)


async def test_ten_thousand_wallets_are_adopted_in_seconds(old: Db, settings: Settings) -> None:
    """No statement of it grows with the product of wallets and jobs."""
    await old.execute(
        "INSERT INTO user_wallets (address, network) SELECT 'T-' || n, 'TRON' FROM generate_series(1, 10000) n;"
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address)"
        " SELECT 'j' || n, 'sync', 'completed', 'T-' || n FROM generate_series(1, 10000) n"
    )
    done = await asyncio.wait_for(adopted(old, settings), 60)
    assert (done.wallets, done.jobs) == (10_007, 10_009)
    assert [note[:29] for note in done.notes if "none of their network" in note] == ["10000 addresses are none of t"]
