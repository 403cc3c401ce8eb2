"""What may still land, against statements of the roles that move money: nobody expires it, replaces it, ends its
payment or gives its nonce away, or it would be paid twice. Who asks for payments may say nothing of what became of
them; who follows them on the chain is asked for the proof."""

from collections.abc import Sequence

import psycopg
import pytest

from pipeline.chains.values import Finality
from pipeline.queue.jobs import JobType
from tests.chaos.evm_world import EvmDesk, EvmWorld
from tests.chaos.world import Desk, World
from tests.db.paying_kit import leave_asked, states
from tests.db.test_transfers_evm_stuck import outsider, stuck
from tests.seed import USDT, Wallet

GAS = JobType.GAS_TOPUP
EXPIRED = "UPDATE chain_transactions SET state = 'expired'"
REPLACED = "UPDATE chain_transactions SET state = 'replaced'"
PAYMENT_EXPIRED = "UPDATE transfers SET state = 'expired'"


EXECUTOR, CONFIRMATIONS = "pipeline_executor", "pipeline_confirmations"


async def refused(world: World, *statements: str, role: str = CONFIRMATIONS) -> str | None:
    """What a role is told, all undone; None if the statements succeed."""
    try:
        async with world.connection.transaction(force_rollback=True):
            await world.connection.execute(f"SET LOCAL ROLE {role}")  # type: ignore[call-overload]
            for statement in statements:
                await world.connection.execute(statement)  # type: ignore[call-overload]
            await world.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.DatabaseError as error:
        if error.sqlstate not in ({"FP003", "FP004"} if role == CONFIRMATIONS else {"FP003", "FP004", "42501"}):
            raise
        return error.diag.message_primary
    return None


async def assert_all_refused(world: World, lies: Sequence[Sequence[str]], *roles: str) -> None:
    """Each alone, of each role; the state of before is there for the next one."""
    believed = [(role, lie) for role in roles for lie in lies if await refused(world, *lie, role=role) is None]
    assert believed == []


async def out(world: World, desk: Desk) -> None:
    """A top-up is out and in no block, and final blocks are read beyond it where that can be."""
    wallet = await world.wallet(usdt=250 * USDT)
    if isinstance(world, EvmWorld):
        await world.network.finalize()
    else:
        await world.devnet.solidify()
    await world.flag(wallet, gas=True, consolidation=True)
    await desk.run(GAS)


@pytest.fixture
async def on_evm(evm: EvmWorld, evm_desk: EvmDesk) -> EvmWorld:
    """Lost from the node's pool, and blocks have passed: it may come back at any time, for ever."""
    await out(evm, evm_desk)
    await evm.network.node.call("anvil_dropAllTransactions")
    for _ in range(3):
        await evm.network.finalize()
        await evm_desk.settlement.round()
        await evm.network.node.call("anvil_dropAllTransactions")
    assert (await states(evm))[1:] == (["broadcasting"], ["broadcasting"])
    return evm


@pytest.fixture
async def on_tron(world: World, desk: Desk) -> World:
    await desk.settlement.round()
    await out(world, desk)
    return world


@pytest.fixture
async def on_asked(world: World, desk: Desk) -> World:
    """A signature was asked for and given, and the worker died before its bytes were kept."""
    await desk.settlement.round()
    wallet = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    await world.flag(wallet, gas=True, consolidation=True)
    await leave_asked(world, desk, signed=True)
    return world


AGAIN = """
INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount,
                       fee_reserved, idempotency_key)
SELECT kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount, 0, 'again' FROM transfers
"""

ASK_REPLACEMENT = """
INSERT INTO signing_requests (bundle_id, chain_id, sender, replaces, nonce, ref_block, parameters, unsigned_bytes,
                              fee_cap)
SELECT bundle_id, chain_id, sender, id, nonce, ref_block, '{}', 'x', 1 FROM chain_transactions
WHERE state = 'broadcasting'
"""
"""As who pays may: one more attempt of the payment that is out."""
KEEP_IT = """
WITH request AS (
    UPDATE signing_requests SET state = 'signed' WHERE state = 'asked' RETURNING *
), payment AS (
    UPDATE transfers t SET state = 'broadcasting' FROM request r
    WHERE t.bundle_id = r.bundle_id AND t.state = 'requested'
)
INSERT INTO chain_transactions (bundle_id, request_id, chain_id, attempt, txid, signed_bytes, sender, nonce, ref_block,
                                expiration, fee_cap)
SELECT bundle_id, request_id, chain_id, CASE WHEN replaces IS NULL THEN 1 ELSE 2 END, %s, %s, sender, nonce, ref_block,
       expiration, fee_cap FROM request
"""
"""Bytes of its choice for what it asked to be signed: their txid, and the bytes."""

