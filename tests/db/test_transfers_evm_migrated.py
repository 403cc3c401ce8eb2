"""A database of the version before numbering, signing and handing over were one commit (0009), with payments under way
in each state that version left behind when it was stopped or killed: all of them end, once."""

import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pipeline.chains.evm.codec.transaction import EvmTransfer, GasPrice, digest, encode, join, txid
from pipeline.chains.values import Family, Finality
from pipeline.db.migrate import migrate
from pipeline.db.pool import pool_of
from pipeline.keys.derivation import GAS_INDEX
from pipeline.local.anvil_proxy import SEND
from pipeline.payments.intents import Kind
from pipeline.queue.jobs import JobType
from pipeline.signing.local import LocalSigner
from tests.chains.provider.evm_network import CHAIN_ID, EvmNetwork
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.chaos.world import MNEMONIC
from tests.db.sessions import second_session
from tests.seed import USDT, Wallet

BEFORE = Path(__file__).parent / "version_0008.sql.gz"
"""pg_dump of a database of that version, schema and state_transitions, with all its functions, triggers and roles."""
ACTIVE, FAILED, RETRYING = "active", "failed", "retrying"


class OldBooks(EvmWorld):
    """The database before it is migrated: rows as that version wrote them."""

    async def job(self, wallet: Wallet, status: str, job_type: JobType = JobType.GAS_TOPUP) -> UUID:
        """Held by a worker that is gone, if it is active."""
        row = await self.row(
            "INSERT INTO job_logs (job_type, status, wallet_id, wallet_address, chain_id, lease, leased_by, "
            "lease_deadline, started_at, completed_at) "
            "SELECT %s, %s, id, address, chain_id, 1, gen_random_uuid(), now(), now(), "
            "CASE WHEN %s = 'failed' THEN now() END FROM wallets WHERE id = %s RETURNING id",
            *(job_type, status, status, wallet.id),
        )
        return UUID(str(row["id"]))

    async def payment(
        self, wallet: Wallet, state: str, nonce: int | None, *, job: str = ACTIVE, kind: Kind = Kind.GAS
    ) -> bytes:
        """In a state, with a nonce that is reserved for it, and bytes unless it is only requested; the bytes."""
        gas = kind is Kind.GAS
        sender, receiver = (self.gas_address, wallet.address) if gas else (wallet.address, self.treasury)
        amount, contract = (FINNEY, None) if gas else (250 * USDT, self.token)
        row = await self.row(
            "INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, "
            "amount, idempotency_key, state) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, gen_random_uuid(), %s) RETURNING id",
            *(kind, await self.job(wallet, job, JobType.GAS_TOPUP if gas else JobType.CONSOLIDATION), self.chain_id),
            *(wallet.id, self.native_id if gas else self.token_id, sender, receiver, amount, state),
        )
        if nonce is None:
            return b""
        await self.connection.execute(
            "INSERT INTO nonces (chain_id, sender, nonce, transfer_id) VALUES (%s, %s, %s, %s)",
            [self.chain_id, sender, nonce, row["id"]],
        )
        if state == "broadcasting":
            await self.connection.execute(
                "UPDATE job_logs SET awaiting_chain = true, leased_by = NULL, lease_deadline = NULL "
                "WHERE wallet_id = %s",
                [wallet.id],
            )
        if state == "requested":
            return b""
        raw = encode(
            EvmTransfer(CHAIN_ID, nonce, receiver, amount, contract, 21_000 if gas else 100_000, GasPrice(1_000, 1))
        )
        index = GAS_INDEX if gas else wallet.derivation_index
        signed = join(raw, await LocalSigner(MNEMONIC).sign_digest(Family.EVM, index or 0, digest(raw)))
        final = await self.network.provider().block_ref(Finality.FINAL)
        await self.connection.execute(
            "INSERT INTO chain_transactions (transfer_id, chain_id, attempt, txid, signed_bytes, sender, nonce, "
            "ref_block, fee_cap, state, first_broadcast_at) VALUES (%s, %s, 1, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                *(row["id"], self.chain_id, txid(signed), signed, sender, nonce, final.number, 1_000 * 100_000, state),
                None if state == "signed" else final.timestamp - timedelta(days=1),
            ],
        )
        return signed


@pytest.fixture
async def old(template: str, empty_database: str, network: EvmNetwork) -> AsyncIterator[OldBooks]:
    """On a server that has the roles, as ``template`` was migrated. Its triggers rest while the rows are written, which
    came about step by step."""
    async with second_session(empty_database) as session:
        await session.execute("SET check_function_bodies = off")
        await session.execute(gzip.decompress(BEFORE.read_bytes()))
        await session.execute("SET session_replication_role = replica")
        world = await OldBooks.found(session, network)
        assert isinstance(world, OldBooks)
        yield world


