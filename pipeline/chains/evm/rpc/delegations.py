"""Delegations (EIP-7702): an account signs that a contract's code is to be its own from now on, and anybody's
transaction of type 4 carries that. Each one that the chain accepts uses a nonce of the account, which sent no
transaction.

Whether it was accepted is not in the receipt: the chain passes over one whose nonce is not the account's at that
moment, and anybody may carry one again that was used long ago. So these are candidates: they explain a nonce that is
used at a final block and that no transaction of its account has.
"""

from typing import Any

import rlp

from pipeline.chains.errors import InvalidAddress
from pipeline.chains.evm.codec import address
from pipeline.chains.rpc.answers import MalformedAnswer, field, quantity, sequence
from pipeline.chains.values import Authorization
from pipeline.curve import PublicKey
from pipeline.curve.keccak import keccak256

_MAGIC = b"\x05"
"""Before the RLP of what is signed."""
MOST_LISTED = 10_000
"""Each costs 12,500 gas or more."""
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def read(transaction: Any) -> tuple[Authorization, ...]:
    """Those of a transaction as a node shows it, but for those that the chain can never accept: of another chain, or
    with a signature of nobody.

    Raises MalformedAnswer for a list of another shape.
    """
    given = field(transaction, "authorizationList")
    listed = [] if given is None else sequence(given, "authorizationList", MOST_LISTED)
    # A transaction names its own chain, on which it is.
    chains = {0, quantity(field(transaction, "chainId"), "chainId")} if listed else set()
    return tuple(found for one in listed if (found := _authorization(one, chains)) is not None)


def digest(chain_id: int, delegate: str, nonce: int) -> bytes:
    """The 32 bytes that an account signs. Raises InvalidAddress."""
    fields = [_number(chain_id), address.to_bytes(delegate), _number(nonce)]
    return keccak256(_MAGIC + rlp.encode(fields))


def _authorization(one: Any, chains: set[int]) -> Authorization | None:
    chain_id, nonce, r, s = (quantity(field(one, name), name) for name in ("chainId", "nonce", "r", "s"))
    parity = quantity(field(one, "yParity") or field(one, "v"), "yParity")
    delegate = _address(field(one, "address"))
    if chain_id not in chains or not 0 <= parity <= 1 or not 0 < s <= _HALF_ORDER or not 0 < r < 2**256:
        return None
    if not 0 <= nonce < 2**64 - 1:
        return None
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
    try:
        key = PublicKey.recover(digest(chain_id, delegate, nonce), signature)
    except ValueError:
        return None
    return Authorization(address.from_public_key(key), nonce, delegate)


def _address(value: Any) -> str:
    try:
        return address.from_word(value if isinstance(value, str) else "")
    except InvalidAddress as error:
        raise MalformedAnswer("address", value, "an address") from error


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
