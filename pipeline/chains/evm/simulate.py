"""A payment tried out on a node: what it needs in gas, and whether it would do what it is meant to do."""

import json
from functools import lru_cache
from importlib import resources
from typing import Any

from pipeline.chains.answers import MAX_COUNT, hex_bytes, quantity
from pipeline.chains.errors import InsufficientFunds, NotAToken, SimulationFailed
from pipeline.chains.evm import abi, address
from pipeline.chains.evm.fees import FeeBook, with_margin
from pipeline.chains.evm.node import EvmNode, Request, RpcError, reading, wanted
from pipeline.chains.evm.transaction import Fees, transfer_call
from pipeline.chains.provider import Asset, FeeEstimate, Payment
from pipeline.units import to_human

PLAIN_GAS = 21_000
"""A coin transfer to an account without code, always."""

_REVERTED = 3
_SAYS_NO = ("revert", "insufficient", "out of gas", "gas required exceeds", "invalid opcode", "invalid jump", "exceeds")
"""Errors about the payment. Others are the node's own trouble."""


async def estimate(node: EvmNode, book: FeeBook, payment: Payment, coin: Asset) -> FeeEstimate:
    """Raises SimulationFailed, InsufficientFunds, NotAToken, FeeCapTooLow, NodeFailure."""
    fees = await book.quote()
    if payment.asset.contract is None:
        gas = await _coin(node, book, payment, coin, fees)
    else:
        gas = await _token(node, payment, payment.asset.contract)
        gas = with_margin(gas, book.policy.gas_margin_percent)
    fee = gas * fees.max_fee
    return FeeEstimate(fee=fee, fee_limit=fee, gas_limit=gas, max_fee=fees.max_fee, tip=fees.tip)


async def _coin(node: EvmNode, book: FeeBook, payment: Payment, coin: Asset, fees: Fees) -> int:
    call = {"from": payment.sender, "to": payment.receiver, "value": hex(payment.amount)}
    pooled, held, gas = await node.batch(
        [
            ("eth_getBalance", [payment.sender, "pending"]),
            ("eth_getBalance", [payment.sender, "latest"]),
            ("eth_estimateGas", [call]),
        ]
    )
    with reading(node, "a balance"):
        # What is in the pool already is as good as spent; coins on their way to the sender are not there yet.
        final, pending = wanted(held), wanted(held if isinstance(pooled, RpcError) else pooled)
        balance = min(quantity(final, "the balance"), quantity(pending, "the balance with what is pending"))
    # A sender that is short has its estimate refused: the error it deserves says how much is missing.
    limit = PLAIN_GAS if isinstance(gas, RpcError) else _gas(node, gas)
    limit = limit if limit == PLAIN_GAS else with_margin(limit, book.policy.gas_margin_percent)
    needed = payment.amount + limit * fees.max_fee
    if balance < needed:
        raise _short(payment, coin, balance, needed, limit * fees.max_fee)
    if isinstance(gas, RpcError):
        raise _refused(payment, gas)
    return limit


async def _token(node: EvmNode, payment: Payment, contract: str) -> int:
    """The estimated gas, once the transfer was seen to succeed and the whole amount to arrive."""
    call = {"from": payment.sender, "to": contract, "data": _call_data(payment)}
    requests: list[Request] = [
        ("eth_call", [call, "latest"]),
        ("eth_estimateGas", [call]),
        ("eth_getCode", [contract, "latest"]),
    ]
    if node.has_overrides:
        requests.append(("eth_call", _probe_call(payment, contract)))
    returned, gas, code, *probe = await node.batch(requests)
    with reading(node, "eth_getCode"):
        found = hex_bytes(wanted(code), "the code", "0x")
    if not found:
        raise NotAToken(
            f"{contract} ({payment.asset.symbol}) is not a contract: correct asset_on_chain.contract_address"
        )
    if isinstance(returned, RpcError):
        raise _refused(payment, returned)
    with reading(node, "a simulated transfer"):
        answer = hex_bytes(returned, "what transfer() returns", "0x")
    # USDT on Ethereum returns nothing when it succeeds.
    if answer and not any(answer):
        raise _failed(payment, "transfer() returns false")
    for tried in probe:
        _check_arrival(node, payment, tried)
    if isinstance(gas, RpcError):
        raise _refused(payment, gas)
    return _gas(node, gas)


def _check_arrival(node: EvmNode, payment: Payment, tried: Any) -> None:
    """Raises SimulationFailed when less arrives than is sent. A probe that fails where the transfer itself passed
    says nothing: the node takes no overrides, or the token takes no contracts for senders."""
    if isinstance(tried, RpcError):
        if tried.rpc_code != _REVERTED and "revert" not in tried.reason.lower():
            node.has_overrides = False
        return
    words = abi.from_hex(tried)
    if len(words) != 128:
        node.has_overrides = False
        return
    before, later = int.from_bytes(words[:32], "big"), int.from_bytes(words[32:64], "big")
    if payment.sender != payment.receiver and later - before != payment.amount:
        decimals = payment.asset.decimals
        arrives = to_human(max(0, later - before), decimals)
        raise _failed(
            payment, f"the token takes a fee on transfers, {arrives} of {to_human(payment.amount, decimals)} arrive"
        )


def _probe_call(payment: Payment, contract: str) -> list[Any]:
    packed = address.to_bytes(contract) + address.to_bytes(payment.receiver) + payment.amount.to_bytes(32, "big")
    call = {"from": address.ZERO, "to": payment.sender, "data": "0x" + packed.hex()}
    return [call, "latest", {payment.sender: {"code": _probe()}}]


def _call_data(payment: Payment) -> str:
    return "0x" + transfer_call(payment.receiver, payment.amount).hex()


def _gas(node: EvmNode, answer: Any) -> int:
    with reading(node, "eth_estimateGas"):
        return quantity(wanted(answer), "gas", MAX_COUNT)


def _refused(payment: Payment, error: RpcError) -> Exception:
    """SimulationFailed when the error is about the payment, else the error itself."""
    said = error.reason.lower()
    if error.rpc_code != _REVERTED and not any(words in said for words in _SAYS_NO):
        return error
    return _failed(payment, abi.revert_reason(error.data) or error.reason)


def _failed(payment: Payment, reason: str) -> SimulationFailed:
    return SimulationFailed(
        f"{payment.asset.symbol} transfer of {to_human(payment.amount, payment.asset.decimals)} "
        f"from {payment.sender} to {payment.receiver} would fail: {reason}"
    )


def _short(payment: Payment, coin: Asset, held: int, needed: int, fee: int) -> InsufficientFunds:
    def coins(wei: int) -> str:
        return to_human(wei, coin.decimals)

    return InsufficientFunds(
        payment.sender,
        held,
        needed,
        f"{payment.sender} holds {coins(held)} {coin.symbol} and needs {coins(needed)} "
        f"({coins(payment.amount)} to send, {coins(fee)} fee): send {coin.symbol} to it",
    )


@lru_cache(maxsize=1)
def _probe() -> str:
    built = resources.files("pipeline.chains.contracts").joinpath("TransferProbe.json").read_text("utf-8")
    return "0x" + str(json.loads(built)["runtime"])