async def migrated(old: OldBooks, dsn: str) -> None:
    """To this version, and what the dead workers held is rescued."""
    await old.connection.execute("SET session_replication_role = origin")
    await migrate(dsn)
    await old.connection.execute("SELECT * FROM rescue_jobs('0 s', '0 s')")


async def carry_on(old: OldBooks, desk: EvmDesk) -> None:
    for _ in range(6):
        await old.connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")
        await desk.run(JobType.GAS_TOPUP)
        await desk.run(JobType.CONSOLIDATION)
        await desk.upkeep(Kind.GAS).round()
        await desk.upkeep(Kind.CONSOLIDATION).round()
        await desk.settle()


@pytest.fixture
async def opened(old: OldBooks, empty_database: str) -> AsyncIterator[Any]:
    """Migrates, and gives a desk of this version."""
    async with (
        pool_of(empty_database, "test", role="pipeline_executor", min_size=0) as pool,
        pool_of(empty_database, "confirming", role="pipeline_confirmations", min_size=0) as confirming,
    ):

        async def open_desk() -> EvmDesk:
            await migrated(old, empty_database)
            return EvmDesk(old, pool, confirming)

        yield open_desk


async def settled(old: OldBooks, desk: EvmDesk) -> None:
    """All is over, and the books say what the chain says."""
    await desk.close()
    states = await old.rows("SELECT DISTINCT state FROM transfers WHERE kind <> 'gap'")
    assert [row["state"] for row in states] == ["final"]
    assert await old.rows("SELECT 1 FROM nonces WHERE state <> 'used'") == []
    assert await old.rows("SELECT 1 FROM job_logs WHERE status = 'active'") == []
    await old.assert_books_equal_chain()


async def test_a_nonce_was_reserved_and_nothing_signed(old: OldBooks, opened: Any) -> None:
    """Killed in between: the payment is made with the next nonce, and the one it had is filled."""
    wallet, later = await old.wallet(), await old.wallet()
    await old.payment(wallet, "requested", 0)
    signed = await old.payment(later, "broadcasting", 1)
    await old.network.node.call(SEND, "0x" + signed.hex())
    desk = await opened()
    assert await old.nonces() == [(0, "void"), (1, "reserved")]
    await carry_on(old, desk)
    assert sorted(one.receiver for one in await old.paid_gas()) == sorted([wallet.address, later.address])
    assert len(await old.gaps()) == 1
    await settled(old, desk)


@pytest.mark.parametrize("job", [ACTIVE, RETRYING, FAILED])
@pytest.mark.parametrize("kind", [Kind.GAS, Kind.CONSOLIDATION])
@pytest.mark.parametrize("left", ["not sent", "sent"])
async def test_bytes_were_kept_and_not_handed_over(old: OldBooks, opened: Any, job: str, kind: Kind, left: str) -> None:
    """Whether they were sent nobody can say, if commits were lost: they are followed to their end, not signed anew."""
    wallet = await old.wallet(usdt=250 * USDT if kind is Kind.CONSOLIDATION else 0, trx=FINNEY // 10)
    await old.network.finalize()
    signed = await old.payment(wallet, "signed", 0, job=job, kind=kind)
    if left == "sent":
        await old.network.node.call(SEND, "0x" + signed.hex())
    desk = await opened()
    (transfer,) = await old.transfers()
    assert transfer["state"] == "broadcasting"
    await carry_on(old, desk)
    assert [one.txid for one in await old.payments()] == [txid(signed)]
    await settled(old, desk)


async def test_one_of_two_assets_was_signed(old: OldBooks, opened: Any) -> None:
    """The job waits for what is out, and comes back for the rest."""
    wallet = await old.wallet(usdt=250 * USDT, trx=FINNEY)
    token_id, token = await old.add_token("SilentToken")
    await old.mint(token, wallet, 500)
    await old.network.finalize()
    await old.payment(wallet, "signed", 0, kind=Kind.CONSOLIDATION)
    await old.connection.execute(
        "WITH second AS (INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, "
        "to_address, amount, idempotency_key) "
        "SELECT kind, job_id, chain_id, wallet_id, %s, from_address, to_address, 500, 'second' FROM transfers "
        "RETURNING id, chain_id, from_address) "
        "INSERT INTO nonces (chain_id, sender, nonce, transfer_id) SELECT chain_id, from_address, 1, id FROM second",
        [token_id],
    )
    desk = await opened()
    await desk.close()
    desk = EvmDesk(old, desk.pool, desk.confirming, assets=[token])
    await carry_on(old, desk)
    assert sorted(one.amount for one in await old.swept()) == [500, 250 * USDT]
    await settled(old, desk)


async def test_a_payment_that_was_asked_for_and_has_no_nonce(old: OldBooks, opened: Any) -> None:
    wallet = await old.wallet()
    await old.payment(wallet, "requested", None)
    desk = await opened()
    await carry_on(old, desk)
    assert [one.receiver for one in await old.paid_gas()] == [wallet.address]
    await settled(old, desk)
