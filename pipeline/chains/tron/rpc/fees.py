"""What a payment costs on TRON: energy by simulation, bandwidth by the byte, activation by the account.

Prices are the node's own (``getchainparameters``); they change by vote, so they are kept for a short time only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_high, median_low
from typing import Any

from pipeline.chains.errors import InsufficientFunds
from pipeline.chains.fees import TronFee
from pipeline.chains.rpc.answers import field, sequence, whole
from pipeline.chains.rpc.http import Clock
from pipeline.chains.rpc.kept_answers import KeptAnswers
from pipeline.chains.rpc.nodes import Nodes
from pipeline.chains.tron.codec import address
from pipeline.chains.tron.codec.size import transaction_bytes
from pipeline.chains.tron.rpc import energy
from pipeline.chains.tron.rpc.accounts import TronAccount, check_signer, read_account
from pipeline.chains.tron.rpc.energy import ContractEnergy, DynamicEnergy
from pipeline.chains.tron.rpc.node import TronNode, reading
from pipeline.chains.tron.rpc.simulate import simulate
from pipeline.chains.values import Finality, Payment
from pipeline.units import TRX_DECIMALS, to_human

PRICES_KEPT_SECONDS = 60.0
_PARAMETERS = (
    "getEnergyFee",
    "getTransactionFee",
    "getCreateNewAccountFeeInSystemContract",
    "getCreateAccountFee",
    "getFreeNetLimit",
    *energy.PARAMETERS,
)
"""What is read of the chain's parameters; from the fifth on they may be missing."""
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
    dynamic_energy: DynamicEnergy | None = None
    """None: busy contracts cost no more than others."""

    @classmethod
    def median(cls, said: Sequence["Prices"]) -> "Prices":
        """The higher price of two nodes: a transaction whose fee limit was made for a lower price of energy fails, and
        its fee is spent all the same."""
        return cls(
            energy=median_high(one.energy for one in said),
            bandwidth=median_high(one.bandwidth for one in said),
            activation=median_high(one.activation for one in said),
            free_bandwidth=median_low(one.free_bandwidth for one in said),
            dynamic_energy=DynamicEnergy.most_expensive([one.dynamic_energy for one in said]),
        )


class TronFees:
    """Prices and estimates. One for each provider."""

    def __init__(self, clock: Clock, nodes: Nodes[TronNode], account_kept_seconds: float) -> None:
        self._nodes = nodes
        self._prices = KeptAnswers[None, Prices](clock, PRICES_KEPT_SECONDS)
        self._contracts = KeptAnswers[tuple[TronNode, str], ContractEnergy | None](clock, PRICES_KEPT_SECONDS)
        """Tokens in their maintenance period."""
        self._accounts = KeptAnswers[tuple[TronNode, str], TronAccount](clock, account_kept_seconds)
        self._resources = KeptAnswers[tuple[TronNode, str], Any](clock, account_kept_seconds)
        """Both by node, so that all of an estimate is answered by one."""

    async def prices(self) -> Prices:
        """The median of two nodes, at most PRICES_KEPT_SECONDS old. Raises ChainUnavailable."""
        return await self._prices.get(None, self._read_prices)

    async def _read_prices(self) -> Prices:
        return Prices.median(await self._nodes.opinions(_read_prices))

    async def estimate(self, node: TronNode, payment: Payment) -> TronFee:
        """Raises PermissionChanged, SimulationFailed, InsufficientFunds, NotAToken, NodeFailure."""
        prices = await self.prices()
        body = {"address": address.to_hex(payment.sender)}
        resources = await self._resources.get(
            (node, payment.sender), lambda: node.call("getaccountresource", Finality.HEAD, body)
        )
        sender = await self._account(node, payment.sender)
        check_signer(sender)
        if payment.asset.contract is None:
            return _coin(node, payment, prices, resources, sender, await self._account(node, payment.receiver))
        needed = await self._energy(node, payment, payment.asset.contract, prices)
        fee_limit = min(needed * prices.energy, _LARGEST_FEE_LIMIT)
        with reading(node, "account resources"):
            staked = max(0, _resource(resources, "EnergyLimit") - _resource(resources, "EnergyUsed"))
            bandwidth = _paid_bytes(transaction_bytes(payment, fee_limit), prices, resources)
        fee = max(0, needed - staked) * prices.energy + bandwidth * prices.bandwidth
        return TronFee(fee=fee, fee_limit=fee_limit, energy=needed, bandwidth=bandwidth)

    async def _energy(self, node: TronNode, payment: Payment, contract: str, prices: Prices) -> int:
        """What the transfer may use by the time it is in a block. Raises SimulationFailed, NotAToken, NodeFailure."""
        call = await simulate(node, payment, contract)
        busy = None if prices.dynamic_energy is None else await self._contract_energy(node, contract)
        return energy.needed(call.energy, call.penalty, prices.dynamic_energy, busy)

    async def _contract_energy(self, node: TronNode, contract: str) -> ContractEnergy | None:
        """At most PRICES_KEPT_SECONDS old. Raises NodeFailure."""
        return await self._contracts.get((node, contract), lambda: energy.contract_energy(node, contract))

    async def _account(self, node: TronNode, wanted: str) -> TronAccount:
        """Shortly kept: a wallet is looked at for its tokens' transfer and for its top-up, the gas
        wallet for each of a batch. Raises NodeFailure."""
        return await self._accounts.get((node, wanted), lambda: read_account(node, wanted))


def _coin(
    node: TronNode, payment: Payment, prices: Prices, resources: Any, sender: TronAccount, receiver: TronAccount
) -> TronFee:
    held = sender.balance
    with reading(node, "account resources"):
        bandwidth = _paid_bytes(transaction_bytes(payment, 0), prices, resources)
    # Creating an account is paid by a flat fee and uses no bandwidth.
    activation, bandwidth = (0, bandwidth) if receiver.exists else (prices.activation, 0)
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
    return TronFee(
        fee=fee,
        fee_limit=0,
        bandwidth=bandwidth,
        activation=activation,
        receiver_signs=receiver.signs_alone,
    )


def _paid_bytes(size: int, prices: Prices, resources: Any) -> int:
    """0 when staked or free bandwidth covers all of ``size``; part of it covers nothing."""
    staked = _resource(resources, "NetLimit") - _resource(resources, "NetUsed")
    # An account that does not exist yet answers {}: it will have the free allowance of any other.
    free = _resource(resources, "freeNetLimit", prices.free_bandwidth) - _resource(resources, "freeNetUsed")
    return 0 if size <= max(staked, free) else size


def _resource(account: Any, name: str, missing: int = 0) -> int:
    """An amount of an account; java-tron leaves out what is 0. Raises MalformedAnswer."""
    return whole(field(account, name), name, missing=missing)


async def _read_prices(node: TronNode) -> Prices:
    answer = await node.call("getchainparameters", Finality.HEAD)
    with reading(node, "chain parameters"):
        found = {}
        for entry in sequence(field(answer, "chainParameter"), "chainParameter", _MOST_PARAMETERS):
            if (name := field(entry, "key")) in _PARAMETERS:
                # A value of 0 is left out of java-tron's JSON.
                found[name] = whole(field(entry, "value"), name, missing=0)
        energy_price, bandwidth, create, activate = (whole(found.get(name), name) for name in _PARAMETERS[:4])
        free = found.get("getFreeNetLimit", 600)
        return Prices(energy_price, bandwidth, create + activate, free, energy.dynamic_energy(found))


def _trx(sun: int) -> str:
    return to_human(sun, TRX_DECIMALS)
