"""Every pair of states of jobs, transfers and signed attempts, tried against the triggers as the tables' owner."""

from collections.abc import Collection, Iterable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pipeline.db.pool import Connection
from pipeline.payments.states import (
    ATTEMPT_MOVES,
    REQUEST_MOVES,
    TRANSFER_MOVES,
    AttemptState,
    RequestState,
    TransferState,
)
from tests.db.money import ask, keep, new_attempt, new_job, new_transfer, read_past_the_expiration
from tests.db.sessions import rows, value
from tests.seed import Chain, add_wallets

JOB_MOVES = {
    ("pending", "active"),
    ("pending", "cancelled"),
    ("pending", "failed"),
    ("active", "completed"),
    ("active", "failed"),
    ("active", "retrying"),
    ("active", "pending"),
    ("retrying", "active"),
    ("retrying", "pending"),
    ("retrying", "cancelled"),
    ("retrying", "failed"),
    ("failed", "pending"),
}
JOB_STATES = ("pending", "active", "retrying", "completed", "failed", "cancelled")
TABLES = {
    "job": ("job_logs", "status"),
    "transfer": ("transfers", "state"),
    "chain_transaction": ("chain_transactions", "state"),
}
SETTLED = {"job": {"completed", "failed", "cancelled"}, "transfer": {"final", "reverted", "rejected"}}
REFUSED = {"FP003", "FP004"}


async def refused(connection: Connection, statement: sql.Composable | str, *parameters: Any) -> str | None:
    """The SQLSTATE with which a statement fails, undone in any case; None if it succeeds."""
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(statement, parameters)  # type: ignore[arg-type]
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.DatabaseError as error:
        return error.sqlstate
    return None


async def add_numbered_attempt(
    connection: Connection, chain: Chain, transfer: int, state: str, *, number: int = 1, found: bool = False
) -> int:
    """With nonce 7, put there past the triggers."""
    await connection.execute("SET session_replication_role = replica")
    if not found:
        await connection.execute(
            "INSERT INTO signing_requests (bundle_id, chain_id, sender, nonce, parameters, unsigned_bytes, fee_cap,"
            r" state) SELECT bundle_id, chain_id, from_address, 7, '{}', '\x0a', 1, 'signed'"
            " FROM transfers WHERE id = %s",
            [transfer],
        )
    attempt: int = await value(
        connection,
        "INSERT INTO chain_transactions (bundle_id, chain_id, attempt, txid, signed_bytes, sender, nonce, ref_block,"
        " fee_cap, state, found_on_chain, block_number, request_id) SELECT bundle_id, %s, %s, %s, %s, from_address,"
        " 7, 1, 1, %s, %s, 1, CASE WHEN %s THEN NULL ELSE (SELECT request_id FROM signing_requests r WHERE NOT EXISTS ("
        " SELECT FROM chain_transactions a WHERE a.request_id = r.request_id) LIMIT 1) END FROM transfers"
        " WHERE id = %s RETURNING id",
        *(chain.id, number, f"tx-{number}", b"" if found else b"\n", state, found, found, transfer),
    )
    await connection.execute("RESET session_replication_role")
    return attempt


async def walk(
    connection: Connection,
    subject: str,
    row_id: Any,
    states: Iterable[str],
    *,
    starts: Iterable[str] | None = None,
    refusals: Collection[str] = REFUSED,
) -> set[tuple[str, str]]:
    """The moves that the database lets through, of all pairs (from ``starts``). Rows are put into a state past the
    triggers."""
    table, column = TABLES[subject]
    allowed = set()
    end = sql.SQL(
        "completed_at = CASE WHEN {0} THEN now() END"
        if subject == "job"
        else "settled_at = CASE WHEN {0} THEN now() END"
    )
    for start in starts or states:
        assignments = [sql.SQL("{} = {}").format(sql.Identifier(column), start)]
        if subject in SETTLED:
            assignments.append(end.format(sql.Literal(start in SETTLED[subject])))
        else:
            assignments.append(sql.SQL("block_number = 1"))
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            sql.SQL("UPDATE {} SET {} WHERE id = {}").format(
                sql.Identifier(table), sql.SQL(", ").join(assignments), row_id
            )
        )
        await connection.execute("RESET session_replication_role")
        for target in states:
            lease = (
                sql.SQL(", lease = lease + 1")
                if (subject, target) == ("job", "active") and start != "active"
                else sql.SQL("")
            )
            sqlstate = await refused(
                connection,
                sql.SQL("UPDATE {} SET {} = {}{} WHERE id = {}").format(
                    sql.Identifier(table), sql.Identifier(column), target, lease, row_id
                ),
            )
            if sqlstate is None:
                allowed.add((start, target))
            else:
                assert sqlstate in refusals, (start, target, sqlstate)
    return allowed


