"""What can go wrong between us and a chain. A glossary; each message says what to do next."""


class ChainError(Exception):
    """Base of all errors of the chains room."""


class ChainUnavailable(ChainError):
    """No node gave a usable answer in time. The question may be asked again later."""


class WrongNetwork(ChainError):
    """A node belongs to another network than the one configured: its genesis or chain id differs."""


class InconsistentNode(ChainError):
    """A node answered with another txid or another block than the one computed or asked for."""


class InvalidAddress(ChainError):
    """Not an address of this chain: wrong checksum, wrong length, or another chain's form."""


class NotAToken(ChainError):
    """The contract has no code or does not answer like a TRC20 or ERC20."""


class SimulationFailed(ChainError):
    """The chain says that the payment would fail (revert, paused token, too little balance)."""


class InsufficientFunds(SimulationFailed):
    """The sender of a coin payment does not hold the amount and its fee."""

    def __init__(self, address: str, held: int, needed: int, message: str) -> None:
        super().__init__(message)
        self.address = address
        self.held = held
        """Native raw units."""
        self.needed = needed
        """Amount and fee, native raw units."""


class PermissionChanged(ChainError):
    """TRON: the account's owner permission names other keys, or asks for more than its own. No signature of ours moves
    anything of it."""

    def __init__(self, address: str, message: str) -> None:
        super().__init__(message)
        self.address = address


class FeeCapTooLow(ChainError):
    """The network asks for more than the configured cap on fees: the payment waits until they fall or the cap rises.

    Nothing was built or sent.
    """

    def __init__(self, needed: int, cap: int, message: str) -> None:
        super().__init__(message)
        self.needed = needed
        """Wei for a unit of gas, or native raw units for the whole transaction where that is capped."""
        self.cap = cap


class BadSignature(ChainError):
    """A signature does not recover to the sender."""


class UndecodableTransaction(ChainError):
    """Bytes that are not exactly one payment."""
