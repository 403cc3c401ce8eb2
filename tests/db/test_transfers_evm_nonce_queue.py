"""Payments that no block takes, over anvil: offered again with what they need by then. Where that cannot be done for
longer than the bound of a line, people hear of it, nothing is piled up behind, and it goes on by itself when it can."""

import pytest

from pipeline.chains.kinds import Kind
from pipeline.queue.jobs import Defer, JobType, Parked
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.db.paying_kit import states
from tests.db.reconcile_kit import again
from tests.db.test_transfers_evm_stuck import DEAR, TOO_DEAR, stuck
from tests.seed import USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION
LONGEST = 300
"""Seconds for which a payment may be first in its line here (docs/operating.md)."""


async def blocks(evm: EvmWorld, desk: EvmDesk, count: int, price: int | None = None) -> None:
    """Blocks that take nothing of ours, each looked at."""
    for _ in range(count):
        if price is None:
            await evm.network.node.call("anvil_dropAllTransactions")
            await evm.network.mine()
        else:
            await evm.price(price)
        await desk.settlement.round()


async def long_after(evm: EvmWorld, price: int | None = None) -> None:
    """One block, six minutes later."""
    await evm.network.node.call("anvil_setBlockTimestampInterval", LONGEST + 60)
    if price is None:
        await evm.network.node.call("anvil_dropAllTransactions")
        await evm.network.mine()
    else:
        await evm.price(price)
    await evm.network.node.call("anvil_setBlockTimestampInterval", 1)


async def marked(evm: EvmWorld, sender: str | None = None) -> str | None:
    row = await evm.row("SELECT stuck FROM senders WHERE sender = %s", sender or evm.gas_address)
    return row["stuck"]


