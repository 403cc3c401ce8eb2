"""Read calls about staked coins, and about what this network has none of: TRC10 tokens, exchanges, proposals, rewards.
Those answer as java-tron does where there is none."""

from typing import Any

from pipeline.devnet.api_blocks import Call
from pipeline.devnet.staking import MOST_UNFREEZING, NO_STAKE, Stake

BROKERAGE = 20
"""Percent that a witness keeps of the rewards unless it says otherwise."""


def get_available_unfreeze_count(call: Call) -> Any:
    now = call.head.timestamp
    waiting = sum(until > now for _, _, until in _stake(call).unfreezing)
    left = MOST_UNFREEZING - waiting
    return {"count": left} if left else {}


def get_can_withdraw_unfreeze_amount(call: Call) -> Any:
    """At ``timestamp`` (the newest block's by default), in sun."""
    at = call.integer("timestamp") or call.head.timestamp
    amount = sum(sun for _, sun, until in _stake(call).unfreezing if until <= at)
    return {"amount": amount} if amount else {}


def get_reward(call: Call) -> Any:
    return {"reward": 0}


def get_brokerage(call: Call) -> Any:
    return {"brokerage": BROKERAGE}


def nothing(call: Call) -> Any:
    return {}


def _stake(call: Call) -> Stake:
    account = call.node.state(call.solid).ledger.accounts.get(call.address("owner_address"))
    return account.stake if account else NO_STAKE
