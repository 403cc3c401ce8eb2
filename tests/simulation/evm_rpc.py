"""JSON-RPC of the simulated EVM nodes: each method takes the network, the blocks that the node has, and parameters."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.chains.evm.codec import address, transaction
from pipeline.chains.evm.codec.transaction import TRANSFER_SELECTOR
from pipeline.chains.evm.rpc.balances import MULTICALL3
from pipeline.curve.keccak import keccak256
from tests.simulation.evm_chain import CHAIN_ID, FINAL_LAG, PLAIN_GAS, TOKEN, TOKEN_GAS, Block, Receipt, Refused, State

if TYPE_CHECKING:
    from tests.simulation.evm import EvmNetwork

TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"

CUSTOMER = address.validate("0x" + "c5" * 20)
"""Who sends deposits."""
_GET_ETH_BALANCE = bytes.fromhex("4d2301cc")


def _block_number(view: list[Block], which: Any) -> int | None:
    """The height that a tag, a number or a hash names; None for one that is not there."""
    if isinstance(which, dict):
        return next((block.number for block in view if block.id == which["blockHash"]), None)
    match which:
        case "latest" | "pending":
            return view[-1].number
        case "finalized" | "safe":
            return max(0, view[-1].number - FINAL_LAG)
    number = int(which, 16)
    return number if number < len(view) else None


def _at(view: list[Block], which: Any) -> Block:
    number = _block_number(view, which)
    if number is None:
        raise Refused(-32000, "header not found")
    return view[number]


def _get_block(network: "EvmNetwork", view: list[Block], which: Any, full: bool) -> Any:
    number = _block_number(view, which)
    if number is None:
        return None
    block = view[number]
    listed = [_shown(block, place, one) if full else one.pooled.txid for place, one in enumerate(block.receipts)]
    return {
        "number": hex(block.number),
        "hash": block.id,
        "parentHash": block.parent,
        "timestamp": hex(block.timestamp),
        "baseFeePerGas": hex(block.base_fee),
        "extraData": "0x",
        "transactions": listed,
    }


def _shown(block: Block, place: int, receipt: Receipt) -> Any:
    one = receipt.pooled
    transfer = one.transfer
    data = b"" if transfer.contract is None else transaction.transfer_call(transfer.receiver, transfer.amount)
    return {
        "hash": one.txid,
        "blockHash": block.id,
        "blockNumber": hex(block.number),
        "transactionIndex": hex(place),
        "from": one.sender,
        "to": transfer.contract or transfer.receiver,
        "nonce": hex(transfer.nonce),
        "value": hex(one.value),
        "gas": hex(one.gas_limit),
        "gasPrice": hex(receipt.price),
        "input": "0x" + data.hex(),
    }


def _receipt(block: Block, place: int, receipt: Receipt) -> Any:
    one = receipt.pooled
    logs = []
    if receipt.success and one.transfer.contract is not None:
        logs.append(_log(block, one.txid, one.sender, one.transfer.receiver, one.transfer.amount))
    return {
        "transactionHash": one.txid,
        "transactionIndex": hex(place),
        "blockHash": block.id,
        "blockNumber": hex(block.number),
        "status": hex(receipt.success),
        "gasUsed": hex(receipt.gas_used),
        "effectiveGasPrice": hex(receipt.price),
        "from": one.sender,
        "to": one.transfer.contract or one.transfer.receiver,
        "logs": logs,
    }


def _log(block: Block, txid: str, sender: str, receiver: str, amount: int) -> Any:
    """The token's Transfer."""
    parties = ["0x" + address.to_bytes(party).rjust(32, b"\0").hex() for party in (sender, receiver)]
    return {
        "address": TOKEN,
        "topics": [TRANSFER_TOPIC, *parties],
        "data": "0x" + amount.to_bytes(32, "big").hex(),
        "blockNumber": hex(block.number),
        "blockHash": block.id,
        "transactionHash": txid,
        "removed": False,
    }


def _find(view: list[Block], txid: str) -> tuple[Block, int, Receipt] | None:
    return next(
        (
            (block, place, receipt)
            for block in view
            for place, receipt in enumerate(block.receipts)
            if receipt.pooled.txid == txid
        ),
        None,
    )


def _get_receipt(network: "EvmNetwork", view: list[Block], txid: str) -> Any:
    found = _find(view, txid)
    return None if found is None else _receipt(*found)


def _get_receipts(network: "EvmNetwork", view: list[Block], which: Any) -> Any:
    number = _block_number(view, which)
    if number is None:
        return None
    return [_receipt(view[number], place, one) for place, one in enumerate(view[number].receipts)]


def _get_transaction(network: "EvmNetwork", view: list[Block], txid: str) -> Any:
    found = _find(view, txid)
    return None if found is None else _shown(*found)


def _get_logs(network: "EvmNetwork", view: list[Block], question: Any) -> Any:
    """Of the token; what customers sent is in no receipt."""
    logs = []
    for block in view[int(question["fromBlock"], 16) : int(question["toBlock"], 16) + 1]:
        for place, (contract, receiver, amount) in enumerate(block.gifts):
            if contract is not None:
                logs.append(_log(block, hash_of(f"{block.id} {place}".encode()), CUSTOMER, receiver, amount))
        for place, one in enumerate(block.receipts):
            logs += _receipt(block, place, one)["logs"]
    return logs