PARTS_OF_THE_LIE = [
    [EXPIRED],
    [EXPIRED, PAYMENT_EXPIRED],
    [REPLACED],
    [REPLACED, PAYMENT_EXPIRED],
    [PAYMENT_EXPIRED],
    ["UPDATE transfers SET state = 'included'", "UPDATE transfers SET state = 'reverted', settled_at = now()"],
    ["UPDATE transfers SET state = 'included'", "UPDATE transfers SET state = 'final', settled_at = now()"],
]


async def test_what_may_land_is_not_over_on_evm(on_evm: EvmWorld) -> None:
    await assert_all_refused(on_evm, PARTS_OF_THE_LIE, EXECUTOR, CONFIRMATIONS)


async def test_what_may_land_is_not_over_on_tron(on_tron: World) -> None:
    await assert_all_refused(on_tron, PARTS_OF_THE_LIE, EXECUTOR, CONFIRMATIONS)


WHOLE_LIES = {
    "it is in a block and failed": [
        "UPDATE chain_transactions SET state = 'included', block_number = 1, block_id = 'b', block_time = now()",
        "UPDATE transfers SET state = 'included'",
        "UPDATE chain_transactions SET state = 'reverted'",
        "UPDATE transfers SET state = 'reverted', settled_at = now()",
    ],
    "it is in a block of the far future": [
        "UPDATE chain_transactions SET state = 'included', block_number = 1000000000, block_id = 'b', "
        "block_time = now()",
    ],
    "its blocks were read": [
        "UPDATE chain_cursors SET block_number = block_number + 1000, block_time = now() + interval '1 day'",
        "UPDATE senders SET finalized = 9, final_block = 1000",
        "UPDATE nonces SET lost_at_block = 1000, used_by = 'outsider'",
        EXPIRED,
        PAYMENT_EXPIRED,
    ],
    "it was found on the chain": [
        "INSERT INTO chain_transactions (bundle_id, chain_id, attempt, txid, signed_bytes, sender, nonce, ref_block,"
        " fee_cap, state, found_on_chain, block_number) SELECT bundle_id, chain_id, 2, 'tx2', '', sender, nonce,"
        " ref_block, 1, 'included', true, 1 FROM chain_transactions",
    ],
}


@pytest.mark.parametrize("lie", WHOLE_LIES)
async def test_who_pays_cannot_forge_what_became_of_it(on_evm: EvmWorld, lie: str) -> None:
    """Whatever it writes, in whatever order: it is not this role that reads the chain."""
    for last in range(1, len(WHOLE_LIES[lie]) + 1):
        said = await refused(on_evm, *WHOLE_LIES[lie][:last], role=EXECUTOR)
        if said is not None:
            assert any(words in said for words in ("permission denied", "row-level security", "was not found")), said
            return
    pytest.fail("believed")


