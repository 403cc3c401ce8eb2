"""The genuine Multicall3, put where it stands on every chain, in the way it came to stand there."""

import json

from pipeline.chains.evm.rpc.balances import MULTICALL3
from tests.chains.evm.anvil import Anvil
from tests.chains.evm.conftest import CONTRACTS

DEPLOYMENT = json.loads((CONTRACTS / "Multicall3.json").read_text("utf-8"))
"""The transaction that its authors signed once for all chains. Its sender is computed from bytes and signature, the
contract's address from the sender: other bytes would make another contract elsewhere."""


async def stand(node: Anvil) -> None:
    """Deploy it; final on return. Fails unless it is the code that stands there on the real chains."""
    await node.call("anvil_setBalance", DEPLOYMENT["sender"], hex(10**18))
    txid = await node.call("eth_sendRawTransaction", DEPLOYMENT["transaction"])
    await node.finalize()
    receipt = await node.call("eth_getTransactionReceipt", txid)
    assert (receipt["status"], receipt["from"]) == ("0x1", DEPLOYMENT["sender"])
    assert receipt["contractAddress"] == MULTICALL3.lower()
