"""What a rollup charges for its data on L1, beside gas limit × max fee (OP Stack: Optimism, Base, opBNB, …).

No transaction bounds that part: the chain takes what L1 asks for when the transaction is executed, and refuses a sender
that does not hold it. So it is asked of the chain's own oracle for the very bytes, with a margin.

    estimate   getL1Fee(unsigned bytes), which adds the signature itself, and getOperatorFee(gas limit) (Isthmus)
    receipt    l1Fee; operatorFeeScalar and operatorFeeConstant, by gas used: /10^6, since Jovian ×100

Arbitrum's part for L1 is inside the gas (``gasUsedForL1`` of ``gasUsed``): it has no oracle, and nothing is added.
Sources: Optimism's specs, execution engine of Ecotone, Fjord, Isthmus and Jovian; contract GasPriceOracle.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.chains.evm.codec.transaction import EvmTransfer, GasPrice, encode
from pipeline.chains.evm.rpc.fees import FeePolicy, with_margin
from pipeline.chains.evm.rpc.node import EvmNode, RpcError, reading, wanted
from pipeline.chains.rpc.answers import MalformedAnswer, field, hex_bytes, quantity
from pipeline.chains.rpc.http import Clock, NodeFailure
from pipeline.chains.values import Payment

ORACLE = "0x420000000000000000000000000000000000000F"
"""GasPriceOracle, in the genesis of every OP Stack chain. Nobody has a key to this address."""
LOOKED_FOR_SECONDS = 3600.0
"""Interval between searches for an oracle where there was none: a chain may become a rollup (Celo did)."""

_GET_L1_FEE = bytes.fromhex("49948e0e")
"""getL1Fee(bytes)"""
_GET_OPERATOR_FEE = bytes.fromhex("275aedd2")
"""getOperatorFee(uint256)"""
_NONCE = 0xFEDCBA98
"""In place of one that is not known yet: as many bytes as one has at the most, none of them zero."""
_REVERTED = 3
MAX_FEE = 2**128
"""Wei: a fee is this at the most, and stays below 78 digits with what is added to it."""
MAX_SCALAR = 2**64
"""Of the operator's fee: 32 and 64 bits in the chain's own words."""


class L1Fees:
    """The oracle of one chain, found once. One for each provider."""

    def __init__(self, chain: str, chain_id: int, policy: FeePolicy, clock: Clock) -> None:
        self._chain = chain
        self._chain_id = chain_id
        self._policy = policy
        self._clock = clock
        self._oracle = policy.named_oracle
        self._looked_at: float | None = None
        """When there was none at the place where one would be."""

    async def of_payment(self, node: EvmNode, payment: Payment, gas_limit: int, fees: GasPrice) -> int:
        """The part for L1 of a payment that is not numbered yet, wei, margin included. Raises NodeFailure."""
        contract = payment.asset.contract
        transfer = EvmTransfer(self._chain_id, _NONCE, payment.receiver, payment.amount, contract, gas_limit, fees)
        return await self.of_transfer(node, transfer)

    async def of_transfer(self, node: EvmNode, transfer: EvmTransfer) -> int:
        """The part for L1 of a transaction, wei, margin included; 0 where the chain charges none.

        Raises NodeFailure."""
        oracle = await self._find(node)
        if oracle is None:
            return 0
        data, operator = await node.batch(
            [
                ("eth_call", [{"to": oracle, "data": _hex(_l1_fee_call(encode(transfer)))}, "latest"]),
                ("eth_call", [{"to": oracle, "data": _hex(_operator_fee_call(transfer.gas_limit))}, "latest"]),
            ]
        )
        if isinstance(data, RpcError) and _reverts(data):
            raise NodeFailure(
                "l1 fee",
                f"the contract at {oracle} on {self._chain} does not answer getL1Fee, so what L1 costs is not known "
                f"({data.reason}): flagpost config set {self._chain}.fees.l1_oracle to the oracle's address, or to "
                "none where the chain charges nothing beside gas",
            )
        fee = _word(node, "getL1Fee", wanted(data))
        if not (isinstance(operator, RpcError) and _reverts(operator)):  # before Isthmus there is no such fee
            fee += _word(node, "getOperatorFee", wanted(operator))
        return with_margin(fee, self._policy.l1_margin_percent)

    async def _find(self, node: EvmNode) -> str | None:
        if self._oracle is not None or self._policy.l1_oracle is not None:
            return self._oracle
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= LOOKED_FOR_SECONDS:
            code = await node.call("eth_getCode", ORACLE, "latest")
            with reading(node, "eth_getCode"):
                is_there = bool(hex_bytes(code, "code", "0x"))
            self._oracle, self._looked_at = (ORACLE if is_there else None), now
        return self._oracle


def paid(receipt: Mapping[str, Any], gas_used: int) -> int:
    """What a receipt says was charged beside gas used × price, wei. Raises MalformedAnswer."""
    l1 = _number(receipt, "l1Fee", MAX_FEE)
    scalar, constant = (_number(receipt, name, MAX_SCALAR) for name in ("operatorFeeScalar", "operatorFeeConstant"))
    is_jovian = field(receipt, "daFootprintGasScalar") is not None
    return l1 + constant + (gas_used * scalar * 100 if is_jovian else gas_used * scalar // 10**6)


def _l1_fee_call(raw: bytes) -> bytes:
    padding = bytes(-len(raw) % 32)
    return _GET_L1_FEE + (32).to_bytes(32, "big") + len(raw).to_bytes(32, "big") + raw + padding


def _operator_fee_call(gas_limit: int) -> bytes:
    return _GET_OPERATOR_FEE + gas_limit.to_bytes(32, "big")


def _word(node: EvmNode, what: str, answer: Any) -> int:
    with reading(node, what):
        returned = hex_bytes(answer, what, "0x")
        if len(returned) != 32 or (fee := int.from_bytes(returned, "big")) > MAX_FEE:
            raise MalformedAnswer(what, answer, f"32 bytes with a number of at most {MAX_FEE}")
        return fee


def _reverts(error: RpcError) -> bool:
    return error.rpc_code == _REVERTED or "revert" in error.reason.lower()


def _number(receipt: Mapping[str, Any], name: str, most: int) -> int:
    value = field(receipt, name)
    return 0 if value is None else quantity(value, name, most)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
