"""A token transfer tried out by a node: whether it passes, what arrives, and the energy that it uses."""

from pipeline.chains.errors import NotAToken, SimulationFailed
from pipeline.chains.rpc.http import NodeFailure
from pipeline.chains.tokens import abi_string
from pipeline.chains.tron.codec import address
from pipeline.chains.tron.codec.transaction import transfer_call
from pipeline.chains.tron.rpc.constant import Tried, tried
from pipeline.chains.tron.rpc.node import TronNode, is_no_contract
from pipeline.chains.values import Finality, Payment
from pipeline.printable import printable
from pipeline.units import to_human

_ERROR_SELECTOR = bytes.fromhex("08c379a0")
"""Error(string)"""


async def simulate(node: TronNode, payment: Payment, contract: str) -> Tried:
    """The transfer, once it was seen to succeed and all of the amount to arrive. Raises SimulationFailed, NotAToken,
    NodeFailure."""
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
        raise _failed(payment, _revert_reason(call.returned) or call.message or call.code or "no reason given")
    if call.energy == 0:
        raise NodeFailure("shape", f"{node.name} simulated a transfer and does not say how much energy it used")
    # The return value of transfer() is not read: USDT on TRON returns false when it succeeds.
    _check_arrival(payment, call)
    return call


def _check_arrival(payment: Payment, call: Tried) -> None:
    """Raises SimulationFailed unless the amount arrives and no more leaves, by the token's own Transfer events
    (java-tron tells them since 4.3). They are also what a payment is recognised by in its block: without one, nobody
    could tell."""
    of_token = [effect for effect in call.transfers if effect.contract == payment.asset.contract]
    sent = [effect for effect in of_token if effect.sender == payment.sender]
    arrives = sum(effect.amount for effect in sent if effect.receiver == payment.receiver)
    leaves = sum(effect.amount for effect in sent)
    if arrives == payment.amount == leaves:
        return
    if not sent:
        raise _failed(payment, "its contract emits no Transfer event, so that nobody could see it in a block")

    def human(raw: int) -> str:
        return to_human(raw, payment.asset.decimals)

    if arrives < payment.amount:
        told = f"the token takes a fee on transfers, {human(arrives)} of {human(payment.amount)} arrive"
    else:
        told = (
            f"the token takes a fee on top of transfers, {human(leaves)} leave for {human(payment.amount)} that arrive"
        )
    raise _failed(
        payment, f"{told}; switch the asset off (flagpost assets disable) or wait until its fee is switched off"
    )


def _failed(payment: Payment, reason: str) -> SimulationFailed:
    return SimulationFailed(
        f"{payment.asset.symbol} transfer of {to_human(payment.amount, payment.asset.decimals)} "
        f"from {payment.sender} to {payment.receiver} would fail: {reason}"
    )


def _revert_reason(returned: bytes) -> str:
    """The text of ``Error(string)``, safe to show; empty for any other revert."""
    if returned[:4] != _ERROR_SELECTOR:
        return ""
    try:
        return printable(abi_string(returned[4:]))
    except ValueError:
        return ""
