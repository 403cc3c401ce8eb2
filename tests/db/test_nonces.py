"""Nonces against the triggers, as the tables' owner: every pair of states, and who may have which."""

import asyncio
from typing import Any

import psycopg
import pytest

from pipeline.db.pool import Connection, Pool
from pipeline.payments.states import NONCE_MOVES, NonceState
from pipeline.queue.jobs import Defer, JobType, Parked
from tests.chaos.evm_world import GAS_FUNDS, EvmDesk, EvmWorld
from tests.db.money import GAS_STATION, KEEP, new_transfer, read_past_the_expiration
from tests.db.sessions import rows, value
from tests.db.test_transitions import refused
from tests.seed import Chain, Wallet, add_wallets

GAS = JobType.GAS_TOPUP
RESERVE = "SELECT reserve_nonce(bundle_id, %s) FROM transfers WHERE id = %s"


async def told(connection: Connection, query: str, *parameters: Any) -> Any:
    """What a statement of an open transaction returns, or with which SQLSTATE it fails."""
    try:
        async with connection.transaction():
            cursor = await connection.execute(query, parameters)  # type: ignore[call-overload]
            return (await cursor.fetchone() or (None,))[0] if cursor.description else None
    except psycopg.DatabaseError as error:
        return error.sqlstate


async def test_code_and_database_know_the_same_moves(connection: Connection) -> None:
    rows = await connection.execute(
        "SELECT from_state, to_state FROM state_transitions WHERE subject = 'nonce' AND from_state <> '(new)'"
    )
    assert set(await rows.fetchall()) == {(str(start), str(end)) for start, end in NONCE_MOVES}


async def line(connection: Connection, chain: Chain, first_nonce: int = 0, finalized: int = 0) -> None:
    """The gas wallet's, looked into up to the block that was read."""
    await read_past_the_expiration(connection)
    await connection.execute(
        "INSERT INTO senders (chain_id, sender, first_nonce, finalized, final_block) VALUES (%s, %s, %s, %s, 1)",
        [chain.id, GAS_STATION, first_nonce, finalized],
    )


async def test_every_pair(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    await line(connection, tron, 7, finalized=8)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "INSERT INTO nonces (chain_id, sender, nonce, bundle_id)"
        " SELECT chain_id, from_address, 7, bundle_id FROM transfers WHERE id = %s",
        [transfer],
    )
    await connection.execute(
        "WITH request AS (INSERT INTO signing_requests (bundle_id, chain_id, sender, nonce, parameters, unsigned_bytes,"
        r" fee_cap, state) SELECT bundle_id, chain_id, from_address, 7, '{}', '\x0a', 1, 'signed' FROM transfers"
        " RETURNING *) INSERT INTO chain_transactions (bundle_id, request_id, chain_id, attempt, txid, signed_bytes,"
        r" sender, nonce, fee_cap, state) SELECT bundle_id, request_id, chain_id, 1, 'tx1', '\x0a', sender, 7, 1,"
        " 'expired' FROM request"
    )
    await connection.execute("RESET session_replication_role")
    # By the state of its payment, which has to agree.
    ends: dict[str, set[NonceState]] = {
        "requested": set(),
        "broadcasting": set(),
        "expired": {NonceState.LOST},
        "rejected": set(),
        "final": {NonceState.USED},
        "reverted": {NonceState.USED},
    }
    seen = set()
    for payment, agreed in ends.items():
        allowed = set()
        for start in NonceState:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(
                "UPDATE transfers SET state = %s, settled_at = CASE WHEN %s THEN now() END",
                [payment, payment in {"rejected", "final", "reverted"}],
            )
            await connection.execute("UPDATE nonces SET state = %s, used_by = 'outsider'", [start])
            await connection.execute("RESET session_replication_role")
            for end in NonceState:
                sqlstate = await refused(connection, "UPDATE nonces SET state = %s", end)
                if sqlstate is None:
                    allowed.add((start, end))
                else:
                    assert sqlstate in {"FP003", "FP004"}, (start, end, sqlstate)
        assert {end for start, end in allowed if start is NonceState.RESERVED and end is not start} == agreed, payment
        seen |= allowed
    # A void one goes to a gap, a lost one to what was found on the chain, and this is neither.
    given = {(NonceState.VOID, NonceState.RESERVED), (NonceState.LOST, NonceState.RESERVED)}
    # Given back only where nothing was signed (TestGivenBack).
    given |= {(NonceState.RESERVED, NonceState.VOID)}
    assert seen == NONCE_MOVES - given | {(state, state) for state in NonceState}


