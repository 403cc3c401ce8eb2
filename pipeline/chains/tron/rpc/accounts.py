"""An account as a node shows it: what it holds, and whether its own key can still sign for it.

TRON lets an account name other keys, weights and a threshold (java-tron: AccountPermissionUpdateActuator). Whoever
gets hold of a key once can lock its owner out that way: no signature of ours is worth anything from then on, and coins
that are sent there are theirs.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.chains.errors import PermissionChanged
from pipeline.chains.rpc.answers import field, hex_bytes, mapping, sequence, whole
from pipeline.chains.tron.codec import address
from pipeline.chains.tron.rpc.node import TronNode, reading
from pipeline.chains.values import Finality

_MOST_KEYS = 100
"""Of one permission; java-tron allows 5 (getTotalSignNum)."""


@dataclass(frozen=True, slots=True)
class TronAccount:
    address: str
    exists: bool
    """Whether it was activated."""
    balance: int
    """Sun."""
    signs_alone: bool
    """Whether the key of its own address is enough to sign for it."""


async def read_account(node: TronNode, wanted: str) -> TronAccount:
    """At the newest block. Raises NodeFailure."""
    answer = await node.call("getaccount", Finality.HEAD, {"address": address.to_hex(wanted)})
    with reading(node, "an account"):
        # A value of 0 is left out of java-tron's JSON.
        balance = whole(field(answer, "balance"), "balance", missing=0)
        return TronAccount(wanted, answer != {}, balance, _signs_alone(answer, address.to_bytes(wanted)))


def check_signer(account: TronAccount) -> None:
    """Raises PermissionChanged."""
    if not account.signs_alone:
        raise PermissionChanged(
            account.address,
            f"the owner permission of {account.address} does not let its own key sign alone any more: somebody who had "
            "the key has changed it. Nothing can be signed for this account from here; find out who it was",
        )


def _signs_alone(account: Any, owner: bytes) -> bool:
    """An account without permissions has its own key for a signer. Raises MalformedAnswer."""
    permission = field(account, "owner_permission")
    if permission is None:
        return True
    keys = mapping(permission, "owner_permission").get("keys")
    weights = [
        whole(field(key, "weight"), "weight", missing=0)
        for key in ([] if keys is None else sequence(keys, "keys", _MOST_KEYS))
        if hex_bytes(field(key, "address"), "address") == owner
    ]
    return sum(weights) >= max(1, whole(permission.get("threshold"), "threshold", missing=0))
