"""Steps that tests of unknown transactions share."""

from collections.abc import Sequence

from pipeline.local.anvil_proxy import SEND
from pipeline.queue.jobs import Defer, Job, JobType, Outcome
from tests.chaos.evm_world import EvmDesk, EvmWorld

GAS = JobType.GAS_TOPUP


def reasons(outcomes: Sequence[tuple[Job, Outcome]]) -> list[str]:
    """Of jobs that all wait."""
    assert all(isinstance(outcome, Defer) for _, outcome in outcomes), outcomes
    return [outcome.reason for _, outcome in outcomes if isinstance(outcome, Defer)]


async def again(evm: EvmWorld, desk: EvmDesk, job_type: JobType = GAS) -> list[Outcome]:
    """What waits is due."""
    await evm.connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")
    return [outcome for _, outcome in await desk.run(job_type)]


async def rounds(evm: EvmWorld, desk: EvmDesk, count: int = 3) -> None:
    for _ in range(count):
        await evm.network.finalize()
        await desk.settlement.round()


async def unreconciled(evm: EvmWorld) -> list[str]:
    rows = await evm.rows("SELECT sender FROM senders WHERE unknown_below IS NOT NULL")
    return [row["sender"] for row in rows]


async def starve(evm: EvmWorld, desk: EvmDesk, txid: str, blocks: int) -> None:
    """Blocks that do not take a transaction, which stays in the pool."""
    node = evm.network.node
    raw = await node.call("eth_getRawTransactionByHash", txid)
    for _ in range(blocks):
        await node.call("anvil_dropTransaction", txid)
        await node.mine()
        await node.call(SEND, raw)
        await desk.settlement.round()