class TestGasLimit:
    async def test_a_replacement_has_the_gas_that_it_needs_by_then(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """Arbitrum: the part for L1 is inside the gas and grew. It used to be offered 17 times, each time too small."""
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
        await evm.network.node.call("anvil_dropAllTransactions")
        evm.network.proxy.l1_gas = 40_000
        await blocks(evm, evm_desk, 5)
        assert await evm_desk.replacements().round() == 1
        await evm_desk.settle()
        assert len(await evm.paid_gas()) == 1
        assert sorted((await states(evm))[2]) == ["final", "replaced"]
        first, second = await evm.attempts()
        assert int(second["fee_cap"]) > int(first["fee_cap"]) * 61 / 21, "20 % more than it takes"
        await evm.assert_database_equals_chain()

    async def test_it_is_never_lower_than_before(self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        evm.network.proxy.l1_gas = 40_000
        await stuck(evm, evm_desk)
        evm.network.proxy.l1_gas = 0
        assert await evm_desk.replacements().round() == 1
        first, second = await evm.attempts()
        assert int(second["fee_cap"]) >= int(first["fee_cap"]) * 115 / 100

    async def test_fee_max_bounds_it(self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
        (attempt,) = await evm.attempts()
        await evm.connection.execute("UPDATE chains SET fee_max = %s", [2 * int(attempt["fee_cap"])])
        evm.network.proxy.l1_gas = 40_000
        await blocks(evm, evm_desk, 5)
        assert await evm_desk.replacements().round() == 0
        assert "fee_max" in (await evm.transfers())[0]["error_message"]
        await evm.connection.execute("UPDATE chains SET fee_max = gas_max_per_topup")
        await blocks(evm, evm_desk, 4)
        assert await evm_desk.replacements().round() == 1
        await evm_desk.settle()
        assert len(await evm.paid_gas()) == 1

    async def test_a_payment_that_would_fail_waits_and_then_uses_its_nonce(
        self, evm: EvmWorld, evm_desk: EvmDesk
    ) -> None:
        """The token was paused after it was signed: in a block it costs its fee, but the wallet's other tokens do not
        wait for ever."""
        wallet = await evm.wallet(usdt=250 * USDT, trx=10 * FINNEY)
        await evm.network.finalize()
        await evm.flag(wallet, consolidation=True)
        assert [outcome for _, outcome in await evm_desk.run(CONSOLIDATION)] == [Parked()]
        await evm.network.node.call("anvil_dropAllTransactions")
        await evm.network.pause_token()
        await blocks(evm, evm_desk, 1, DEAR)
        await blocks(evm, evm_desk, 1, DEAR)
        replacements = evm_desk.replacements(Kind.CONSOLIDATION)
        assert await replacements.round() == 0
        assert "would fail" in (await evm.transfers())[0]["error_message"]
        await evm.connection.execute(
            "UPDATE chain_transactions SET first_broadcast_at = first_broadcast_at - interval '6 minutes'"
        )
        await blocks(evm, evm_desk, 4, DEAR)
        assert await replacements.round() == 1
        await evm_desk.settle()
        assert (await states(evm))[1] == ["reverted"]
        rows = await evm.rows("SELECT state FROM nonces WHERE sender = %s", wallet.address)
        assert rows == [{"state": "used"}]


class TestStandsStill:
    async def test_people_hear_of_it_and_nothing_is_piled_up(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """Fees are above every cap. Until the line moves, nobody else's top-up is signed behind it."""
        await stuck(evm, evm_desk, TOO_DEAR)
        for _ in range(5):
            await evm_desk.replacements().round()
            await blocks(evm, evm_desk, 4, TOO_DEAR)
        assert await evm_desk.settlement.tidy() == []
        await long_after(evm, TOO_DEAR)
        await evm_desk.settlement.round()
        await blocks(evm, evm_desk, 1, TOO_DEAR)
        (alarm,) = await evm_desk.settlement.tidy()
        newest = (await evm.attempts())[-1]["txid"]
        for told in (thirsty_evm.address, newest, evm.gas_address, "the most it may offer", "fees.replacement_cap"):
            assert told in alarm
        assert await marked(evm) == alarm
        other = await evm.wallet()
        await evm.flag(other, gas=True)
        await evm.price(7)
        ((_, outcome),) = await evm_desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert "has been stuck since" in outcome.reason
        await evm.network.node.call(
            "eth_sendRawTransaction", "0x" + bytes((await evm.attempts())[-1]["signed_bytes"]).hex()
        )
        await evm_desk.settle()
        await evm_desk.settlement.round()
        assert await marked(evm) is None
        assert await evm_desk.settlement.tidy() == []
        assert await again(evm, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert [one.receiver for one in await evm.paid_gas()] == [thirsty_evm.address, other.address]
        await evm.assert_database_equals_chain()

    async def test_a_node_that_refuses_it_is_quoted(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
        evm.network.proxy.l1_gas = 40_000
        await blocks(evm, evm_desk, 5)
        await long_after(evm)
        await evm.connection.execute("UPDATE chain_transactions SET last_broadcast_at = now() - interval '1 minute'")
        await evm_desk.settlement.round()
        await blocks(evm, evm_desk, 1)
        (alarm,) = await evm_desk.settlement.tidy()
        assert "intrinsic gas too low" in alarm, alarm
        assert "not signed yet: see the logs of gas-topup" in alarm

    async def test_another_process_that_takes_over_knows_it_at_once(
        self, evm: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await stuck(evm, evm_desk, TOO_DEAR)
        await long_after(evm, TOO_DEAR)
        await evm_desk.settlement.round()
        alarm = await marked(evm)
        assert alarm is not None
        await blocks(evm, other_evm_desk, 2, TOO_DEAR)
        (told,) = await other_evm_desk.settlement.tidy()
        assert told.split(". ")[0] == alarm.split(". ")[0]

    async def test_what_nobody_says_any_more_is_taken_back(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """A process said so and died; the line moved on."""
        await known.connection.execute("UPDATE senders SET stuck = 'as it was', stuck_since = now()")
        await known.flag(thirsty_evm, gas=True)
        ((_, outcome),) = await evm_desk.run(GAS)
        assert isinstance(outcome, Defer)
        for _ in range(10):
            await evm_desk.settlement.round()
        assert await marked(known) is None
        assert await again(known, evm_desk) == [Parked()]

    @pytest.mark.parametrize("by", ["release", "leader"])
    async def test_what_somebody_else_took_back_is_said_again(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, by: str
    ) -> None:
        """A person released the sender for another reason, or another process led meanwhile: the line stands still all
        the same, and nothing is signed behind it."""
        await stuck(evm, evm_desk, TOO_DEAR)
        await long_after(evm, TOO_DEAR)
        await evm_desk.settlement.round()
        alarm = await marked(evm)
        assert alarm is not None
        if by == "release":
            await evm.connection.execute("SELECT freeze_sender(%s, %s, 'who is it')", [evm.chain_id, evm.gas_address])
            await evm.connection.execute("SELECT release_sender('bsc', %s)", [evm.gas_address])
        else:
            await evm.connection.execute("UPDATE senders SET stuck = NULL, stuck_since = NULL")
            evm_desk.settlement.reset()
        assert await marked(evm) is None
        await blocks(evm, evm_desk, 10 if by == "release" else 1, TOO_DEAR)
        said_again = await marked(evm)
        assert said_again is not None
        # What the node answered last is another thing where the bytes were sent again meanwhile.
        assert said_again.split(". ")[0] == alarm.split(". ")[0]

    async def test_the_line_behind_one_that_moved_begins_anew(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """Out for long, and first for a moment only."""
        other = await evm.wallet()
        await evm.flag(other, gas=True)
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked(), Parked()]
        await evm.network.node.call("anvil_setBlockTimestampInterval", LONGEST + 60)
        await evm.network.node.call("anvil_dropAllTransactions")
        first = (await evm.attempts())[0]
        await evm.network.node.call("eth_sendRawTransaction", "0x" + bytes(first["signed_bytes"]).hex())
        await evm.network.mine()
        await evm.network.node.call("anvil_setBlockTimestampInterval", 1)
        await evm_desk.settlement.round()
        await blocks(evm, evm_desk, 3)
        assert await evm_desk.settlement.tidy() == []


@pytest.mark.parametrize("asks", ["fees", "coins"])
async def test_a_line_that_lacks_something_goes_on_when_it_is_given(
    evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, asks: str
) -> None:
    """The two ways out that the alarm names."""
    if asks == "coins":
        await evm.network.node.call("anvil_setBalance", evm.gas_address, hex(FINNEY + 21_000 * 1_000))
        await evm.network.finalize()
    price = TOO_DEAR if asks == "fees" else DEAR
    await stuck(evm, evm_desk, price)
    for _ in range(8):
        await evm_desk.replacements().round()
        await blocks(evm, evm_desk, 4, price)
    await long_after(evm, price)
    await evm_desk.settlement.round()
    assert await marked(evm) is not None
    if asks == "fees":
        evm_desk.real_provider._fees.policy = type(evm_desk.real_provider._fees.policy)(cap=10 * TOO_DEAR)  # type: ignore[attr-defined]
    else:
        await evm.network.node.call("anvil_setBalance", evm.gas_address, hex(10 * FINNEY))
    await blocks(evm, evm_desk, 4, price)
    assert await evm_desk.replacements().round() == 1
    await evm.network.node.call("anvil_setNextBlockBaseFeePerGas", hex(price))
    await evm_desk.settle()
    assert [one.receiver for one in await evm.paid_gas()] == [thirsty_evm.address]
    assert await evm_desk.settlement.tidy() == []
