"""What a TRC20 says of itself, asked of a node by calls that are not transactions."""

from pipeline.chains.errors import NotAToken
from pipeline.chains.rpc.http import NodeFailure
from pipeline.chains.tokens import token_info
from pipeline.chains.tron.codec import address
from pipeline.chains.tron.rpc.constant import tried
from pipeline.chains.tron.rpc.node import TronNode, is_no_contract
from pipeline.chains.values import Finality, TokenInfo

_NOBODY = "41" + "00" * 20


async def inspect(node: TronNode, contract: str) -> TokenInfo:
    """Raises NotAToken saying what is missing, NodeFailure."""
    return token_info(
        contract,
        "a TRC20",
        decimals=await _call(node, contract, "decimals()"),
        balance=await _call(node, contract, "balanceOf(address)", address.to_tail(contract).rjust(32, b"\0")),
        symbol=await _call(node, contract, "symbol()"),
    )


async def _call(node: TronNode, contract: str, function: str, argument: bytes = b"") -> bytes:
    answer = await node.call(
        "triggerconstantcontract",
        Finality.HEAD,
        {
            "owner_address": _NOBODY,
            "contract_address": address.to_hex(contract),
            "function_selector": function,
            "parameter": argument.hex(),
        },
    )
    call = tried(node, answer, function)
    if call.code == "CONTRACT_VALIDATE_ERROR" and is_no_contract(call.message):
        raise NotAToken(f"{contract} is not a contract on this chain: check the address and the chain")
    if call.code in ("SERVER_BUSY", "OTHER_ERROR"):
        raise NodeFailure("node error", f"{node.name} could not call {function}: {call.message or call.code}")
    if not call.succeeded:
        raise NotAToken(f"{contract} is not a TRC20: it does not answer {function}")
    return call.returned
