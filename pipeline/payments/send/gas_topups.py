"""Gas top-ups: coins from the gas wallet to wallets that cannot pay for moving their tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from loguru import logger

from pipeline.chains.errors import InsufficientFunds, PermissionChanged, SimulationFailed
from pipeline.chains.fees import Fee, TronFee
from pipeline.chains.values import BalanceQuery, Finality, Payment
from pipeline.log import Seldom
from pipeline.payments.decide.decisions import Holdings, Pay, Skip, ready_tokens
from pipeline.payments.decide.gas import decide_gas
from pipeline.payments.decide.holdings import Unreadable, estimates, read_holdings, without_tokens
from pipeline.payments.intents import Kind
from pipeline.payments.send.handler import Decided, PayingHandler, ours, outcome_of, skipped
from pipeline.payments.send.sender import Claimed, Order, Orders, Sender
from pipeline.payments.send.store import Promised, Purse, PurseShort
from pipeline.payments.terms import GasPolicy, Terms
from pipeline.queue.jobs import Defer, Failed, Outcome, Retry

_EMPTY_GAS_WALLET_SECONDS = 30.0
_NOT_YET_FINAL_SECONDS = 15.0
_DEAR_FEES_SECONDS = 30.0
_LOCKED_OUT_SECONDS = 300.0
_HEADROOM_PERCENT = 25


class GasTopups(PayingHandler):
    """The handler of job type ``gas-topup``."""

    kind = Kind.GAS

    def __init__(self, senders: Mapping[int, Sender], **options: Any) -> None:
        super().__init__(senders, **options)
        self._told_locked_out = Seldom()

    async def decide(self, sender: Sender, terms: Terms, batch: Sequence[Claimed]) -> list[Decided]:
        mine, decided = ours(batch)
        if not mine:
            return decided
        # Promises before the balance: a payment that becomes final in between is then counted twice, not never. What is
        # asked for later, by this process or another, is counted when an intent is committed.
        gas_wallet = BalanceQuery(await sender.gas_address(), terms.native.asset)
        promised = await sender.store.gas_in_flight(terms.chain_id, gas_wallet.address, [one.job.id for one in mine])
        holdings, (purse,) = await read_holdings(sender.provider, terms, mine, Finality.FINAL, gas_wallet)
        if purse.raw is None:
            reason = f"the balance of gas wallet {gas_wallet.address} could not be read: {purse.error}"
            return decided + [(one, Retry(reason)) for one in mine]
        wanted = await self._wanted(sender, terms, holdings, decided)
        orders = await self._priced(sender, terms, wanted, decided)
        await self._open_funded(sender, terms, orders, purse.raw, promised, decided)
        return decided

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
        priced = await estimates(sender, terms, [payment for _, payment in payments], self._slots)
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
        for (one, _), payment, estimate in zip(
            wanted, payments, await estimates(sender, terms, payments, self._slots), strict=True
        ):
            if isinstance(estimate, InsufficientFunds):
                decided.append((one, _short_of(terms, gas_wallet, estimate.held, estimate.needed)))
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
                    decided.append((one, _too_dear(terms, estimate.fee, amount)))
                else:
                    order = Order(one, self.kind, terms.native, replace(payment, amount=amount), estimate)
                    orders.append(order)
        return orders

    def _locked_out(self, terms: Terms, trouble: PermissionChanged) -> Outcome:
        """The gas wallet's own permission was changed. All top-ups of the chain wait for a person, and none is lost."""
        if self._told_locked_out.due():
            logger.critical("gas wallet of {}: {}. No top-up is made until it is yours again", terms.chain, trouble)
        return Defer(_LOCKED_OUT_SECONDS, f"gas wallet: {trouble}")

    async def _open_funded(
        self,
        sender: Sender,
        terms: Terms,
        orders: Sequence[Order],
        balance: int,
        promised: Promised,
        decided: list[Decided],
    ) -> None:
        """Commit the intents that the gas wallet can pay, in the order of the batch; the others wait and say so."""
        adopted = 0
        for order in orders:
            fee = order.estimate.fee
            cost = order.payment.amount + fee
            available = balance - promised.amount - promised.unsigned * fee - adopted
            try:
                transfer_id = await sender.open(order, Purse(available, fee, promised.newest))
            except PurseShort as short:
                decided.append((order.claimed, _short_of(terms, order.payment.sender, short.available, cost)))
            except Exception as trouble:
                decided.append((order.claimed, outcome_of(order.claimed.job, trouble)))
            else:
                decided.append((order.claimed, Orders((replace(order, transfer_id=transfer_id),))))
                # Asked for before all this, by this very job.
                adopted += cost if transfer_id <= promised.newest else 0


def _with_headroom(estimate: Fee) -> int:
    """On EVM the price moves between the top-up and the transfer that it is for, and a wallet that lacks one wei of its
    fee then is sent back for more: two full blocks' rise of the base fee is covered."""
    return estimate.fee if not estimate.rises else -(-estimate.fee * (100 + _HEADROOM_PERCENT) // 100)


def _too_dear(terms: Terms, fee: int, amount: int) -> Outcome:
    human = terms.native.human
    return Defer(
        _DEAR_FEES_SECONDS,
        f"a top-up costs {human(fee)} in fees and has to be worth {terms.topup_fee_multiple} times as much, "
        f"{human(amount)}: "
        f"{terms.chain}.gas_max_per_topup is {human(terms.gas_max_per_topup)}. Wait until fees fall, or raise it",
    )


def _not_ours_any_more(wallet: str) -> Failed:
    return Failed(
        f"no gas for {wallet}: its owner permission does not let its own key sign alone any more, so that somebody "
        "else would spend it, and its tokens cannot be moved from here. Find out who had the key of this wallet"
    )


def _short_of(terms: Terms, gas_wallet: str, available: int, cost: int) -> Outcome:
    """Nothing is lost and no retry used up: the job waits for somebody to fill the gas wallet."""
    human = terms.native.human
    return Defer(
        _EMPTY_GAS_WALLET_SECONDS,
        f"gas wallet {gas_wallet} has {human(max(0, available))} to give, this top-up needs {human(cost)}: "
        f"send {terms.native.asset.symbol} to it",
    )
