"""Gas top-ups: coins from the gas wallet to wallets that cannot pay for moving their tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from loguru import logger

from pipeline.chains.errors import InsufficientFunds, PermissionChanged, SimulationFailed
from pipeline.chains.fees import Fee, TronFee
from pipeline.chains.kinds import Kind
from pipeline.chains.values import BalanceQuery, Finality, Payment
from pipeline.log import LogThrottle
from pipeline.payments.decide.decisions import Holdings, Pay, Skip, ready_tokens
from pipeline.payments.decide.gas import decide_gas
from pipeline.payments.send.claimed import Claimed, Order, Orders
from pipeline.payments.send.gas_funds import GasFunds, Promised
from pipeline.payments.send.handler import Decided, PayingHandler, ours, skipped
from pipeline.payments.send.holdings import Unreadable, estimates, read_holdings, without_tokens
from pipeline.payments.send.outcomes import EMPTY_GAS_WALLET_SECONDS, outcome_of
from pipeline.payments.send.sender import Sender
from pipeline.payments.terms import GasPolicy, Terms
from pipeline.queue.jobs import Defer, Failed, Outcome, Retry

_NOT_YET_FINAL_SECONDS = 15.0
_EXPENSIVE_FEES_SECONDS = 30.0
_LOCKED_OUT_SECONDS = 300.0
_HEADROOM_PERCENT = 25


class GasTopups(PayingHandler):
    """The handler of job type ``gas-topup``."""

    kind = Kind.GAS

    def __init__(self, senders: Mapping[int, Sender]) -> None:
        super().__init__(senders)
        self._told_locked_out = LogThrottle()
        self._gas_wallets: dict[str, dict[str, str]] = {}

    def stats(self) -> Mapping[str, Any]:
        """By chain, what its gas wallet held when a top-up was last decided (raw units), for alerts."""
        return {"gas_wallets": dict(self._gas_wallets)}

    async def decide(self, sender: Sender, terms: Terms, batch: Sequence[Claimed]) -> list[Decided]:
        mine, decided = ours(batch)
        if not mine:
            return decided
        # Promises before the balance: a payment that becomes final in between is then counted twice, not never. What is
        # asked for later, by this process or another, is counted when an intent is committed.
        gas_wallet = BalanceQuery(await sender.gas_address(), terms.native.asset)
        promised = await sender.store.gas_in_flight(terms.chain_id, gas_wallet.address, [one.job.id for one in mine])
        holdings, (held,) = await read_holdings(sender.provider, terms, mine, Finality.FINAL, gas_wallet)
        if held.raw is None:
            reason = f"the balance of gas wallet {gas_wallet.address} could not be read: {held.error}"
            return decided + [(one, Retry(reason)) for one in mine]
        read_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._gas_wallets[terms.chain] = {"address": gas_wallet.address, "raw": str(held.raw), "read_at": read_at}
        wanted = await self._wanted(sender, terms, holdings, decided)
        orders = await self._priced(sender, terms, wanted, decided)
        return decided + _funded(terms, orders, held.raw, promised)

    async def _wanted(
        self, sender: Sender, terms: Terms, holdings: Mapping[Claimed, Holdings | Unreadable], decided: list[Decided]
    ) -> list[tuple[Claimed, Pay]]:
        """The top-ups that the rules call for, at the final block and still at the newest one."""
        fees = await self._transfer_fees(sender, terms, holdings)
        wanted: list[tuple[Claimed, Pay]] = []
        for one, held in holdings.items():
            fee = fees.get(one)
            if isinstance(held, Unreadable):
                decided.append((one, held))
            elif isinstance(fee, Exception) and not isinstance(fee, SimulationFailed):
                decided.append((one, outcome_of(one.job, fee)))
            else:
                decision = decide_gas(terms, held, fee if isinstance(fee, int) else None)
                if isinstance(decision, Skip) and held.unreadable and terms.policy is GasPolicy.ON_DEMAND:
                    decided.append((one, without_tokens(one, held)))
                elif isinstance(decision, Skip):
                    decided.append((one, skipped(decision)))
                else:
                    wanted.append((one, decision))
        return await self._still_wanted(sender, terms, wanted, holdings, fees, decided)

    async def _still_wanted(
        self,
        sender: Sender,
        terms: Terms,
        wanted: Sequence[tuple[Claimed, Pay]],
        final: Mapping[Claimed, Holdings | Unreadable],
        fees: Mapping[Claimed, int | Exception],
        decided: list[Decided],
    ) -> list[tuple[Claimed, Pay]]:
        """Drop those that somebody else has just filled: coins in the newest block that are not final yet."""
        if not wanted:
            return []
        queries = [BalanceQuery(one.context.address, terms.native.asset) for one, _ in wanted]
        remaining = []
        for (one, pay), balance in zip(wanted, await sender.provider.balances(queries, Finality.HEAD), strict=True):
            held, fee = final[one], fees.get(one)
            assert isinstance(held, Holdings)  # noqa: S101 - only readable wallets are wanted
            at_head = replace(held, native=held.native if balance.raw is None else balance.raw)
            if isinstance(decide_gas(terms, at_head, fee if isinstance(fee, int) else None), Skip):
                reason = f"{terms.native.human(at_head.native)} in the newest block, not final yet"
                decided.append((one, Defer(_NOT_YET_FINAL_SECONDS, reason)))
            else:
                remaining.append((one, pay))
        return remaining

    async def _transfer_fees(
        self, sender: Sender, terms: Terms, holdings: Mapping[Claimed, Holdings | Unreadable]
    ) -> dict[Claimed, int | Exception]:
        """What the wallets' own token transfers would cost, all of a wallet together, for those that have any to make.
        One that would fail costs nothing; only if all of them would, that is the answer."""
        treasury = await sender.treasury_address()
        payments = [
            (one, Payment(one.context.address, treasury, ready.asset.asset, ready.amount))
            for one, held in holdings.items()
            if isinstance(held, Holdings)
            for ready in ready_tokens(terms, held)
        ]
        fees: dict[Claimed, int | Exception] = {}
        priced = await estimates(sender, terms, [payment for _, payment in payments])
        for (one, _), estimate in zip(payments, priced, strict=True):
            before = fees.get(one)
            if not isinstance(estimate, Exception):
                fees[one] = _with_headroom(estimate) + (before if isinstance(before, int) else 0)
            elif before is None or (isinstance(before, Exception) and not isinstance(estimate, SimulationFailed)):
                fees[one] = estimate
        return fees

    async def _priced(
        self, sender: Sender, terms: Terms, wanted: Sequence[tuple[Claimed, Pay]], decided: list[Decided]
    ) -> list[Order]:
        gas_wallet = await sender.gas_address()
        payments = [Payment(gas_wallet, one.context.address, terms.native.asset, pay.amount) for one, pay in wanted]
        orders = []
        for (one, _), payment, estimate in zip(wanted, payments, await estimates(sender, terms, payments), strict=True):
            if isinstance(estimate, InsufficientFunds):
                short = _short_of(terms, gas_wallet, estimate.held, estimate.needed)
                decided.append((one, Defer(EMPTY_GAS_WALLET_SECONDS, short)))
            elif isinstance(estimate, PermissionChanged):
                decided.append((one, self._locked_out(terms, estimate)))
            elif isinstance(estimate, Exception):
                decided.append((one, outcome_of(one.job, estimate)))
            elif isinstance(estimate, TronFee) and not estimate.receiver_signs:
                decided.append((one, _not_ours_any_more(one.context.address)))
            else:
                # Where less is missing more is sent: a top-up that its own fee exceeds would only burn gas.
                amount = max(payment.amount, terms.least_topup(estimate.fee))
                if amount > terms.gas_max_per_topup:
                    decided.append((one, _too_expensive(terms, estimate.fee, amount)))
                else:
                    order = Order(one, self.kind, terms.native, replace(payment, amount=amount), estimate)
                    orders.append(order)
        return orders

    def _locked_out(self, terms: Terms, trouble: PermissionChanged) -> Outcome:
        """The gas wallet's own permission was changed. All top-ups of the chain wait for a person, and none is lost."""
        if self._told_locked_out.due():
            logger.critical("gas wallet of {}: {}. No top-up is made until it is yours again", terms.chain, trouble)
        return Defer(_LOCKED_OUT_SECONDS, f"gas wallet: {trouble}")


