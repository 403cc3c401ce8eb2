"""The few words of the contract ABI that are spoken here."""

from pipeline.chains.tokens import abi_string
from pipeline.printable import printable

DECIMALS = "0x313ce567"
SYMBOL = "0x95d89b41"

_ERROR = bytes.fromhex("08c379a0")
"""Error(string)"""
_PANIC = bytes.fromhex("4e487b71")
"""Panic(uint256)"""
_KNOWN_ERRORS = {
    "9e87fac8": "paused (Paused)",
    "d93c0665": "paused (EnforcedPause)",
    "e450d38c": "transfer amount exceeds balance (ERC20InsufficientBalance)",
    "ec442f05": "the receiver is not accepted (ERC20InvalidReceiver)",
    "96c6fd1e": "the sender is not accepted (ERC20InvalidSender)",
    "ffa4e618": "blacklisted (Blacklisted)",
}
"""Custom errors by selector: OpenZeppelin's, and frequent ones."""


def revert_reason(data: object) -> str:
    """What a reverting contract said, from its return data in hex, safe to show; empty when it said nothing."""
    raw = from_hex(data)
    if raw[:4] == _ERROR:
        try:
            return printable(abi_string(raw[4:]))
        except ValueError:
            return "an unreadable reason"
    if raw[:4] == _PANIC and len(raw) == 36:
        return f"panic {raw[-1]:#04x}"
    if len(raw) >= 4:
        selector = raw[:4].hex()
        return _KNOWN_ERRORS.get(selector, f"custom error {selector}")
    return ""


def from_hex(value: object) -> bytes:
    """Bytes of 0x-digits; none for anything else."""
    if not isinstance(value, str) or not value.startswith("0x"):
        return b""
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        return b""
