"""What a payment costs on TRON: energy by simulation, bandwidth by the byte, activation by the account.

Prices are the node's own (``getchainparameters``); they change by vote, so they are kept for a short time only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_high, median_low
from typing import Any

from pipeline.chains.answers import field, sequence, whole
from pipeline.chains.errors import InsufficientFunds, NotAToken, SimulationFailed
from pipeline.chains.http import Clock, NodeFailure
from pipeline.chains.nodes import Nodes
from pipeline.chains.provider import FeeEstimate, Finality, Payment
from pipeline.chains.tokens import abi_string
from pipeline.chains.tron import address
from pipeline.chains.tron.constant import tried
from pipeline.chains.tron.node import TronNode, is_no_contract, reading
from pipeline.chains.tron.transaction import SIGNATURE_BYTES, RawTransfer, encode, join, transfer_call
from pipeline.printable import printable
from pipeline.units import TRX_DECIMALS, to_human

MARGIN_PERCENT = 15
"""On simulated energy: the dynamic-energy penalty and the receiver's storage may change until it lands, and
OUT_OF_ENERGY spends the fee without moving anything."""
PRICES_KEPT_SECONDS = 60.0
RESULT_BYTES = 64
"""Added by the chain to a transaction's size for the result that it will carry."""

MOST_SUN_PER_BYTE = 1_000
MOST_ACTIVATION = 1_100_000
"""Sun: what the main network charges (getTransactionFee; getCreateNewAccountFeeInSystemContract and
getCreateAccountFee). For a bound that no node's word changes; were the chain to vote for more, fees of bandwidth would
be counted too low."""

_ERROR_SELECTOR = bytes.fromhex("08c379a0")
"""Error(string)"""
_PARAMETERS = (
    "getEnergyFee",
    "getTransactionFee",
    "getCreateNewAccountFeeInSystemContract",
    "getCreateAccountFee",
    "getFreeNetLimit",
)
"""What is read of the chain's parameters; the last may be missing."""
_MOST_PARAMETERS = 1_000
_LARGEST_FEE_LIMIT = 15_000_000_000
"""Sun; java-tron refuses more (getMaxFeeLimit)."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Sun per unit, from the chain's parameters."""

    energy: int
    bandwidth: int
    """Per byte."""
    activation: int
    """New account by a transfer, its own 1 TRX and the 0.1 TRX that replace its bandwidth."""
    free_bandwidth: int
    """Bytes a day that every account has."""

    @classmethod
    def median(cls, said: Sequence["Prices"]) -> "Prices":
        """Of several nodes, of two the dearer word: the chain charges what it charges, and a fee limit that was made
        for a lower price of energy burns without moving anything."""
        return cls(
            energy=median_high(one.energy for one in said),
            bandwidth=median_high(one.bandwidth for one in said),
            activation=median_high(one.activation for one in said),
            free_bandwidth=median_low(one.free_bandwidth for one in said),
        )


class FeeBook:
    """Prices and estimates. One for each provider."""

    def __init__(self, clock: Clock, nodes: Nodes[TronNode]) -> None:
        self._clock = clock
        self._nodes = nodes
        self._prices: Prices | None = None
        self._read_at = 0.0

    async def prices(self) -> Prices:
        """The median of two nodes, at most PRICES_KEPT_SECONDS old. Raises ChainUnavailable."""
        now = self._clock.monotonic()
        if self._prices is None or now - self._read_at >= PRICES_KEPT_SECONDS:
            self._prices, self._read_at = Prices.median(await self._nodes.opinions(_read_prices)), now
        return self._prices

    async def estimate(self, node: TronNode, payment: Payment) -> FeeEstimate:
        """Raises SimulationFailed, InsufficientFunds, NotAToken, NodeFailure."""
        prices = await self.prices()
        resources = await node.call("getaccountresource", Finality.HEAD, {"address": address.to_hex(payment.sender)})
        if payment.asset.contract is None:
            return await _coin(node, payment, prices, resources)
        energy = await _simulate(node, payment, payment.asset.contract)
        fee_limit = min(energy * prices.energy, _LARGEST_FEE_LIMIT)
        with reading(node, "account resources"):
            staked = max(0, _resource(resources, "EnergyLimit") - _resource(resources, "EnergyUsed"))
            bandwidth = _paid_bytes(transaction_bytes(payment, fee_limit), prices, resources)
        fee = max(0, energy - staked) * prices.energy + bandwidth * prices.bandwidth
        return FeeEstimate(fee=fee, fee_limit=fee_limit, energy=energy, bandwidth=bandwidth)


def transaction_bytes(payment: Payment, fee_limit: int) -> int:
    """The bandwidth that a payment uses: its signed bytes and 64 for the result."""
    # Heights and times of the real one have as many bytes as these.
    raw = encode(
        RawTransfer(
            sender=payment.sender,
            receiver=payment.receiver,
            amount=payment.amount,
            contract=payment.asset.contract,
            ref_block_bytes=bytes(2),
            ref_block_hash=bytes(8),
            expiration_ms=2**41,
            timestamp_ms=2**41,
            fee_limit=fee_limit,
        )
    )
    return len(join(raw, bytes(SIGNATURE_BYTES))) + RESULT_BYTES