async def test_who_pays_cannot_touch_what_is_in_a_block(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    """Not even back to where it was: its end would pass by a payment that is not there."""
    await evm_desk.settlement.round()
    await out(evm, evm_desk)
    await evm_desk.pass_blocks(1)
    assert (await states(evm))[1:] == (["included"], ["included"])
    for table in ("transfers", "chain_transactions"):
        async with evm.connection.transaction(force_rollback=True):
            await evm.connection.execute("SET LOCAL ROLE pipeline_executor")
            changed = await evm.connection.execute(f"UPDATE {table} SET state = 'broadcasting'")  # type: ignore[call-overload] # noqa: S608
            assert changed.rowcount == 0, table


PARTS_OF_A_PROOF = [
    ["UPDATE chain_cursors SET block_number = block_number - 1"],
    ["UPDATE chain_cursors SET block_time = block_time - interval '1 second'"],
    ["UPDATE senders SET finalized = 9, final_block = 1000000"],
    ["UPDATE senders SET finalized = 9, final_block = 1", "UPDATE senders SET finalized = 8"],
    ["UPDATE senders SET finalized = 9, final_block = 2", "UPDATE senders SET final_block = 1"],
    ["UPDATE senders SET first_nonce = 9"],
    ["UPDATE nonces SET lost_at_block = 1000000, used_by = 'outsider'", EXPIRED],
    ["UPDATE nonces SET lost_at_block = 2, used_by = (SELECT txid FROM chain_transactions)", EXPIRED],
]


async def test_a_proof_grows_and_fits(on_evm: EvmWorld) -> None:
    """For the role that reads the chain, too: no count goes back, and none is of blocks that were not read."""
    await assert_all_refused(on_evm, PARTS_OF_A_PROOF, CONFIRMATIONS)


@pytest.mark.parametrize("role", [EXECUTOR, CONFIRMATIONS])
async def test_a_frozen_sender_is_released_by_people(on_evm: EvmWorld, role: str) -> None:
    await on_evm.connection.execute("SELECT freeze_sender(%s, %s, 'look')", [on_evm.chain_id, on_evm.gas_address])
    for statement in (
        "UPDATE senders SET frozen = NULL, frozen_since = NULL",
        f"SELECT release_sender('bsc', '{on_evm.gas_address}')",
    ):
        async with on_evm.connection.transaction(force_rollback=True):
            await on_evm.connection.execute(f"SET LOCAL ROLE {role}")  # type: ignore[call-overload]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await on_evm.connection.execute(statement)  # type: ignore[call-overload]


async def test_bytes_are_not_kept_without_a_request(on_evm: EvmWorld) -> None:
    """None that nobody asked for, none of a request that is answered already, none of what was refused."""
    bytes_of = (
        "INSERT INTO chain_transactions (bundle_id, request_id, chain_id, attempt, txid, signed_bytes, sender, nonce,"
        r" ref_block, fee_cap) SELECT r.bundle_id, r.request_id, r.chain_id, 2, 'tx2', '\x0a', r.sender, r.nonce,"
        " r.ref_block, r.fee_cap FROM signing_requests r WHERE r.state = '{}'"
    )
    refuse = "UPDATE signing_requests SET state = 'refused', refusal = 'no' WHERE state = 'asked'"
    assert await refused(on_evm, ASK_REPLACEMENT, bytes_of.format("asked"), role=EXECUTOR) is not None
    assert await refused(on_evm, ASK_REPLACEMENT, refuse, bytes_of.format("refused"), role=EXECUTOR) is not None
    with pytest.raises(psycopg.errors.UniqueViolation):
        await refused(on_evm, bytes_of.format("signed"), role=EXECUTOR)


async def test_a_second_live_attempt_on_tron(on_tron: World) -> None:
    said = await refused(
        on_tron,
        "INSERT INTO signing_requests (bundle_id, chain_id, sender, ref_block, expiration, parameters, unsigned_bytes,"
        " fee_cap) SELECT bundle_id, chain_id, sender, ref_block, expiration, parameters, unsigned_bytes, 1"
        " FROM signing_requests",
        role=EXECUTOR,
    )
    assert said is not None
    assert "not all of its payments are requested" in said


@pytest.mark.parametrize("role", [EXECUTOR, CONFIRMATIONS, "none"])
async def test_what_may_be_signed_is_given_up_by_nobody(on_asked: World, role: str) -> None:
    """Not its payment, and not by who says that nothing was signed while somebody keeps the bytes."""
    assert await refused(on_asked, "UPDATE transfers SET state = 'rejected', settled_at = now()", role=role) is not None


@pytest.mark.parametrize("role", [EXECUTOR, "none"])
async def test_a_request_is_signed_with_its_bytes(on_asked: World, role: str) -> None:
    """Else nobody asks for it again, and its payment is neither sent nor given up: it stands in the way for ever."""
    signed = "UPDATE signing_requests SET state = 'signed' WHERE state = 'asked'"
    given_up = "UPDATE transfers SET state = 'rejected', settled_at = now()"
    for statements in ([signed], [signed, given_up]):
        said = await refused(on_asked, *statements, role=role)
        assert said is not None
        assert "no bytes are kept" in said


@pytest.mark.parametrize("role", [EXECUTOR, "none"])
async def test_a_request_is_refused_with_its_nonce(
    evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, role: str
) -> None:
    """Else later payments of the sender wait behind a nonce that nobody fills."""
    await leave_asked(evm, evm_desk)
    refuse = "UPDATE signing_requests SET state = 'refused', refusal = 'by hand'"
    give_back = "SELECT give_back_nonce(bundle_id) FROM transfers"
    said = await refused(evm, refuse, role=role)
    assert said is not None
    assert "no signature is asked for with it" in said
    assert await refused(evm, refuse, give_back, role=role) is None


@pytest.mark.parametrize("state", ["void", "lost", "used"])
async def test_a_nonce_under_live_bytes_stays(on_evm: EvmWorld, state: str) -> None:
    said = await refused(on_evm, f"UPDATE nonces SET state = '{state}'")  # noqa: S608
    assert said is not None
    assert f"cannot become {state}" in said


async def test_a_nonce_that_another_payment_signed_with(on_evm: EvmWorld) -> None:
    """Even if it is recorded as reserved for this one."""
    other = await on_evm.wallet()
    await on_evm.flag(other, gas=True)
    await on_evm.connection.execute(
        "INSERT INTO job_logs (job_id, job_type, wallet_address, status, lease)"
        " VALUES ('j2', 'gas-topup', %s, 'active', 1)",
        [other.address],
    )
    await on_evm.connection.execute(
        "INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount,"
        " fee_reserved, idempotency_key) SELECT 'gas', j.id, t.chain_id, j.wallet_id, t.asset_on_chain_id,"
        " t.from_address, %s, 1, 0, 'k2' FROM transfers t, job_logs j WHERE j.job_id = 'j2'",
        [other.address],
    )
    await on_evm.connection.execute("SET session_replication_role = replica")
    await on_evm.connection.execute(
        "UPDATE nonces SET bundle_id = (SELECT bundle_id FROM transfers WHERE idempotency_key = 'k2')"
    )
    await on_evm.connection.execute("RESET session_replication_role")
    said = await refused(
        on_evm,
        "INSERT INTO signing_requests (bundle_id, chain_id, sender, nonce, ref_block, parameters, unsigned_bytes,"
        " fee_cap) SELECT t.bundle_id, t.chain_id, r.sender, r.nonce, r.ref_block, r.parameters, r.unsigned_bytes, 1"
        " FROM transfers t, signing_requests r WHERE t.idempotency_key = 'k2'",
        role=EXECUTOR,
    )
    assert said is not None
    assert "another bundle was signed with nonce 0" in said


async def test_a_replacement_and_its_first_attempt(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    wallet = await evm.wallet(usdt=250 * USDT)
    await evm.network.finalize()
    await evm.flag(wallet, gas=True, consolidation=True)
    await stuck(evm, evm_desk)
    await evm_desk.replacements().round()
    assert (await states(evm))[2] == ["broadcasting", "broadcasting"]
    for statement in (EXPIRED, REPLACED):
        for attempt in (1, 2):
            for role in (EXECUTOR, CONFIRMATIONS):
                assert await refused(evm, f"{statement} WHERE attempt = {attempt}", role=role) is not None
    await evm_desk.settle()
    await evm_desk.settlement.round()
    assert sorted((await states(evm))[2]) == ["final", "replaced"]
    assert len(await evm.paid_gas()) == 1


async def test_an_expiry_leaves_its_proof(on_evm: EvmWorld, evm_desk: EvmDesk) -> None:
    await outsider(on_evm, evm_desk, 0, on_evm.treasury)
    for _ in range(3):
        await on_evm.network.finalize()
        await evm_desk.settlement.round()
    assert await states(on_evm) == (["retrying"], ["expired"], ["expired"])
    (row,) = await on_evm.rows(
        "SELECT x.state, x.lost_at_block > a.ref_block AS beyond, x.lost_at_block <= c.block_number AS read "
        "FROM nonces x JOIN chain_transactions a ON a.nonce = x.nonce "
        "JOIN chain_cursors c ON c.chain_id = x.chain_id"
    )
    assert (row["state"], row["beyond"], row["read"]) == ("lost", True, True)


async def test_a_proof_older_than_the_bytes_buries_nothing(on_evm: EvmWorld, evm_desk: EvmDesk) -> None:
    live = await evm_desk.settlements.live(on_evm.chain_id)
    await on_evm.connection.execute("UPDATE chain_transactions SET first_broadcast_at = now() + interval '1 hour'")
    assert not await evm_desk.settlements.expire(on_evm.chain_id, live, "a proof of yesterday")
    assert (await states(on_evm))[1:] == (["broadcasting"], ["broadcasting"])


async def test_who_pays_cannot_date_back_what_it_gives_up(on_asked: World) -> None:
    """What was refused a day ago cannot land any more, and what was long ago is not looked for: so the time is the
    database's own word."""
    async with on_asked.connection.transaction(force_rollback=True):
        await on_asked.connection.execute("SET LOCAL ROLE pipeline_executor")
        await on_asked.connection.execute(
            "UPDATE signing_requests SET state = 'refused', refusal = 'no'; "
            "UPDATE transfers SET state = 'rejected', settled_at = now()"
        )
        with pytest.raises(psycopg.DatabaseError, match="was refused, and what it asked for expires"):
            await on_asked.connection.execute(AGAIN)


async def test_the_proof_of_a_lost_nonce_does_not_change(on_evm: EvmWorld, evm_desk: EvmDesk) -> None:
    """What used it, and up to where was read."""
    txid = await outsider(on_evm, evm_desk, 0, on_evm.treasury)
    for _ in range(4):
        await on_evm.network.finalize()
        await evm_desk.settlement.round()
    assert await on_evm.row("SELECT state, used_by FROM nonces") == {"state": "lost", "used_by": txid}
    for lie in ("used_by = NULL", "used_by = 'another'", "lost_at_block = 1", "lost_at_block = NULL"):
        said = await refused(on_evm, f"UPDATE nonces SET {lie}")  # noqa: S608
        assert said is not None, lie


async def test_bytes_that_nobody_can_have_signed_keep_no_other_payment_waiting(
    on_evm: EvmWorld, evm_desk: EvmDesk
) -> None:
    """Who pays has added them to a payment that is out: what is real of it is sent again, and lands."""
    async with on_evm.connection.transaction():
        await on_evm.connection.execute("SET LOCAL ROLE pipeline_executor")
        await on_evm.connection.execute(ASK_REPLACEMENT)  # type: ignore[call-overload]
        await on_evm.connection.execute(KEEP_IT, ["tx2", b"\n"])
    for _ in range(3):
        await on_evm.network.mine()
        await evm_desk.settlement.round()
    await on_evm.connection.execute("UPDATE chain_transactions SET last_broadcast_at = now() - interval '1 hour'")
    await evm_desk.settlement.round()
    await evm_desk.settle()
    assert sorted((await states(on_evm))[2]) == ["final", "replaced"]
    assert len(await on_evm.paid_gas()) == 1


async def add_attempt(evm: EvmWorld, txid: str) -> None:
    """As who pays may: one more attempt of the payment that is out, with a txid of its choice."""
    async with evm.connection.transaction():
        await evm.connection.execute("SET LOCAL ROLE pipeline_executor")
        await evm.connection.execute(ASK_REPLACEMENT)  # type: ignore[call-overload]
        await evm.connection.execute(KEEP_IT, [txid, bytes((await evm.attempts())[0]["signed_bytes"])])


@pytest.mark.parametrize("known_as", ["pooled", "final"])
async def test_who_pays_cannot_end_a_payment_by_a_transaction_of_somebody_else(
    on_evm: EvmWorld, evm_desk: EvmDesk, known_as: str
) -> None:
    """It adds an attempt with the txid of an outsider's transaction, which lands without the payment's effect: the
    payment would be recorded as reverted, and made anew, while its own bytes may land."""
    node = on_evm.network.node
    bytes_out = "0x" + bytes((await on_evm.attempts())[0]["signed_bytes"]).hex()
    foreign = await node.send(node.accounts[2], node.accounts[3], value=7)
    if known_as == "final":
        await on_evm.network.finalize()
    await add_attempt(on_evm, foreign)
    for _ in range(3):
        await evm_desk.settle()
        await node.call("anvil_dropAllTransactions")
    assert (await states(on_evm))[1:] == (["broadcasting"], ["broadcasting", "broadcasting"])
    if known_as == "pooled":
        (alarm,) = await evm_desk.settlement.tidy()
        assert foreign in alarm
    await node.call("eth_sendRawTransaction", bytes_out)
    await evm_desk.settle()
    await evm_desk.settlement.round()
    assert sorted((await states(on_evm))[2]) == ["final", "replaced"]
    assert len(await on_evm.paid_gas()) == 1


async def test_who_pays_cannot_bury_a_payment_by_a_transaction_of_somebody_else(
    on_evm: EvmWorld, evm_desk: EvmDesk
) -> None:
    """The same where another transaction has used its nonce: what was added says nothing, and people are told."""
    node = on_evm.network.node
    foreign = await node.send(node.accounts[2], node.accounts[3], value=7)
    await on_evm.network.finalize()
    await evm_desk.settlement.round()
    # On a slow machine its own bytes are due again by now, and were sent.
    await node.call("anvil_dropAllTransactions")
    await outsider(on_evm, evm_desk, 0, on_evm.treasury)
    await add_attempt(on_evm, foreign)
    for _ in range(4):
        await on_evm.network.finalize()
        await evm_desk.settlement.round()
    assert "reverted" not in (await states(on_evm))[1]
    assert await evm_desk.settlement.tidy() != []


async def test_a_replacement_that_the_database_refuses_ends_nobody(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    """Who pays has added bytes of an earlier payment of the same amount: their nonce is not of this one."""
    await evm_desk.settlement.round()
    await out(evm, evm_desk)
    await evm_desk.settle()
    (wallet,) = evm.wallets
    assert (await states(evm))[1] == ["final"]
    await evm.network.node.call("anvil_setBalance", wallet.address, "0x0")
    await evm.network.finalize()
    await evm.flag(wallet, gas=True)
    await evm_desk.run(GAS)
    await evm.network.node.call("anvil_dropAllTransactions")
    async with evm.connection.transaction():
        await evm.connection.execute("SET LOCAL ROLE pipeline_executor")
        await evm.connection.execute(ASK_REPLACEMENT)  # type: ignore[call-overload]
        await evm.connection.execute(KEEP_IT, ["tx2", bytes((await evm.attempts())[0]["signed_bytes"])])
        await evm.connection.execute("UPDATE transfers SET replace_wanted_at = now() WHERE state = 'broadcasting'")
    assert await evm_desk.replacements().round() == 0


async def test_who_pays_cannot_end_a_payment_on_tron_by_a_transaction_of_somebody_else(
    on_asked: World, desk: Desk
) -> None:
    """There are no nonces to compare: what landed has to be the very bytes that are kept, and the payment."""
    await on_asked.devnet.faucet(on_asked.treasury, 7)
    await on_asked.devnet.mine(1)
    head = await desk.real_provider.block_ref(Finality.HEAD)
    blocks = [await desk.real_provider.block(number, Finality.HEAD) for number in range(1, head.number + 1)]
    foreign = [one.txid for block in blocks if block is not None for one in block.transactions][-1]
    request = await on_asked.row("SELECT unsigned_bytes FROM signing_requests")
    async with on_asked.connection.transaction():
        await on_asked.connection.execute("SET LOCAL ROLE pipeline_executor")
        await on_asked.connection.execute(KEEP_IT, [foreign, bytes(request["unsigned_bytes"])])
        await on_asked.connection.execute(
            "UPDATE job_logs SET status = 'active', lease = lease + 1, awaiting_chain = true"
        )
    await desk.settle()
    await desk.settlement.round()
    assert (await states(on_asked))[1] == ["broadcasting"]
    assert any(foreign in alarm for alarm in await desk.settlement.tidy())