@pytest.mark.parametrize(
    ("state", "nonce_state"),
    [("final", "used"), ("reverted", "used"), ("expired", "lost"), ("included", "reserved")],
)
async def test_a_nonce_goes_with_its_payment(connection: Connection, tron: Chain, state: str, nonce_state: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    await line(connection, tron, 3, finalized=4)
    async with connection.transaction(force_rollback=True):
        assert await value(connection, RESERVE, 3, transfer) == 3
        await connection.execute("UPDATE nonces SET used_by = 'outsider'")
        ways = {
            "expired": ["broadcasting", "expired"],
            "included": ["broadcasting", "included"],
        }
        for step in ways.get(state, ["broadcasting", "included", state]):
            await connection.execute("UPDATE transfers SET state = %s", [step])
        assert await value(connection, "SELECT state FROM nonces") == nonce_state


async def test_handed_out_without_gap_and_never_twice(connection: Connection, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 4)
    await connection.execute("UPDATE chains SET gas_cooldown = '0'")
    transfers = [await new_transfer(connection, tron, wallet) for wallet in wallets]

    async def reserve(place: int, counted: int) -> int | str | None:
        return await told(connection, RESERVE, counted, transfers[place])

    async with connection.transaction(force_rollback=True):
        assert [await reserve(0, 0), await reserve(1, 0), await reserve(2, 1)] == [0, 1, 2]
        assert await reserve(2, 3) == "23505", "a payment has one"
        assert await reserve(3, 4) == "FP005", "a node shows one that is unrecorded"
        assert await reserve(3, 3) == 3
        await connection.execute("UPDATE transfers SET state = 'rejected' WHERE id = %s", [transfers[3]])
        assert await reserve(3, 4) is None


async def test_a_sender_that_was_used_before_is_looked_into_first(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    async with connection.transaction(force_rollback=True):
        assert await told(connection, RESERVE, 5, transfer) == "FP005"
        await connection.execute("SELECT request_reconciliation(%s, %s, 5)", [tron.id, GAS_STATION])
        assert await told(connection, RESERVE, 0, transfer) == "FP005", "whoever else says 0"
        await connection.execute("UPDATE senders SET first_nonce = 5")
        assert await told(connection, RESERVE, 5, transfer) == "FP005", "still being reconciled"
        await connection.execute("UPDATE senders SET unknown_below = NULL, unknown_since = NULL")
        assert await told(connection, RESERVE, 5, transfer) == 5


async def test_a_sender_still_being_reconciled_says_so(connection: Connection, tron: Chain) -> None:
    """Not that one is known of the one that a node counts."""
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    await line(connection, tron, 5)
    await connection.execute("SELECT request_reconciliation(%s, %s, 5)", [tron.id, GAS_STATION])
    with pytest.raises(psycopg.DatabaseError, match=r"those below nonce 5 are still being reconciled") as error:
        await connection.execute(RESERVE, [5, transfer])
    assert error.value.sqlstate == "FP005"


async def test_a_frozen_sender_gets_none(connection: Connection, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    await line(connection, tron)
    await connection.execute("SELECT freeze_sender(%s, %s, 'look')", [tron.id, GAS_STATION])
    with pytest.raises(psycopg.DatabaseError, match=r"has been frozen since .*: look") as error:
        await connection.execute(RESERVE, [0, transfer])
    assert error.value.sqlstate == "FP006"
    assert await value(connection, "SELECT release_sender('tron', %s)", GAS_STATION) == "look"
    assert await refused(connection, "SELECT release_sender('tron', %s)", GAS_STATION) == "P0002"
    async with connection.transaction(force_rollback=True):
        assert await told(connection, RESERVE, 0, transfer) == 0


async def test_none_is_reserved_without_a_request(connection: Connection, tron: Chain) -> None:
    """Later payments of the sender would wait behind it, and nobody would finish it."""
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    with pytest.raises(psycopg.DatabaseError, match="no signature is asked for with it") as error:
        await connection.execute(RESERVE, [0, transfer])
    assert error.value.sqlstate == "FP003"
    assert await value(connection, "SELECT count(*) FROM nonces") == 0


class TestGivenBack:
    """Nonces of payments for which nothing was signed; on a chain of the EVM family in all but its addresses."""

    @pytest.fixture
    async def asked(self, connection: Connection, tron: Chain) -> list[int]:
        """Bundles with nonces 0, 1, … whose signatures are asked for, each of a job of its own."""
        await connection.execute("UPDATE chains SET family = 'evm', network_id = '56', gas_cooldown = '0'")
        await line(connection, tron)
        wallets = await add_wallets(connection, tron, 3)
        return [await self.ask(connection, tron, wallet) for wallet in wallets]

    async def ask(self, connection: Connection, tron: Chain, wallet: Wallet) -> int:
        """As one process after the other, none of which has finished; so none of the guards of order is in the way."""
        transfer = await new_transfer(connection, tron, wallet)
        bundle = await value(connection, "SELECT bundle_id FROM transfers WHERE id = %s", transfer)
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO nonces (chain_id, sender, nonce, bundle_id)"
                " SELECT chain_id, sender, next_nonce(chain_id, sender), id FROM bundles WHERE id = %s",
                [bundle],
            )
            await connection.execute(
                "INSERT INTO signing_requests (bundle_id, chain_id, sender, nonce, parameters, unsigned_bytes, fee_cap)"
                r" SELECT bundle_id, chain_id, sender, nonce, '{}', '\x0a', 1 FROM nonces WHERE bundle_id = %s",
                [bundle],
            )
        return int(bundle)

    async def refuse(self, connection: Connection, bundle: int) -> int | None:
        """As who asked does it, in one commit."""
        async with connection.transaction():
            await connection.execute(
                "UPDATE signing_requests SET state = 'refused', refusal = 'no' WHERE bundle_id = %s", [bundle]
            )
            await connection.execute("UPDATE transfers SET state = 'rejected' WHERE bundle_id = %s", [bundle])
            given: int | None = await value(connection, "SELECT give_back_nonce(%s)", bundle)
        return given

    async def nonces(self, connection: Connection) -> list[tuple[Any, ...]]:
        return await rows(connection, "SELECT nonce, state FROM nonces ORDER BY nonce")

    async def test_one_that_was_signed_with_goes_to_nobody_else(
        self, connection: Connection, tron: Chain, asked: list[int]
    ) -> None:
        """Not even before its bytes are kept, in the commit that keeps them."""
        async with connection.transaction(force_rollback=True):
            await connection.execute("UPDATE signing_requests SET state = 'signed' WHERE bundle_id = %s", [asked[1]])
            with pytest.raises(psycopg.DatabaseError, match="a signature with it is asked for, and may have been"):
                await connection.execute("SELECT give_back_nonce(%s)", [asked[1]])

    async def test_the_last_ones_are_handed_out_anew(
        self, connection: Connection, tron: Chain, asked: list[int]
    ) -> None:
        assert [await self.refuse(connection, bundle) for bundle in reversed(asked[1:])] == [2, 1]
        assert await self.nonces(connection) == [(0, "reserved")]
        (wallet,) = await add_wallets(connection, tron, 1)
        await self.ask(connection, tron, wallet)
        assert await self.nonces(connection) == [(0, "reserved"), (1, "reserved")]

    async def test_one_that_later_ones_wait_for_is_filled(self, connection: Connection, asked: list[int]) -> None:
        assert await self.refuse(connection, asked[1]) == 1
        assert await self.nonces(connection) == [(0, "reserved"), (1, "void"), (2, "reserved")]
        assert await self.refuse(connection, asked[1]) is None
        assert await self.refuse(connection, asked[2]) == 2
        assert await self.nonces(connection) == [(0, "reserved"), (1, "void")]

    @pytest.mark.parametrize("then", ["DELETE FROM nonces", "UPDATE nonces SET state = 'void', bundle_id = NULL"])
    async def test_none_while_it_may_have_been_signed(
        self, connection: Connection, asked: list[int], then: str
    ) -> None:
        assert await refused(connection, "SELECT give_back_nonce(%s)", asked[2]) in {"FP003", "FP004"}
        assert await refused(connection, f"{then} WHERE nonce = 2") in {"FP003", "FP004"}
        await connection.execute(KEEP, [await self.request_of(connection, asked[2]), "tx2"])
        assert await refused(connection, "SELECT give_back_nonce(%s)", asked[2]) in {"FP003", "FP004"}
        assert await refused(connection, f"{then} WHERE nonce = 2") in {"FP003", "FP004"}

    async def request_of(self, connection: Connection, bundle: int) -> Any:
        return await value(connection, "SELECT request_id FROM signing_requests WHERE bundle_id = %s", bundle)

    async def test_the_next_payment_is_told_to_finish_it(
        self, connection: Connection, tron: Chain, asked: list[int]
    ) -> None:
        """No worker holds the job behind it, as that one's lease was never taken."""
        (wallet,) = await add_wallets(connection, tron, 1)
        transfer = await new_transfer(connection, tron, wallet)
        with pytest.raises(psycopg.DatabaseError, match=r"nonce 0 of .* its transaction is not signed") as error:
            await connection.execute(RESERVE, [0, transfer])
        assert error.value.sqlstate == "FP013"


@pytest.mark.parametrize(
    ("change", "sqlstate"),
    [
        ("INSERT INTO nonces (chain_id, sender, nonce) SELECT chain_id, sender, 4 FROM nonces", "FP004"),
        ("INSERT INTO nonces (chain_id, sender, nonce, state) SELECT chain_id, sender, 5, 'void' FROM nonces", "FP004"),
        ("INSERT INTO nonces (chain_id, sender, nonce, state) SELECT chain_id, sender, 2, 'void' FROM nonces", "FP004"),
        (
            "INSERT INTO nonces (chain_id, sender, nonce, bundle_id) "
            "SELECT chain_id, 'other', 4, bundle_id FROM nonces",
            "FP004",
        ),
        ("INSERT INTO nonces (chain_id, sender, nonce, state) SELECT chain_id, sender, 3, 'void' FROM nonces", "23505"),
        (
            "INSERT INTO nonces (chain_id, sender, nonce, state, used_by) "
            "SELECT chain_id, sender, 4, 'lost', 'outsider' FROM nonces",
            "FP004",
        ),
        ("UPDATE nonces SET state = 'used', nonce = 4", "FP004"),
    ],
)
async def test_what_is_refused(connection: Connection, tron: Chain, change: str, sqlstate: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    await line(connection, tron, 3, finalized=4)
    async with connection.transaction(force_rollback=True):
        await connection.execute(RESERVE, [3, transfer])
        assert await told(connection, change) == sqlstate


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'gap'",
        "to_address = from_address",
        "job_id = NULL",
    ],
)
async def test_no_payment_becomes_a_gap(connection: Connection, tron: Chain, change: str) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await new_transfer(connection, tron, wallet)
    assert await refused(connection, f"UPDATE transfers SET {change}") in {"FP004", "23514"}  # noqa: S608


async def test_a_gap_pays_its_own_sender_and_is_nobodys_job(connection: Connection, tron: Chain) -> None:
    insert = (
        "INSERT INTO transfers (kind, chain_id, asset_on_chain_id, from_address, to_address, amount, fee_reserved, "
        "idempotency_key) VALUES ('gap', %s, %s, 'Ta', %s, 1, 0, 'gap')"
    )
    assert await refused(connection, insert, tron.id, tron.native_id, "Tb") == "23514"
    assert await refused(connection, insert, tron.id, tron.token_id, "Ta") == "FP004"
    assert await refused(connection, insert, tron.id, tron.native_id, "Ta") is None


async def test_an_evm_attempt_needs_a_nonce(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    wallet = await evm.wallet()
    await evm.flag(wallet, gas=True)
    await evm_desk.run(GAS)
    with pytest.raises(psycopg.DatabaseError, match="a nonce is for EVM chains, and needed there"):
        await evm.connection.execute(
            "SET session_replication_role = replica; UPDATE transfers SET state = 'requested'; "
            "RESET session_replication_role; "
            "INSERT INTO signing_requests (bundle_id, chain_id, sender, expiration, parameters, unsigned_bytes,"
            r" fee_cap) SELECT bundle_id, chain_id, sender, now(), '{}', '\x0a', 1 FROM chain_transactions"
        )


async def test_two_processes_share_one_line(
    evm: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk, pool: Pool
) -> None:
    for _ in range(40):
        await evm.wallet()
    await evm.connection.execute("UPDATE wallets SET needs_gas = true")
    mine = await evm_desk.queue.enqueue_and_claim(GAS, 20)
    theirs = await other_evm_desk.queue.enqueue_and_claim(GAS, 20)
    outcomes = await asyncio.gather(evm_desk.run(GAS, mine), other_evm_desk.run(GAS, theirs))
    assert [outcome for pairs in outcomes for _, outcome in pairs] == [Parked()] * 40
    await evm_desk.settle()
    assert await evm.nonces() == [(nonce, "used") for nonce in range(40)]
    assert len({one.receiver for one in await evm.paid_gas()}) == 40
    await evm.assert_database_equals_chain()


async def test_a_gas_wallet_that_runs_empty_in_the_middle(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    """What it can pay is paid; the others wait, and nobody waits behind a nonce that was never signed."""
    await evm.network.node.call("anvil_setBalance", evm.gas_address, hex(GAS_FUNDS * 25 // 100_000))
    await evm.network.finalize()
    for _ in range(5):
        await evm.wallet()
    await evm.connection.execute("UPDATE wallets SET needs_gas = true")
    outcomes = [outcome for _, outcome in await evm_desk.run(GAS)]
    assert outcomes.count(Parked()) == 2
    waiting = [outcome for outcome in outcomes if isinstance(outcome, Defer)]
    assert len(waiting) == 3
    assert "send BNB to it" in waiting[0].reason
    assert [state for _, state in await evm.nonces()] == ["reserved", "reserved"]
    await evm_desk.settle()
    assert len(await evm.paid_gas()) == 2
    await evm.network.fund(evm.gas_address, GAS_FUNDS)
    await evm.network.finalize()
    await evm.connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'pending'")
    await evm_desk.run(GAS)
    await evm_desk.settle()
    assert len(await evm.paid_gas()) == 5
    await evm.assert_database_equals_chain()


async def test_a_network_above_the_cap_makes_jobs_wait_and_say_so(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    wallet = await evm.wallet()
    await evm.flag(wallet, gas=True)
    await evm.price(2_000_000)
    ((_, outcome),) = await evm_desk.run(GAS)
    assert isinstance(outcome, Defer)
    assert "the base fee on bsc is" in outcome.reason
    (job,) = await evm.jobs()
    assert (job["status"], job["retry_count"]) == ("pending", 0)
    assert await evm.nonces() == []
