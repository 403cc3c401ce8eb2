"""What a token contract says of itself, asked when it is added."""

from dataclasses import dataclass

from pipeline.chains.errors import NotAToken
from pipeline.chains.evm import abi
from pipeline.chains.evm.node import EvmNode, RpcError, reading, wanted

LARGEST_DECIMALS = 36
"""What asset_on_chain.decimals holds."""


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token as its contract describes it."""

    contract: str
    symbol: str
    decimals: int


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
    if wanted(code) == "0x":
        raise NotAToken(f"{contract} has no code on this chain: check the address and the chain")
    found = int.from_bytes(_word(node, contract, "decimals()", decimals), "big")
    if found > LARGEST_DECIMALS:
        raise NotAToken(f"{contract} says it has {found} decimals: {LARGEST_DECIMALS} are the most that can be kept")
    _word(node, contract, "balanceOf()", balance)
    try:
        name = abi.symbol(_returned(node, contract, "symbol()", symbol))
    except ValueError as error:
        raise NotAToken(f"{contract} has no readable symbol: {error}") from error
    return TokenInfo(contract, name, found)


def _word(node: EvmNode, contract: str, what: str, answer: object) -> bytes:
    raw = _returned(node, contract, what, answer)
    if len(raw) != 32:
        raise NotAToken(f"{contract} is not an ERC20: {what} returns {len(raw)} bytes instead of 32")
    return raw


def _returned(node: EvmNode, contract: str, what: str, answer: object) -> bytes:
    if isinstance(answer, RpcError):
        if answer.rpc_code == 3 or "revert" in answer.reason.lower() or "invalid" in answer.reason.lower():
            raise NotAToken(f"{contract} is not an ERC20: it does not answer {what}")
        raise answer
    with reading(node, what):
        return bytes.fromhex(str(answer).removeprefix("0x"))
