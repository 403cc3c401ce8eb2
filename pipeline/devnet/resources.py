"""Bandwidth and energy: what is free, what is burned, what a fee limit buys."""

from dataclasses import replace
from typing import Protocol

from pipeline.devnet.ledger import Ledger
from pipeline.devnet.params import BlockEnv
from pipeline.devnet.transactions import Code, Rejected

SLOT_MS = 3_000
DAY_SLOTS = 24 * 3600 * 1000 // SLOT_MS
"""Usage recovers evenly over a day."""


class Payers(Protocol):
    """Accounts as far as they pay for resources."""

    ledger: Ledger

    def balance(self, address: bytes) -> int:
        """Sun."""

    def burn(self, owner: bytes, sun: int) -> None:
        """Take coins out of the world."""


def slot(timestamp_ms: int) -> int:
    return timestamp_ms // SLOT_MS


def recovered(used: int, since_slot: int, now_slot: int) -> int:
    """What is left today of a usage ``used`` at ``since_slot``."""
    remaining = max(0, DAY_SLOTS - max(0, now_slot - since_slot))
    return used * remaining // DAY_SLOTS


def charge_bandwidth(state: Payers, owner: bytes, size: int, creates_account: bool, env: BlockEnv) -> tuple[int, int]:
    """Take ``size`` bytes from what was staked for, or from the free allowance, all or nothing; else burn TRX. Returns
    (bytes used, sun burned).

    A transfer that creates an account pays a fixed fee and cannot use the allowance.
    Raises Rejected(BANDWITH_ERROR) when neither will do."""
    account, params = state.ledger.accounts[owner], env.params
    now = slot(env.timestamp)
    if not creates_account:
        used = recovered(account.net_used, account.net_slot, now)
        if size <= account.stake.net_limit - used:
            state.ledger.put_account(owner, replace(account, net_used=used + size, net_slot=now))
            return size, 0
        used = recovered(account.free_net_used, account.free_net_slot, now)
        if size <= params.free_net_limit - used:
            state.ledger.put_account(owner, replace(account, free_net_used=used + size, free_net_slot=now))
            return size, 0
    fee = params.activation_bandwidth_fee if creates_account else size * params.transaction_fee
    if state.balance(owner) < fee:
        raise Rejected(Code.BANDWITH_ERROR, "Account resource insufficient error.")
    state.burn(owner, fee)
    return 0, fee


def charge_extras(state: Payers, owner: bytes, memo: bytes, signatures: int, env: BlockEnv) -> int:
    """Burn the price of a note and of further signatures. Raises Rejected(BANDWITH_ERROR) when the owner cannot pay
    it."""
    fee = (env.params.memo_fee if memo else 0) + (env.params.multi_sign_fee if signatures > 1 else 0)
    if fee and state.balance(owner) < fee:
        raise Rejected(Code.BANDWITH_ERROR, "Account resource insufficient error.")
    if fee:
        state.burn(owner, fee)
    return fee


def own_energy(state: Payers, owner: bytes, env: BlockEnv) -> int:
    account = state.ledger.accounts[owner]
    limit = env.params.account_energy + account.stake.energy_limit
    return max(0, limit - recovered(account.energy_used, account.energy_slot, slot(env.timestamp)))


def energy_budget(state: Payers, owner: bytes, fee_limit: int, call_value: int, env: BlockEnv) -> int:
    """The energy a call may spend: what fee_limit would buy, but no more than the account can pay for.

    The fee limit caps the account's own energy too (java-tron getAccountEnergyLimitWithFixRatio)."""
    price = env.params.energy_fee
    if price == 0:
        return 10**9 if fee_limit else 0
    affordable = own_energy(state, owner, env) + max(0, state.balance(owner) - call_value) // price
    return min(affordable, fee_limit // price)


def split_energy(state: Payers, owner: bytes, total: int, env: BlockEnv) -> tuple[int, int]:
    """Book ``total`` energy. Returns (taken from the account's own energy, to be burned)."""
    own = min(total, own_energy(state, owner, env))
    if own:
        account, now = state.ledger.accounts[owner], slot(env.timestamp)
        used = recovered(account.energy_used, account.energy_slot, now) + own
        state.ledger.put_account(owner, replace(account, energy_used=used, energy_slot=now))
    return own, total - own
