"""What is asked of a signer, and what it answers: plain values, so that it may be in this process or behind a socket.

A request tells the intent, never a digest: the signer derives sender and receiver itself, builds the bytes, and signs
what its policy allows. It remembers by ``request_id``: asked again, it gives the same bytes; asked for something else
under the same id, it refuses.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pipeline.chains.fees import Parameters, told_of
from pipeline.chains.values import Asset, Family, Payment


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """One transaction to be signed."""

    request_id: str
    kind: str
    family: str
    network_id: str
    """Genesis block id on TRON, chain id on EVM."""
    wallet_index: int | None
    """Derivation index of the wallet that is filled or emptied, as a row says it. None: the gas wallet's own (a gap),
    or a wallet that is not derived from our mnemonic."""
    sender: str
    receiver: str
    contract: str | None
    """None: the native coin."""
    amount: int
    """Raw units."""
    parameters: Parameters
    """Nonce or reference block and expiration, and what it may cost."""
    replaces: bytes | None = None
    """The signed bytes whose fees it raises: their part is counted already (EVM)."""

    @property
    def payment(self) -> Payment:
        """What the bytes are to do."""
        return Payment(self.sender, self.receiver, Asset("token", 0, self.contract), self.amount)

    @property
    def content(self) -> str:
        """A hash of all of it but its id: 64 hex digits."""
        told = told_of(self) | {"request_id": "", "parameters": told_of(self.parameters)}
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Signed:
    """The signer's answer: bytes that may be sent once they are kept."""

    request_id: str
    raw: bytes
    txid: str
    signature: bytes
    """r‖s‖v, 65 bytes."""


@dataclass(frozen=True, slots=True)
class RefusedLater:
    """Not now: a ceiling is reached, or the signer cannot write down what it signs. It may be signed later, or was."""

    request_id: str
    reason: str


class Never(StrEnum):
    """Why something is never signed."""

    FORBIDDEN = "forbidden"
    """The policy forbids the payment."""
    TERMS = "terms"
    """The policy forbids what it may cost, or it was withdrawn: the payment may be asked for anew."""
    UNREACHED = "unreached"
    """An earlier request of its batch was refused: likewise."""


@dataclass(frozen=True, slots=True)
class RefusedNever:
    """Nothing was signed under this id, and nothing ever will be: the signer has written that down."""

    request_id: str
    reason: str
    why: Never


Answer = Signed | RefusedLater | RefusedNever


class Signer(Protocol):
    """Holds keys. In this process, or in another one."""

    async def address(self, family: Family, index: int) -> str:
        """The address whose key signs at ``index``; derived anew, never looked up."""

    async def sign(self, requests: Sequence[SigningRequest]) -> list[Answer]:
        """One answer a request, in their order. A batch is of one sender: it is signed up to the first refusal, and
        what was not reached is never signed under its id."""

    async def withdraw(self, requests: Sequence[SigningRequest]) -> list[Answer]:
        """Nobody wants these any more: RefusedNever, or Signed for what was signed before."""
