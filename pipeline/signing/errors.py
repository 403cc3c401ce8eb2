"""Why a signature is refused. Of two kinds: never, and not now."""


class PolicyError(ValueError):
    """The policy of this host cannot be used; the message names the file or variable, and what to write there."""


class SigningRefused(Exception):
    """A payment that the rules forbid. Nothing was signed; the message says which rule and what to check."""


class SigningDeferred(Exception):
    """The rules allow the payment and a ceiling does not, or the ceiling cannot be counted. Nothing was signed; the job
    waits and uses up no attempt."""


class NeverSigned(Exception):
    """Nothing was signed for a request, and never will be: that is written down. ``why`` is a ``request.Never``."""

    def __init__(self, why: str, said: str) -> None:
        super().__init__(said)
        self.why = why


class OtherContent(SigningDeferred):
    """A request's id is known with another content: nothing is signed, and nothing is given up."""


class LedgerUnavailable(SigningDeferred):
    """What was signed cannot be written down, so nothing is signed; the message names the file and the cause."""


class CeilingReached(SigningDeferred):
    """The payment would pass a ceiling; the message names it, what is spent and when that is forgotten."""

    def __init__(self, message: str, spent: int, asked: int, free_at: float | None) -> None:
        super().__init__(message)
        self.spent = spent
        """Native raw units of the last 24 hours."""
        self.asked = asked
        self.free_at = free_at
        """Seconds since 1970: from when on the oldest of it does not count any more. None: nothing is spent."""
