"""BIP39 mnemonics. No message of this module ever contains a word of one."""

import hashlib
import secrets
import unicodedata
from functools import lru_cache
from importlib import resources

WORD_COUNTS = (12, 15, 18, 21, 24)
_BITS_PER_WORD = 11
_PBKDF2_ROUNDS = 2048


class InvalidMnemonic(ValueError):
    """Not a BIP39 mnemonic. Says which word position or that the checksum is wrong, never the words."""


def generate(words: int = 12) -> str:
    """A new random mnemonic of 12, 15, 18, 21 or 24 English words."""
    if words not in WORD_COUNTS:
        raise InvalidMnemonic(f"a mnemonic of {words} words does not exist: choose one of {_counts()}")
    return from_entropy(secrets.token_bytes(words * 4 // 3))


def from_entropy(entropy: bytes) -> str:
    """The mnemonic of 16 to 32 bytes of entropy."""
    if len(entropy) not in (16, 20, 24, 28, 32):
        raise InvalidMnemonic(f"entropy of {len(entropy)} bytes: BIP39 takes 16, 20, 24, 28 or 32")
    checksum_bits = len(entropy) // 4
    bits = int.from_bytes(entropy, "big") << checksum_bits | _checksum(entropy)
    count = (len(entropy) * 8 + checksum_bits) // _BITS_PER_WORD
    words = _words()
    return " ".join(words[bits >> _BITS_PER_WORD * place & 0x7FF] for place in reversed(range(count)))


def validate(mnemonic: str) -> str:
    """The mnemonic in its canonical form (lower case, single spaces).

    Raises InvalidMnemonic naming the word count, the position of an unknown word, or the checksum.
    """
    given = unicodedata.normalize("NFKD", mnemonic).lower().split()
    if len(given) not in WORD_COUNTS:
        raise InvalidMnemonic(f"the mnemonic has {len(given)} words: it must have {_counts()}")
    numbers = _numbers()
    unknown = [str(position) for position, word in enumerate(given, start=1) if word not in numbers]
    if unknown:
        which = f"word {unknown[0]} is" if len(unknown) == 1 else f"words {', '.join(unknown)} are"
        raise InvalidMnemonic(f"{which} not in the BIP39 English word list: check the spelling at that position")
    bits = 0
    for word in given:
        bits = bits << _BITS_PER_WORD | numbers[word]
    checksum_bits = len(given) * _BITS_PER_WORD // 33
    entropy = (bits >> checksum_bits).to_bytes(checksum_bits * 4, "big")
    if bits & (1 << checksum_bits) - 1 != _checksum(entropy):
        raise InvalidMnemonic(
            "every word of the mnemonic is in the word list but its checksum is wrong: a word is mistaken or misplaced"
        )
    return " ".join(given)


def to_seed(mnemonic: str, passphrase: str = "") -> bytes:
    """The 64-byte BIP39 seed of a mnemonic. Raises InvalidMnemonic."""
    salt = unicodedata.normalize("NFKD", "mnemonic" + passphrase).encode()
    return hashlib.pbkdf2_hmac("sha512", validate(mnemonic).encode(), salt, _PBKDF2_ROUNDS)


def _checksum(entropy: bytes) -> int:
    return hashlib.sha256(entropy).digest()[0] >> 8 - len(entropy) // 4


def _counts() -> str:
    return ", ".join(str(count) for count in WORD_COUNTS[:-1]) + f" or {WORD_COUNTS[-1]}"


@lru_cache(maxsize=1)
def _words() -> tuple[str, ...]:
    return tuple(resources.files(__package__).joinpath("english.txt").read_text("ascii").split())


@lru_cache(maxsize=1)
def _numbers() -> dict[str, int]:
    return {word: number for number, word in enumerate(_words())}
