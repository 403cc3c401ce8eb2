"""Senders that pay nothing until something is found out or done, and why (``senders.stuck``)."""

from dataclasses import dataclass

from pipeline.payments.nonces import Nonces


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a sender is blocked, and what to do. Stays the same text while nothing changes: it is compared."""

    reason: str
    unexplained: Nonces | None = None
    """Nonces of which an operator has to judge what used them (``release_sender``): those that ``reason`` names."""
