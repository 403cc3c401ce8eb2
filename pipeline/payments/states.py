"""The states of a payment and of its signed attempts, and the only moves between them.

The same moves stand in the table ``state_transitions``, where a trigger enforces them against everybody;
a test compares the two.

    requested → broadcasting → included → final
       │  ↑          │            └→ reverted
       │  └ expired ←┘
       └→ rejected

While a payment is requested a signature is asked for it, by a signing request that is asked, and then signed or
refused; ``payments`` has the whole way in prose. A payment that is out may have several attempts on EVM, which share
its nonce: one lands, the others are replaced. What was found on the chain and is not recorded enters as included.
"""

from enum import StrEnum


class TransferState(StrEnum):
    """How far an intent has come."""

    REQUESTED = "requested"
    """Decided and written down. As long as its signing request is open it may have been signed; no bytes are kept."""
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

    BROADCASTING = "broadcasting"
    INCLUDED = "included"
    FINAL = "final"
    REVERTED = "reverted"
    REPLACED = "replaced"
    """Another attempt of the payment, with the same nonce, is in a final block."""
    EXPIRED = "expired"
    """Proved dead: no block can take it any more."""


class RequestState(StrEnum):
    """What a signer was asked."""

    ASKED = "asked"
    """It may be signed, whatever became of the process that asked."""
    SIGNED = "signed"
    """Its bytes are kept, as an attempt."""
    REFUSED = "refused"
    """Nothing was signed, or its nonce is used: nothing comes of it."""


class NonceState(StrEnum):
    """What has become of a sender's nonce (EVM)."""

    RESERVED = "reserved"
    """Of one payment, until the chain has decided."""
    USED = "used"
    """By a transaction of ours in a final block."""
    LOST = "lost"
    """Used by an unrecorded transaction, as a final block proves."""
    VOID = "void"
    """No payment has it and something may be out with it: its sender pays itself to fill it, and nothing else does."""


TRANSFER_MOVES: frozenset[tuple[TransferState, TransferState]] = frozenset(
    {
        (TransferState.REQUESTED, TransferState.BROADCASTING),
        (TransferState.REQUESTED, TransferState.REJECTED),
        (TransferState.REQUESTED, TransferState.INCLUDED),  # found on the chain
        (TransferState.BROADCASTING, TransferState.INCLUDED),
        (TransferState.BROADCASTING, TransferState.EXPIRED),
        (TransferState.INCLUDED, TransferState.FINAL),
        (TransferState.INCLUDED, TransferState.REVERTED),
        (TransferState.INCLUDED, TransferState.BROADCASTING),  # the block was forked away
        (TransferState.EXPIRED, TransferState.REQUESTED),
        (TransferState.EXPIRED, TransferState.REJECTED),
    }
)

ATTEMPT_MOVES: frozenset[tuple[AttemptState, AttemptState]] = frozenset(
    {
        (AttemptState.BROADCASTING, AttemptState.INCLUDED),
        (AttemptState.BROADCASTING, AttemptState.EXPIRED),
        (AttemptState.INCLUDED, AttemptState.FINAL),
        (AttemptState.INCLUDED, AttemptState.REVERTED),
        (AttemptState.INCLUDED, AttemptState.BROADCASTING),  # the block was forked away
        (AttemptState.BROADCASTING, AttemptState.REPLACED),
        (AttemptState.INCLUDED, AttemptState.REPLACED),  # in a block that was forked away
    }
)

REQUEST_MOVES: frozenset[tuple[RequestState, RequestState]] = frozenset(
    {(RequestState.ASKED, RequestState.SIGNED), (RequestState.ASKED, RequestState.REFUSED)}
)

NONCE_MOVES: frozenset[tuple[NonceState, NonceState]] = frozenset(
    {
        (NonceState.RESERVED, NonceState.USED),
        (NonceState.RESERVED, NonceState.LOST),
        (NonceState.RESERVED, NonceState.VOID),  # nothing was signed with it, and later ones wait for it
        (NonceState.VOID, NonceState.RESERVED),
        (NonceState.VOID, NonceState.LOST),
        (NonceState.LOST, NonceState.RESERVED),  # by a payment of ours that was found on the chain
    }
)

SETTLED = frozenset({TransferState.FINAL, TransferState.REVERTED, TransferState.REJECTED})
"""States that never change again; a new payment needs a new decision."""

ON_CHAIN = frozenset({TransferState.BROADCASTING, TransferState.INCLUDED})
"""States in which money may move at any moment: nobody gives these up, they are looked up."""
