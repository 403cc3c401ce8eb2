"""What an ERC20 says of itself, asked of a node."""

from pipeline.chains.errors import NotAToken
from pipeline.chains.evm.codec import abi
from pipeline.chains.evm.rpc.node import EvmNode, RpcError, reading, wanted
from pipeline.chains.rpc.answers import hex_bytes
from pipeline.chains.tokens import token_info
from pipeline.chains.values import TokenInfo


async def inspect(node: EvmNode, contract: str) -> TokenInfo:
    """Raises NotAToken saying what is missing, NodeFailure."""
    code, decimals, symbol, balance = await node.batch(
        [
            ("eth_getCode", [contract, "latest"]),
            ("eth_call", [{"to": contract, "data": abi.DECIMALS}, "latest"]),
            ("eth_call", [{"to": contract, "data": abi.SYMBOL}, "latest"]),
            ("eth_call", [{"to": contract, "data": "0x70a08231" + contract[2:].rjust(64, "0")}, "latest"]),
        ]
    )
    with reading(node, "eth_getCode"):
        found = hex_bytes(wanted(code), "the code", "0x")
    if not found:
        raise NotAToken(f"{contract} has no code on this chain: check the address and the chain")
    return token_info(
        contract,
        "an ERC20",
        decimals=_returned(node, contract, "decimals()", decimals),
        balance=_returned(node, contract, "balanceOf()", balance),
        symbol=_returned(node, contract, "symbol()", symbol),
    )


def _returned(node: EvmNode, contract: str, what: str, answer: object) -> bytes:
    if isinstance(answer, RpcError):
        if answer.rpc_code == 3 or "revert" in answer.reason.lower() or "invalid" in answer.reason.lower():
            raise NotAToken(f"{contract} is not an ERC20: it does not answer {what}")
        raise answer
    with reading(node, what):
        return hex_bytes(answer, what, "0x")