def most_burned(raw: bytes, transfer: RawTransfer) -> int:
    """The most sun that ``raw_data`` bytes can burn: the fee limit, every byte paid for, and a new account."""
    size = len(join(raw, bytes(SIGNATURE_BYTES))) + RESULT_BYTES
    activation = MOST_ACTIVATION if transfer.contract is None else 0
    return transfer.fee_limit + size * MOST_SUN_PER_BYTE + activation


async def _coin(node: TronNode, payment: Payment, prices: Prices, resources: Any) -> FeeEstimate:
    receiver = await node.call("getaccount", Finality.HEAD, {"address": address.to_hex(payment.receiver)})
    sender = await node.call("getaccount", Finality.HEAD, {"address": address.to_hex(payment.sender)})
    with reading(node, "accounts"):
        held = _resource(sender, "balance")
        field(receiver, "balance")
        bandwidth = _paid_bytes(transaction_bytes(payment, 0), prices, resources)
    # Creating an account is paid by a flat fee and uses no bandwidth.
    activation, bandwidth = (prices.activation, 0) if receiver == {} else (0, bandwidth)
    fee = activation + bandwidth * prices.bandwidth
    needed = payment.amount + fee
    if held < needed:
        raise InsufficientFunds(
            payment.sender,
            held,
            needed,
            f"{payment.sender} holds {_trx(held)} TRX and needs {_trx(needed)} "
            f"({_trx(payment.amount)} to send, {_trx(fee)} fee): send TRX to it",
        )
    return FeeEstimate(fee=fee, fee_limit=0, bandwidth=bandwidth, activation=activation)


async def _simulate(node: TronNode, payment: Payment, contract: str) -> int:
    """Energy of the token transfer with the margin on it."""
    answer = await node.call(
        "triggerconstantcontract",
        Finality.HEAD,
        {
            "owner_address": address.to_hex(payment.sender),
            "contract_address": address.to_hex(contract),
            "function_selector": "transfer(address,uint256)",
            "parameter": transfer_call(payment.receiver, payment.amount)[4:].hex(),
        },
    )
    call = tried(node, answer, "a simulated transfer")
    if call.code == "CONTRACT_VALIDATE_ERROR" and is_no_contract(call.message):
        raise NotAToken(
            f"{contract} ({payment.asset.symbol}) is not a contract: correct asset_on_chain.contract_address"
        )
    if call.code in ("SERVER_BUSY", "OTHER_ERROR"):
        raise NodeFailure("node error", f"{node.name} could not simulate: {call.message or call.code}")
    if not call.succeeded:
        reason = _revert_reason(call.returned) or call.message or call.code or "no reason given"
        raise SimulationFailed(
            f"{payment.asset.symbol} transfer of {to_human(payment.amount, payment.asset.decimals)} "
            f"from {payment.sender} to {payment.receiver} would fail: {reason}"
        )
    if call.energy == 0:
        raise NodeFailure("shape", f"{node.name} simulated a transfer and does not say how much energy it used")
    # What transfer() returns is not looked at: USDT on TRON returns false when it succeeds.
    return -(-call.energy * (100 + MARGIN_PERCENT) // 100)


def _paid_bytes(size: int, prices: Prices, resources: Any) -> int:
    """0 when staked or free bandwidth covers all of ``size``; part of it covers nothing."""
    staked = _resource(resources, "NetLimit") - _resource(resources, "NetUsed")
    # An account that does not exist yet answers {}: it will have the free allowance of any other.
    free = _resource(resources, "freeNetLimit", prices.free_bandwidth) - _resource(resources, "freeNetUsed")
    return 0 if size <= max(staked, free) else size


def _resource(account: Any, name: str, missing: int = 0) -> int:
    """An amount of an account; java-tron leaves out what is 0. Raises Odd."""
    return whole(field(account, name), name, missing=missing)


async def _read_prices(node: TronNode) -> Prices:
    answer = await node.call("getchainparameters", Finality.HEAD)
    with reading(node, "chain parameters"):
        found = {}
        for entry in sequence(field(answer, "chainParameter"), "chainParameter", _MOST_PARAMETERS):
            if (name := field(entry, "key")) in _PARAMETERS:
                # A value of 0 is left out of java-tron's JSON.
                found[name] = whole(field(entry, "value"), name, missing=0)
        energy, bandwidth, create, activate = (whole(found.get(name), name) for name in _PARAMETERS[:4])
        return Prices(energy, bandwidth, create + activate, found.get("getFreeNetLimit", 600))


def _revert_reason(returned: bytes) -> str:
    """The text of ``Error(string)``, safe to show; empty for any other revert."""
    if returned[:4] != _ERROR_SELECTOR:
        return ""
    try:
        return printable(abi_string(returned[4:]))
    except ValueError:
        return ""


def _trx(sun: int) -> str:
    return to_human(sun, TRX_DECIMALS)
