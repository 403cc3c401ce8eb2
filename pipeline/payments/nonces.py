"""Sets of nonces (EVM), and which of them an operator has released."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.multirange import Multirange


@dataclass(frozen=True, slots=True)
class Nonces:
    """A set of nonces, which may have holes: an int8multirange of the database."""

    ranges: tuple[range, ...] = ()
    """None empty, in order, none touches the next."""

    @classmethod
    def of(cls, *ranges: range) -> "Nonces":
        """All that are in any of these."""
        merged: list[range] = []
        for one in sorted((one for one in ranges if one), key=lambda one: one.start):
            if merged and one.start <= merged[-1].stop:
                merged[-1] = range(merged[-1].start, max(merged[-1].stop, one.stop))
            else:
                merged.append(one)
        return cls(tuple(merged))

    @classmethod
    def one_by_one(cls, nonces: Iterable[int]) -> "Nonces":
        """Exactly these."""
        return cls.of(*(range(nonce, nonce + 1) for nonce in nonces))

    @classmethod
    def from_column(cls, found: Multirange[int] | None) -> "Nonces":
        """As psycopg gives an int8multirange, whose ranges are without their upper bound."""
        return cls.of(*(range(one.lower or 0, one.upper or 0) for one in found or ()))

    @property
    def column(self) -> str:
        """As the database reads an int8multirange."""
        return "{" + ",".join(f"[{one.start},{one.stop})" for one in self.ranges) + "}"

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, nonce: int) -> bool:
        return any(nonce in one for one in self.ranges)

    def run_from(self, nonce: int) -> range:
        """Those from this one on without a hole."""
        return next((range(nonce, one.stop) for one in self.ranges if nonce in one), range(nonce, nonce))

    def __str__(self) -> str:
        """``3, 5 to 9``."""
        return ", ".join(str(one.start) if len(one) == 1 else f"{one.start} to {one.stop - 1}" for one in self.ranges)


@dataclass(frozen=True, slots=True)
class Released:
    """What an operator has released of a sender (``release_sender``): the uses of its nonces that are unexplained are
    nothing of ours."""

    nonces: Nonces
    at: datetime

    def covers(self, nonce: int, sent_at: datetime | None) -> bool:
        """Whether it applies to a payment: one with such a nonce that was sent before the release."""
        return nonce in self.nonces and sent_at is not None and sent_at < self.at