def _funded(terms: Terms, orders: Sequence[Order], balance: int, promised: Promised) -> list[Decided]:
    """Each top-up with what the gas wallet has to give for it, in the order of the batch; who is short waits and says
    so when its intent is committed."""
    decided: list[Decided] = []
    going_on = 0
    for order in orders:
        fee, cost = order.estimate.fee, order.cost
        available = balance - promised.amount - promised.unsigned * fee - going_on

        def short(left: int, order: Order = order, cost: int = cost) -> str:
            return _short_of(terms, order.payment.sender, left, cost)

        funded = replace(order, gas_funds=GasFunds(available, fee, promised.newest, short))
        decided.append((order.claimed, Orders((funded,))))
        # What this very job asked for before all this is not among what is asked for meanwhile.
        going_on += cost if any(one.asset_id == order.asset.id for one in order.claimed.context.own) else 0
    return decided


def _with_headroom(estimate: Fee) -> int:
    """On EVM the price moves between the top-up and the transfer that it is for, and a wallet that lacks one wei of its
    fee then is sent back for more: two full blocks' rise of the base fee is covered."""
    return estimate.fee if not estimate.rises else -(-estimate.fee * (100 + _HEADROOM_PERCENT) // 100)


def _too_expensive(terms: Terms, fee: int, amount: int) -> Outcome:
    human = terms.native.human
    return Defer(
        _EXPENSIVE_FEES_SECONDS,
        f"a top-up costs {human(fee)} in fees and has to be worth {terms.topup_fee_multiple} times as much, "
        f"{human(amount)}: "
        f"{terms.chain}.gas_max_per_topup is {human(terms.gas_max_per_topup)}. Wait until fees fall, or raise it",
    )


def _not_ours_any_more(wallet: str) -> Failed:
    return Failed(
        f"no gas for {wallet}: its owner permission does not let its own key sign alone any more, so that somebody "
        "else would spend it, and its tokens cannot be moved from here. Find out who had the key of this wallet"
    )


def _short_of(terms: Terms, gas_wallet: str, available: int, cost: int) -> str:
    """Nothing is lost and no retry used up: the job waits for somebody to fill the gas wallet."""
    human = terms.native.human
    return (
        f"gas wallet {gas_wallet} has {human(max(0, available))} to give, this top-up needs {human(cost)}: "
        f"send {terms.native.asset.symbol} to it"
    )
