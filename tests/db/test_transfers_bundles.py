"""A transaction that carries several payments: each is settled by an effect of its own, and has its place."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pipeline.chains.values import BlockRef, Effect, TransactionResult
from pipeline.db.pool import Connection, pool_of
from pipeline.payments.ending import FoundAttempt
from pipeline.payments.live import LiveAttempt
from pipeline.payments.settle.store import SettlementStore
from tests.db.money import GAS_STATION, TREASURY, ask, keep, new_job, new_transfer
from tests.db.sessions import rows, until_blocked, value
from tests.seed import TRX, Chain, add_wallets

BLOCK = BlockRef(7, "b7", datetime.now(UTC))
FEE = 10
AMOUNT = 5 * TRX
_keys = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Bundle:
    """Equal payments of one sender to one receiver, in one transaction that is out."""

    transfers: list[int]
    attempt: LiveAttempt


@pytest.fixture
async def store(database: str) -> AsyncIterator[SettlementStore]:
    async with pool_of(database, "test", role="pipeline_confirmations", max_size=1) as pool:
        yield SettlementStore(pool)


@pytest.fixture
async def bundle(connection: Connection, tron: Chain, store: SettlementStore) -> Bundle:
    """Two equal withdrawals, and one more."""
    transfers: list[int] = []
    shared = None
    for wallet, amount in zip(await add_wallets(connection, tron, 3), (AMOUNT, AMOUNT, 2 * AMOUNT), strict=True):
        job = await new_job(connection, wallet)
        await connection.execute("UPDATE job_logs SET awaiting_chain = true WHERE id = %s", [job])
        transfer, shared = (
            await rows(
                connection,
                "INSERT INTO transfers (kind, bundle_id, job_id, chain_id, wallet_id, asset_on_chain_id, from_address,"
                " to_address, amount, fee_reserved, idempotency_key)"
                " VALUES ('withdrawal', %s, %s, %s, %s, %s, %s, %s, %s, 0, %s) RETURNING id, bundle_id",
                *(shared, job, tron.id, wallet.id, tron.native_id, GAS_STATION, TREASURY, amount),
                f"withdrawal:{next(_keys)}",
            )
        )[0]
        transfers.append(transfer)
    await keep(connection, await ask(connection, transfers[0]))
    (attempt,) = await store.live(tron.id)
    return Bundle(transfers, attempt)


def showing(bundle: Bundle, *amounts: int, success: bool = True) -> FoundAttempt:
    """A final block in which the transaction moved these amounts."""
    effects = tuple(Effect(None, GAS_STATION, TREASURY, amount, f"o{place}") for place, amount in enumerate(amounts))
    return FoundAttempt(bundle.attempt, TransactionResult(bundle.attempt.signed.txid, BLOCK, success, FEE, effects))


async def ends(connection: Connection) -> Sequence[tuple[object, ...]]:
    return await rows(connection, "SELECT state, place, fee_paid FROM transfers ORDER BY id")


class TestBundle:
    async def test_an_attempt_carries_all_its_payments(self, bundle: Bundle) -> None:
        assert [one.id for one in bundle.attempt.transfers] == bundle.transfers
        assert [one.amount for one in bundle.attempt.payments] == [AMOUNT, AMOUNT, 2 * AMOUNT]

    async def test_equal_payments_are_settled_each_by_its_own_effect(
        self, connection: Connection, store: SettlementStore, bundle: Bundle
    ) -> None:
        settled = await store.settle_one(showing(bundle, AMOUNT, 2 * AMOUNT, AMOUNT))
        assert sorted(row["transfer_id"] for row in settled) == bundle.transfers
        assert await ends(connection) == [("final", "o0", 4), ("final", "o2", 3), ("final", "o1", 3)]
        assert await value(connection, "SELECT fee_paid FROM chain_transactions") == FEE
        jobs = await rows(connection, "SELECT status, data ->> 'outcome' FROM job_logs")
        assert jobs == [("completed", "sent")] * 3

    async def test_an_effect_settles_no_second_payment(
        self, connection: Connection, store: SettlementStore, bundle: Bundle
    ) -> None:
        """One of the two equal ones was left out: it did not happen, and the transaction is final all the same."""
        await store.settle_one(showing(bundle, AMOUNT, 2 * AMOUNT))
        assert [(state, place) for state, place, _ in await ends(connection)] == [
            ("final", "o0"),
            ("reverted", None),
            ("final", "o1"),
        ]
        assert await value(connection, "SELECT state FROM chain_transactions") == "final"
        assert await rows(
            connection, "SELECT j.status FROM transfers t JOIN job_logs j ON j.id = t.job_id ORDER BY t.id"
        ) == [
            ("completed",),
            ("failed",),
            ("completed",),
        ]

    async def test_a_failure_is_of_all_of_them(
        self, connection: Connection, store: SettlementStore, bundle: Bundle
    ) -> None:
        await store.settle_one(showing(bundle, success=False))
        assert [state for state, _, _ in await ends(connection)] == ["reverted"] * 3
        assert await value(connection, "SELECT state FROM chain_transactions") == "reverted"

    async def test_a_second_worker_settles_nothing_again(
        self, connection: Connection, store: SettlementStore, bundle: Bundle
    ) -> None:
        finding = showing(bundle, AMOUNT, AMOUNT, 2 * AMOUNT)
        assert len(await store.settle_one(finding)) == 3
        before = await rows(connection, "SELECT transfers FROM transfers ORDER BY id")
        assert await store.settle_one(finding) == []
        assert await rows(connection, "SELECT transfers FROM transfers ORDER BY id") == before

    async def test_a_fork_and_a_proof_of_expiry_are_of_all_of_them(
        self, connection: Connection, store: SettlementStore, tron: Chain, bundle: Bundle
    ) -> None:
        await store.include([(bundle.attempt, BLOCK)])
        assert await rows(connection, "SELECT DISTINCT state FROM transfers") == [("included",)]
        await store.reorg([bundle.attempt])
        assert await rows(connection, "SELECT DISTINCT state FROM transfers") == [("broadcasting",)]
        await store.advance(tron.id, None, BlockRef(9, "b9", datetime.now(UTC) + timedelta(hours=1)))
        assert await store.expire(tron.id, [bundle.attempt], "in none of the blocks") is not None
        assert await rows(connection, "SELECT DISTINCT state FROM transfers") == [("expired",)]


class TestTheDatabaseRefuses:
    async def test_one_effect_for_two_payments(
        self, connection: Connection, store: SettlementStore, bundle: Bundle
    ) -> None:
        await store.include([(bundle.attempt, BLOCK)])
        await connection.execute("UPDATE chain_transactions SET state = 'final'")
        with pytest.raises(psycopg.errors.UniqueViolation, match="transfers_one_per_effect"):
            await connection.execute("UPDATE transfers SET state = 'final', place = 'o0', settled_at = now()")

    async def test_all_payments_reverted_of_a_final_transaction(
        self, connection: Connection, store: SettlementStore, bundle: Bundle
    ) -> None:
        """Money has moved: it may not be decided anew for all of them."""
        await store.include([(bundle.attempt, BLOCK)])
        await connection.execute("UPDATE chain_transactions SET state = 'final'")
        with pytest.raises(psycopg.Error) as refused:
            await connection.execute("UPDATE transfers SET state = 'reverted', settled_at = now()")
        assert refused.value.sqlstate == "FP003"

    async def test_a_final_payment_of_a_reverted_transaction(
        self, connection: Connection, store: SettlementStore, bundle: Bundle
    ) -> None:
        await store.include([(bundle.attempt, BLOCK)])
        await connection.execute("UPDATE chain_transactions SET state = 'reverted'")
        with pytest.raises(psycopg.Error) as refused:
            await connection.execute(
                "UPDATE transfers SET state = 'final', settled_at = now() WHERE id = %s", [bundle.transfers[0]]
            )
        assert refused.value.sqlstate == "FP003"


async def test_nothing_joins_a_bundle_while_its_signature_is_asked_for(
    connection: Connection, tron: Chain, database: str
) -> None:
    """What its bytes carry was read from the rows before: neither waits for a commit of the other without knowing."""
    first, second = await add_wallets(connection, tron, 2)
    job = await new_job(connection, second)
    transfer = await new_transfer(connection, tron, first)
    (shared,) = (await rows(connection, "SELECT bundle_id FROM transfers"))[0]
    async with await psycopg.AsyncConnection.connect(database) as asking:
        await ask(asking, transfer)
        join = asyncio.create_task(new_transfer(connection, tron, second, job=job, bundle=shared))
        await until_blocked(asking, connection)
        await asking.commit()
        with pytest.raises(psycopg.DatabaseError, match="a signature was asked for bundle") as refused:
            await join
    assert refused.value.sqlstate == "FP004"


async def test_no_signature_is_asked_for_while_a_payment_joins_the_bundle(
    connection: Connection, tron: Chain, database: str
) -> None:
    """Who asks waits for it, and sees it."""
    first, second = await add_wallets(connection, tron, 2)
    job = await new_job(connection, second)
    transfer = await new_transfer(connection, tron, first)
    (shared,) = (await rows(connection, "SELECT bundle_id FROM transfers"))[0]
    async with await psycopg.AsyncConnection.connect(database) as joining:
        await new_transfer(joining, tron, second, job=job, bundle=shared)
        await connection.execute("SET lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await ask(connection, transfer, fee_cap=0)
