"""A payment tried out on a node: what it needs in gas, and whether it would do what it is meant to do."""

import json
from functools import lru_cache
from importlib import resources
from typing import Any

from pipeline.chains.errors import InsufficientFunds, NotAToken, SimulationFailed
from pipeline.chains.evm.codec import abi, address
from pipeline.chains.evm.codec.transaction import transfer_call
from pipeline.chains.evm.rpc.fees import EvmFees, FeePolicy, with_margin
from pipeline.chains.evm.rpc.l1_fee import L1Fees
from pipeline.chains.evm.rpc.node import EvmNode, Request, RpcError, reading, wanted
from pipeline.chains.fees import EvmFee
from pipeline.chains.rpc.answers import MAX_COUNT, hex_bytes, quantity
from pipeline.chains.values import Asset, Payment
from pipeline.units import to_human

MOST_TOLERATED = 10
"""Raw units, as in asset_on_chain: a token that rounds by more is none that is kept as shares."""
PLAIN_GAS = 21_000
"""A coin transfer to an account without code, always."""

_REVERTED = 3
_SAYS_NO = ("revert", "insufficient", "out of gas", "gas required exceeds", "invalid opcode", "invalid jump", "exceeds")
"""Errors about the payment. Others are the node's own trouble."""

_LACKS_COINS = ("insufficient funds", "insufficient balance", "balance too low", "exceeds balance")


async def estimate(node: EvmNode, prices: EvmFees, l1_fees: L1Fees, payment: Payment, coin: Asset) -> EvmFee:
    """Raises SimulationFailed, InsufficientFunds, NotAToken, FeeCapTooLow, NodeFailure."""
    fees, held, refused = await prices.quote(), None, None
    if payment.asset.contract is None:
        gas, held, refused = await _coin(node, prices, payment)
    else:
        gas = await _token(node, payment, payment.asset.contract)
        gas = with_margin(gas, prices.policy.gas_margin_percent)
    l1_fee = await l1_fees.of_payment(node, payment, gas, fees)
    priced = EvmFee(gas_limit=gas, max_fee=fees.max_fee, tip=fees.tip, l1_fee=l1_fee)
    if held is not None and held < payment.amount + priced.fee:
        raise _short(payment, coin, held, payment.amount + priced.fee, priced.fee)
    if refused is not None:
        raise _refused(payment, refused)
    return priced


async def _coin(node: EvmNode, prices: EvmFees, payment: Payment) -> tuple[int, int, RpcError | None]:
    """The gas limit, what the sender holds (wei), and why the node would not estimate it: a sender that is short has
    its estimate refused, and the error it deserves says how much is missing."""
    pooled, held, gas = await node.batch(
        [
            ("eth_getBalance", [payment.sender, "pending"]),
            ("eth_getBalance", [payment.sender, "latest"]),
            ("eth_estimateGas", [_coin_call(payment)]),
        ]
    )
    with reading(node, "a balance"):
        # What is in the pool already is as good as spent; coins on their way to the sender are not there yet.
        final, pending = wanted(held), wanted(held if isinstance(pooled, RpcError) else pooled)
        balance = min(quantity(final, "the balance"), quantity(pending, "the balance with what is pending"))
    if isinstance(gas, RpcError):
        return PLAIN_GAS, balance, gas
    return _coin_limit(_gas(node, gas), prices.policy), balance, None


async def gas_now(node: EvmNode, policy: FeePolicy, payment: Payment) -> int:
    """The gas limit that a payment which is out already needs at the newest block, margin included; 0 where a node
    cannot say, because it takes the coins for spent. Raises SimulationFailed, NodeFailure."""
    contract = payment.asset.contract
    if contract is not None:
        call = {"from": payment.sender, "to": contract, "data": _call_data(payment)}
    else:
        call = _coin_call(payment)
    (answer,) = await node.batch([("eth_estimateGas", [call])])
    if isinstance(answer, RpcError):
        if contract is None and any(words in answer.reason.lower() for words in _LACKS_COINS):
            return 0
        raise _refused(payment, answer)
    gas = _gas(node, answer)
    return _coin_limit(gas, policy) if contract is None else with_margin(gas, policy.gas_margin_percent)


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
    """Raises SimulationFailed when less arrives than is sent, but for the token's tolerance. A probe that fails where
    the transfer itself passed says nothing: the node takes no overrides, or the token no contracts for senders."""
    if isinstance(tried, RpcError):
        if tried.rpc_code != _REVERTED and "revert" not in tried.reason.lower():
            node.has_overrides = False
        return
    words = abi.from_hex(tried)
    if len(words) != 128:
        node.has_overrides = False
        return
    before, later = int.from_bytes(words[:32], "big"), int.from_bytes(words[32:64], "big")
    missing = payment.amount - (later - before)
    if payment.sender != payment.receiver and abs(missing) > payment.asset.tolerance:
        raise _failed(payment, _why_less_arrives(payment.asset, payment.amount, missing))


def _why_less_arrives(asset: Asset, amount: int, missing: int) -> str:
    sent, arrives = (to_human(max(0, raw), asset.decimals) for raw in (amount, amount - missing))
    said = f"the token takes a fee on transfers, {arrives} of {sent} arrive"
    if abs(missing) > MOST_TOLERATED:
        return said
    return (
        f"{said}. Or it is kept as shares and rounds, by {missing} raw units here: then give it a tolerance (flagpost "
        "assets thresholds CHAIN TOKEN --tolerance 2)"
    )


def _probe_call(payment: Payment, contract: str) -> list[Any]:
    packed = address.to_bytes(contract) + address.to_bytes(payment.receiver) + payment.amount.to_bytes(32, "big")
    call = {"from": address.ZERO, "to": payment.sender, "data": "0x" + packed.hex()}
    return [call, "latest", {payment.sender: {"code": _probe()}}]


def _coin_call(payment: Payment) -> dict[str, str]:
    return {"from": payment.sender, "to": payment.receiver, "value": hex(payment.amount)}


def _coin_limit(gas: int, policy: FeePolicy) -> int:
    return gas if gas == PLAIN_GAS else with_margin(gas, policy.gas_margin_percent)


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
