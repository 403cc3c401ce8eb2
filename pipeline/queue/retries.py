"""How long to wait before the next attempt."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with jitter: ``base × 2^n`` seconds up to ``cap``, of which a random half is taken off.

    The jitter spreads wallets that failed together (a node that was down), so that they do not come back together.
    """

    base_seconds: float = 5
    cap_seconds: float = 300

    def delay(self, failed_attempts: int, chance: float | None = None) -> float:
        """Seconds to wait after ``failed_attempts`` ≥ 1 failures; ``chance`` in [0, 1) replaces the dice."""
        exponent = min(failed_attempts - 1, 32)  # 2^32 seconds is past every cap, and further would overflow
        longest: float = min(self.cap_seconds, self.base_seconds * 2**exponent)
        roll = random.random() if chance is None else chance  # noqa: S311 - spreads load, guards nothing
        return longest * (0.5 + 0.5 * roll)
