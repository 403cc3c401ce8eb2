"""Tokens that are kept as shares and arrive a unit or two short, over anvil: moved with a tolerance, recorded as they
arrived. A tolerance that a fee could hide in is refused by the database."""

import psycopg
import pytest

from pipeline.queue.jobs import JobType, Parked, Retry
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.policy import allow

CONSOLIDATION = JobType.CONSOLIDATION
AMOUNT = 5_000_000_001
"""3,649,635,037 shares: 5,000,000,000 arrive."""


@pytest.mark.parametrize("exact", [True, False])
async def test_it_is_swept_once_it_has_a_tolerance(evm: EvmWorld, evm_desk: EvmDesk, exact: bool) -> None:
    asset_id, token = await evm.add_token(
        "SharesToken", arguments=f"{int(exact):064x}", flag_above=4_000_000, execute_min=2_000_000
    )
    evm_desk.may_sign(allow(evm_desk.sender.rules, [str(token.contract)]))
    wallet = await evm.wallet(trx=10 * FINNEY)
    await evm.mint(token, wallet, AMOUNT + 1)
    await evm.network.finalize()
    held = await evm.network.node.balance(wallet.address, token.contract, "latest")
    await evm.flag(wallet, consolidation=True)
    ((_, outcome),) = await evm_desk.run(CONSOLIDATION)
    assert isinstance(outcome, Retry)
    assert "--tolerance 2" in outcome.error
    await evm.connection.execute("UPDATE asset_on_chain SET transfer_tolerance = 2 WHERE id = %s", [asset_id])
    await evm.connection.execute("UPDATE job_logs SET run_at = now()")
    ((_, outcome),) = await evm_desk.run(CONSOLIDATION)
    assert outcome == Parked()
    await evm_desk.settle()
    (row,) = await evm.rows("SELECT state, amount, arrived FROM transfers")
    (arrived,) = [one.amount for one in await evm.swept()]
    assert (row["state"], int(row["amount"])) == ("final", held)
    assert row["arrived"] == (arrived if exact else None), "what its log says, where that is not the amount"
    assert held - await evm.network.node.balance(evm.treasury, token.contract, "latest") in (1, 2)


@pytest.mark.parametrize(
    ("tolerance", "execute_min", "rule"),
    [
        (11, 10**12, "a_tolerance_is_ten_units_at_the_most"),
        (2, 1_999_999, "a_tolerance_is_a_millionth_at_the_most"),
    ],
)
async def test_a_fee_cannot_hide_in_it(evm: EvmWorld, tolerance: int, execute_min: int, rule: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        await evm.connection.execute(
            "UPDATE asset_on_chain SET transfer_tolerance = %s, consolidate_execute_min = %s, "
            "consolidate_flag_above = %s WHERE id = %s",
            [tolerance, execute_min, execute_min, evm.token_id],
        )
    assert refused.value.diag.constraint_name == rule


async def test_a_coin_has_none(evm: EvmWorld) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        await evm.connection.execute("UPDATE asset_on_chain SET transfer_tolerance = 1 WHERE id = %s", [evm.native_id])