def _get_count(network: "EvmNetwork", view: list[Block], owner: str, which: Any) -> Any:
    sender = address.validate(owner)
    count = _at(view, which).state.nonces.get(sender, 0)
    while which == "pending" and (sender, count) in network.pool:
        count += 1
    return hex(count)


def _get_balance(network: "EvmNetwork", view: list[Block], owner: str, which: Any) -> Any:
    sender = address.validate(owner)
    held = _at(view, which).state.coins.get(sender, 0)
    if which == "pending":
        held -= sum(one.value + one.gas_limit * one.max_fee for one in network.pool.values() if one.sender == sender)
    return hex(max(0, held))


def _call(network: "EvmNetwork", view: list[Block], call: Any, which: Any, overrides: Any = None) -> Any:
    state, data = _at(view, which).state, bytes_of(call["data"])
    if overrides is not None:
        receiver, amount = address.from_bytes(data[20:40]), int.from_bytes(data[40:], "big")
        held = state.tokens.get(receiver, 0)
        return _words(held, held + amount, 0, 0)
    if call["to"] == MULTICALL3:
        return _aggregated(state, data)
    _try_transfer(state, call, data)
    return _words(1)


def _try_transfer(state: State, call: Any, data: bytes) -> None:
    if data[:4] != TRANSFER_SELECTOR:
        raise Refused(3, "execution reverted")
    if state.tokens.get(address.validate(call["from"]), 0) < int.from_bytes(data[36:68], "big"):
        raise Refused(3, "execution reverted: transfer amount exceeds balance")


def _aggregated(state: State, data: bytes) -> Any:
    """aggregate3 of balanceOf and getEthBalance."""

    def word(at: int) -> int:
        return int.from_bytes(data[at : at + 32], "big")

    base = 4 + word(4) + 32
    results = []
    for index in range(word(base - 32)):
        at = base + word(base + 32 * index)
        called = at + word(at + 64) + 32
        owner = address.from_bytes(data[called + 16 : called + 36])
        held = state.coins if data[called : called + 4] == _GET_ETH_BALANCE else state.tokens
        results.append(b"".join(one.to_bytes(32, "big") for one in (1, 64, 32, held.get(owner, 0))))
    offsets = [32 * len(results) + 128 * index for index in range(len(results))]
    return _words(32, len(results), *offsets) + b"".join(results).hex()


def _estimate_gas(network: "EvmNetwork", view: list[Block], call: Any) -> Any:
    state = view[-1].state
    if "data" in call:
        _try_transfer(state, call, bytes_of(call["data"]))
        return hex(TOKEN_GAS)
    if state.coins.get(address.validate(call["from"]), 0) < int(call["value"], 16):
        raise Refused(-32000, "insufficient funds for transfer")
    return hex(PLAIN_GAS)


def _fee_history(network: "EvmNetwork", view: list[Block], count: str, newest: str, percentiles: Any) -> Any:
    last = view[-int(count, 16) :]
    return {
        "oldestBlock": hex(last[0].number),
        "baseFeePerGas": [hex(block.base_fee) for block in last] + [hex(network.base_fee)],
        "gasUsedRatio": [min(1.0, len(block.receipts) / 100) for block in last],
        "reward": [[hex(min((one.price - block.base_fee for one in block.receipts), default=0))] for block in last],
    }


METHODS: dict[str, Callable[..., Any]] = {
    "eth_chainId": lambda network, view: hex(CHAIN_ID),
    "eth_blockNumber": lambda network, view: hex(view[-1].number),
    "eth_getBlockByNumber": _get_block,
    "eth_getBlockReceipts": _get_receipts,
    "eth_getTransactionReceipt": _get_receipt,
    "eth_getTransactionByHash": _get_transaction,
    "eth_getTransactionCount": _get_count,
    "eth_getBalance": _get_balance,
    "eth_getCode": lambda network, view, place, which: "0x60" if place in (TOKEN, MULTICALL3) else "0x",
    "eth_getLogs": _get_logs,
    "eth_call": _call,
    "eth_estimateGas": _estimate_gas,
    "eth_gasPrice": lambda network, view: hex(network.base_fee + 1),
    "eth_feeHistory": _fee_history,
    "eth_sendRawTransaction": lambda network, view, raw: network.admit(bytes_of(raw)),
}


def error(body: Any, message: str, code: int = -32000) -> Any:
    if isinstance(body, list):
        return [error(one, message, code) for one in body]
    return {"jsonrpc": "2.0", "id": body["id"], "error": {"code": code, "message": message}}


def _words(*values: int) -> str:
    return "0x" + b"".join(value.to_bytes(32, "big") for value in values).hex()


def hash_of(data: bytes) -> str:
    return "0x" + keccak256(data).hex()


def bytes_of(digits: str) -> bytes:
    return bytes.fromhex(digits.removeprefix("0x"))
