"""What a handler can decide about a wallet. Values only: nothing here reads a chain or a database."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from pipeline.payments.terms import AssetTerms, Terms


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a wallet holds, raw units by asset id."""

    native: int
    tokens: Mapping[UUID, int]
    unreadable: Mapping[UUID, str] = field(default_factory=dict)
    """Active tokens whose balance could not be read or that this host may not move, and why. They count as not held:
    one bad row of asset_on_chain, or a token that destroyed itself, must not stop the coin and the other tokens."""


@dataclass(frozen=True, slots=True)
class Pay:
    """Move ``amount`` raw units of ``asset``."""

    asset: AssetTerms
    amount: int


@dataclass(frozen=True, slots=True)
class Skip:
    """There is nothing to do: the flag was raised for something that has passed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now; ask again in ``seconds``."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class NeedsGas:
    """The wallet cannot pay for its transfer: gas first."""

    reason: str


def ready_tokens(terms: Terms, holdings: Holdings, paid: Collection[UUID] = ()) -> tuple[Pay, ...]:
    """The transfers that a consolidation of this wallet would make: of every token with enough to move all of it, by
    id. ``paid`` are the assets that its job has moved already."""
    return tuple(
        Pay(token, held)
        for token in terms.tokens
        if token.id not in paid
        and token.execute_min is not None
        and (held := holdings.tokens.get(token.id, 0)) >= token.execute_min
    )


def native_needed(terms: Terms, transfer_fee: int) -> int:
    """What a wallet must hold to send all its tokens, native raw units. One rule for both sides: gas fills up to it and
    consolidation waits for it, so that they cannot send a wallet back and forth between them."""
    return max(terms.fee_reserve, transfer_fee)