def with_standing_still(moves: Iterable[tuple[str, str]], states: Iterable[str]) -> set[tuple[str, str]]:
    return {(str(start), str(end)) for start, end in moves} | {(str(state), str(state)) for state in states}


async def test_jobs(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    job = await new_job(connection, wallet)
    assert await walk(connection, "job", job, JOB_STATES) == with_standing_still(JOB_MOVES, JOB_STATES)


async def test_transfers(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    states = [str(state) for state in TransferState]
    # From requested to included takes a transaction that was found on the chain: see the next one.
    moves = TRANSFER_MOVES - {(TransferState.REQUESTED, TransferState.INCLUDED)}
    assert await walk(connection, "transfer", transfer, states) == with_standing_still(moves, TransferState)


async def test_transfers_with_something_in_a_block(connection: Connection, tron: Chain) -> None:
    """What was found on the chain takes them there; none ends while it stands there."""
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    await add_numbered_attempt(connection, tron, transfer, "included", found=True)
    states = [str(state) for state in TransferState]
    ends = {TransferState.FINAL, TransferState.REVERTED, TransferState.EXPIRED, TransferState.REJECTED}
    moves = {(start, end) for start, end in TRANSFER_MOVES if end not in ends}
    assert await walk(connection, "transfer", transfer, states) == with_standing_still(moves, TransferState)


async def test_signed_attempts(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    # Bytes go out with their payment only.
    attempt = await new_attempt(connection, await new_transfer(connection, tron, wallet))
    await read_past_the_expiration(connection)
    states = [str(state) for state in AttemptState]
    # 'replaced' is for attempts with a nonce, and takes a winner: see the next one.
    moves = {(start, end) for start, end in ATTEMPT_MOVES if end is not AttemptState.REPLACED}
    assert await walk(connection, "chain_transaction", attempt, states) == with_standing_still(moves, AttemptState)


async def test_numbered_attempts_beside_the_one_that_landed(connection: Connection, tron: Chain) -> None:
    """One of a nonce is in a final block: the others are replaced, and nothing else can become of them."""
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet, state="broadcasting")
    await add_numbered_attempt(connection, tron, transfer, "final")
    attempt = await add_numbered_attempt(connection, tron, transfer, "broadcasting", number=2)
    states = [str(state) for state in AttemptState]
    refused = {AttemptState.FINAL, AttemptState.REVERTED, AttemptState.EXPIRED}
    moves = {(start, end) for start, end in ATTEMPT_MOVES if end not in refused}
    # A second one that is final is refused by an index, whoever writes it.
    starts = [state for state in states if state not in ("final", "reverted")]
    allowed = await walk(connection, "chain_transaction", attempt, states, starts=starts, refusals={*REFUSED, "23505"})
    assert allowed == with_standing_still(moves, starts)


async def test_a_bad_move_among_good_ones_stops_the_statement(connection: Connection, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 3)
    jobs = [await new_job(connection, wallet) for wallet in wallets]
    await connection.execute("UPDATE job_logs SET status = 'retrying' WHERE id = %s", [jobs[1]])
    with pytest.raises(psycopg.DatabaseError, match=r"is retrying and cannot become completed") as error:
        await connection.execute("UPDATE job_logs SET status = 'completed'")
    assert error.value.diag.message_hint == "From retrying it may become active, cancelled, failed, pending."
    assert await value(connection, "SELECT count(*) FROM job_logs WHERE status = 'active'") == 2


async def test_a_claim_must_raise_the_lease(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await new_job(connection, wallet, status="pending")
    assert await refused(connection, "UPDATE job_logs SET status = 'active'") == "FP003"
    assert await refused(connection, "UPDATE job_logs SET status = 'active', lease = lease - 1") == "FP003"
    assert await refused(connection, "UPDATE job_logs SET status = 'active', lease = lease + 1") is None


@pytest.mark.parametrize("status", ["completed", "cancelled"])
async def test_finished_jobs_do_not_change_at_all(connection: Connection, tron: Chain, status: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await new_job(connection, wallet, status=status)
    columns = await rows(
        connection, "SELECT attname FROM pg_attribute WHERE attrelid = 'job_logs'::regclass AND attnum > 0"
    )
    assert await refused(connection, "UPDATE job_logs SET status = status") is None
    others = {
        "id": "gen_random_uuid()",
        "seq": "seq + 1",
        "job_id": "'x'",
        "job_type": "'consolidation'",
        "status": "'failed'",
        "wallet_address": "'x'",
        "wallet_id": "NULL",
        "chain_id": "NULL",
        "user_id": "gen_random_uuid()",
        "triggered_by": "'sweep'",
        "priority": "1",
        "data": """'{"a": 1}'""",
        "error_message": "'x'",
        "retry_count": "retry_count + 1",
        "max_retries": "max_retries + 1",
        "run_at": "run_at + interval '1 s'",
        "lease": "lease + 1",
        "leased_by": "gen_random_uuid()",
        "lease_deadline": "now()",
        "awaiting_chain": "true",
        "started_at": "now()",
        "completed_at": "completed_at + interval '1 s'",
        "created_at": "created_at + interval '1 s'",
        "updated_at": "updated_at + interval '1 s'",
        "queued": "NOT queued",
        "entered_xid": "'7'",
    }
    assert set(others) == {column for (column,) in columns} - {"failed_at"}, "generated"
    for column, other in others.items():
        assert await refused(connection, f"UPDATE job_logs SET {column} = {other}") in REFUSED, column  # noqa: S608


IMMUTABLE = {
    "transfers": {
        "kind": "'withdrawal'",
        "job_id": "gen_random_uuid()",
        "chain_id": "chain_id + 1",
        "wallet_id": "gen_random_uuid()",
        "asset_on_chain_id": "gen_random_uuid()",
        "from_address": "'Tx'",
        "to_address": "'Tx'",
        "amount": "amount + 1",
        "fee_reserved": "fee_reserved + 1",
        "idempotency_key": "'x'",
        "found_on_chain": "true",
        "bundle_id": "bundle_id + 1",
        "created_at": "created_at - interval '1 day'",
    },
    "chain_transactions": {
        "bundle_id": "bundle_id + 1",
        "request_id": "gen_random_uuid()",
        "chain_id": "chain_id + 1",
        "attempt": "attempt + 1",
        "txid": "'x'",
        "signed_bytes": r"'\x0b'",
        "sender": "'Tx'",
        "nonce": "1",
        "ref_block": "2",
        "expiration": "expiration + interval '1 hour'",
        "fee_cap": "fee_cap + 1",
        "found_on_chain": "true",
        "created_at": "created_at - interval '1 day'",
    },
}
MUTABLE = {
    "transfers": {
        "state",
        "fee_paid",
        "error_message",
        "settled_at",
        "updated_at",
        "replace_wanted_at",
        "arrived",
        "place",
    },
    "chain_transactions": {
        "state",
        "first_broadcast_at",
        "last_broadcast_at",
        "broadcast_count",
        "last_result",
        "block_number",
        "block_id",
        "block_time",
        "fee_paid",
        "updated_at",
    },
}


@pytest.mark.parametrize("table", ["transfers", "chain_transactions"])
async def test_what_a_payment_is_never_changes(connection: Connection, tron: Chain, table: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await new_attempt(connection, await new_transfer(connection, tron, wallet))
    columns = await rows(
        connection,
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attname <> 'id'"
        " AND attgenerated = ''",
        table,
    )
    assert set(IMMUTABLE[table]) | MUTABLE[table] == {column for (column,) in columns}
    for column, other in IMMUTABLE[table].items():
        assert await refused(connection, f"UPDATE {table} SET {column} = {other}") == "FP004", column  # noqa: S608
    # GENERATED ALWAYS holds the id, and the trigger whoever would get past that.
    assert await refused(connection, f"UPDATE {table} SET id = id + 1") == "428C9"  # noqa: S608


OTHER_VALUES = {
    "fee_paid": "7",
    "error_message": "'x'",
    "settled_at": "now() + interval '1 s'",
    "updated_at": "now() + interval '1 s'",
    "replace_wanted_at": "now()",
    "arrived": "7",
    "place": "'v'",
}
"""Another value for whatever of a transfer ever changes, its state apart."""


def test_every_column_of_a_settled_transfer_is_tried() -> None:
    assert set(OTHER_VALUES) | {"state"} == MUTABLE["transfers"]


@pytest.mark.parametrize("state", ["final", "reverted", "rejected"])
async def test_settled_money_does_not_change_at_all(connection: Connection, tron: Chain, state: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    await new_attempt(connection, transfer)
    if state == "rejected":
        await read_past_the_expiration(connection)
        await connection.execute("UPDATE chain_transactions SET state = 'expired'")
        await connection.execute("UPDATE transfers SET state = 'expired'")
        await connection.execute("UPDATE transfers SET state = 'rejected'")
    else:
        for step in ("included", state):
            await connection.execute("UPDATE chain_transactions SET block_number = 1, state = %s", [step])
            await connection.execute("UPDATE transfers SET state = %s", [step])
    for table, changes in (
        ("transfers", OTHER_VALUES),
        ("chain_transactions", {"last_result": "'x'", "block_number": "2", "broadcast_count": "9", "fee_paid": "7"}),
    ):
        if (table, state) == ("chain_transactions", "rejected"):
            continue  # proved dead: what is shown of it later may still be noted
        for column, other in changes.items():
            assert await refused(connection, f"UPDATE {table} SET {column} = {other}") == "FP004", (table, column)  # noqa: S608
        assert await refused(connection, f"UPDATE {table} SET state = state") is None  # noqa: S608


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM transfers",
        "DELETE FROM chain_transactions",
        "DELETE FROM gas_spending",
        "TRUNCATE chain_transactions CASCADE",
        "TRUNCATE signing_requests CASCADE",
        "DELETE FROM bundles",
        "TRUNCATE transfers CASCADE",
        "TRUNCATE gas_spending",
        "TRUNCATE job_logs CASCADE",
        "TRUNCATE wallets CASCADE",
        "TRUNCATE chains CASCADE",
    ],
)
async def test_money_is_never_deleted(connection: Connection, tron: Chain, statement: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await new_attempt(connection, await new_transfer(connection, tron, wallet))
    assert await refused(connection, statement) == "FP004"


@pytest.mark.parametrize("statement", ["DELETE FROM job_logs", "DELETE FROM wallets", "DELETE FROM user_wallets"])
async def test_nor_what_it_hangs_on(connection: Connection, tron: Chain, statement: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await new_transfer(connection, tron, wallet)
    assert await refused(connection, statement) in {"23503", "23001"}  # foreign key


@pytest.mark.parametrize("state", sorted({str(state) for state in TransferState} - {"requested"}))
async def test_a_transfer_begins_as_requested(connection: Connection, tron: Chain, state: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    job = await new_job(connection, wallet)
    insert = (
        "INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount,"
        " fee_reserved, idempotency_key, state) VALUES ('gas', %s, %s, %s, %s, 'Tfrom', %s, 1, 0, 'k', %s)"
    )
    assert await refused(connection, insert, job, tron.id, wallet.id, tron.native_id, wallet.address, state) == "FP003"
    assert (
        await refused(connection, insert, job, tron.id, wallet.id, tron.native_id, wallet.address, "requested") is None
    )


@pytest.mark.parametrize("state", sorted({str(state) for state in AttemptState} - {"broadcasting"}))
async def test_an_attempt_begins_as_broadcasting(connection: Connection, tron: Chain, state: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    insert = (
        "INSERT INTO chain_transactions (bundle_id, chain_id, attempt, txid, signed_bytes, sender, expiration,"
        r" fee_cap, block_number, state) SELECT bundle_id, chain_id, 1, 'tx', '\x0a', from_address, now(), 1, 1, %s"
        " FROM transfers WHERE id = %s"
    )
    assert await refused(connection, insert, state, transfer) == "FP003"


async def test_signing_requests(connection: Connection, tron: Chain) -> None:
    """Asked, and then signed or refused, once; and what was asked for never becomes something else."""
    (wallet,) = await add_wallets(connection, tron, 1)
    request = await ask(connection, await new_transfer(connection, tron, wallet))
    await keep(connection, request)  # none becomes signed without its bytes
    allowed = set()
    for start in RequestState:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "UPDATE signing_requests SET state = %s, refusal = CASE WHEN %s = 'refused' THEN 'no' END", [start, start]
        )
        await connection.execute("RESET session_replication_role")
        for end in RequestState:
            change = "UPDATE signing_requests SET state = %s, refusal = CASE WHEN %s = 'refused' THEN 'no' END"
            sqlstate = await refused(connection, change, end, end)
            if sqlstate is None:
                allowed.add((str(start), str(end)))
            else:
                assert sqlstate in REFUSED, (start, end, sqlstate)
    assert allowed == with_standing_still(REQUEST_MOVES, RequestState)
    known = await rows(
        connection,
        "SELECT from_state, to_state FROM state_transitions"
        " WHERE subject = 'signing_request' AND from_state <> '(new)'",
    )
    assert set(known) == {(str(start), str(end)) for start, end in REQUEST_MOVES}

    await connection.execute("SET session_replication_role = replica")
    await connection.execute("UPDATE signing_requests SET state = 'asked', refusal = NULL")
    await connection.execute("RESET session_replication_role")
    columns = await rows(
        connection, "SELECT attname FROM pg_attribute WHERE attrelid = 'signing_requests'::regclass AND attnum > 0"
    )
    others = {
        "request_id": "gen_random_uuid()",
        "bundle_id": "bundle_id + 1",
        "chain_id": "chain_id + 1",
        "sender": "'Tx'",
        "replaces": "1",
        "nonce": "1",
        "ref_block": "2",
        "expiration": "expiration + interval '1 hour'",
        "parameters": """'{"a": 1}'""",
        "unsigned_bytes": r"'\x0b'",
        "fee_cap": "fee_cap + 1",
        "created_at": "created_at - interval '1 day'",
    }
    assert set(others) | {"state", "refusal", "updated_at"} == {column for (column,) in columns}
    for column, other in others.items():
        for change in (f"{column} = {other}", f"{column} = {other}, state = 'signed'"):
            assert await refused(connection, f"UPDATE signing_requests SET {change}") == "FP004", change  # noqa: S608
    assert await refused(connection, "DELETE FROM signing_requests") == "FP004"
    assert await refused(connection, "UPDATE transfers SET state = 'rejected'") == "FP003", "it may have been signed"
    assert request


async def test_state_transitions_are_restored_by_migrate(connection: Connection, database: str) -> None:
    from pipeline.db.migrate import migrate

    before = await rows(connection, "SELECT * FROM state_transitions ORDER BY 1, 2, 3")
    await connection.execute("INSERT INTO state_transitions VALUES ('transfer', 'final', 'requested', 'pay it again')")
    await connection.execute("DELETE FROM state_transitions WHERE from_state = 'included'")
    await migrate(database)
    assert await rows(connection, "SELECT * FROM state_transitions ORDER BY 1, 2, 3") == before
