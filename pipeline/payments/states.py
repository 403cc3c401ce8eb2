"""The states of a payment and of its signed attempts, and the only moves between them.

The same moves stand in the table ``state_transitions``, where a trigger enforces them against everybody;
a test compares the two.

    requested → signed → broadcasting → included → final
                  │            │            └→ reverted
                  │            └→ expired → signed (the next attempt)
                  └→ rejected

On EVM, where bytes never expire, signed and broadcasting are one commit: none are kept and held back. A payment that is
out may have several attempts there, which share its nonce: one lands, the others are replaced. What was found on the
chain and is in no book enters as included.
"""

from enum import StrEnum


class TransferState(StrEnum):
    """How far an intent has come."""

    REQUESTED = "requested"
    """Decided and written down; nothing is signed."""
    SIGNED = "signed"
    """Signed bytes are committed; they have never left this process."""
    BROADCASTING = "broadcasting"
    """The bytes may be anywhere. From here on only the chain can say what became of them."""
    INCLUDED = "included"
    """Seen in a block that may still be forked away."""
    FINAL = "final"
    """In a final block, and the money has moved: as intended, or otherwise where a token took a fee (``arrived``)."""
    REVERTED = "reverted"
    """In a final block, without the wanted effect: the fee is spent, the money has not moved."""
    EXPIRED = "expired"
    """The last attempt can never land; another may be signed."""
    REJECTED = "rejected"
    """Given up before anything could land."""


class AttemptState(StrEnum):
    """How far one signed transaction has come."""

    SIGNED = "signed"
    BROADCASTING = "broadcasting"
    INCLUDED = "included"
    FINAL = "final"
    REVERTED = "reverted"
    REPLACED = "replaced"
    """Another attempt of the payment, with the same nonce, is in a final block."""
    EXPIRED = "expired"
    """Proved dead: no block can take it any more."""
    REJECTED = "rejected"
    """Never sent."""


class NonceState(StrEnum):
    """What has become of a sender's nonce (EVM)."""

    RESERVED = "reserved"
    """Of one payment, until the chain has decided."""
    USED = "used"
    """By a transaction of ours in a final block."""
    LOST = "lost"
    """Used by something that is in no book, as a final block proves."""
    VOID = "void"
    """No payment has it and something may be out with it: its sender pays itself to fill it, and nothing else does."""


TRANSFER_MOVES: frozenset[tuple[TransferState, TransferState]] = frozenset(
    {
        (TransferState.REQUESTED, TransferState.SIGNED),
        (TransferState.REQUESTED, TransferState.REJECTED),
        (TransferState.REQUESTED, TransferState.INCLUDED),  # found on the chain
        (TransferState.SIGNED, TransferState.BROADCASTING),
        (TransferState.SIGNED, TransferState.REJECTED),
        (TransferState.BROADCASTING, TransferState.INCLUDED),
        (TransferState.BROADCASTING, TransferState.EXPIRED),
        (TransferState.INCLUDED, TransferState.FINAL),
        (TransferState.INCLUDED, TransferState.REVERTED),
        (TransferState.INCLUDED, TransferState.BROADCASTING),  # the block was forked away
        (TransferState.EXPIRED, TransferState.SIGNED),
        (TransferState.EXPIRED, TransferState.REJECTED),
    }
)

ATTEMPT_MOVES: frozenset[tuple[AttemptState, AttemptState]] = frozenset(
    {
        (AttemptState.SIGNED, AttemptState.BROADCASTING),
        (AttemptState.SIGNED, AttemptState.REJECTED),
        (AttemptState.BROADCASTING, AttemptState.INCLUDED),
        (AttemptState.BROADCASTING, AttemptState.EXPIRED),
        (AttemptState.INCLUDED, AttemptState.FINAL),
        (AttemptState.INCLUDED, AttemptState.REVERTED),
        (AttemptState.INCLUDED, AttemptState.BROADCASTING),  # the block was forked away
        (AttemptState.BROADCASTING, AttemptState.REPLACED),
        (AttemptState.INCLUDED, AttemptState.REPLACED),  # in a block that was forked away
    }
)

NONCE_MOVES: frozenset[tuple[NonceState, NonceState]] = frozenset(
    {
        (NonceState.RESERVED, NonceState.USED),
        (NonceState.RESERVED, NonceState.LOST),
        (NonceState.VOID, NonceState.RESERVED),
        (NonceState.VOID, NonceState.LOST),
        (NonceState.LOST, NonceState.RESERVED),  # by a payment of ours that was found on the chain
    }
)

SETTLED = frozenset({TransferState.FINAL, TransferState.REVERTED, TransferState.REJECTED})
"""States that never change again; a new payment needs a new decision."""

UNSENT = frozenset({TransferState.REQUESTED, TransferState.SIGNED, TransferState.EXPIRED})
"""Live states in which nothing can land: the transfer may still be given up."""

ON_CHAIN = frozenset({TransferState.BROADCASTING, TransferState.INCLUDED})
"""States in which money may move at any moment: nobody gives these up, they are looked up."""
