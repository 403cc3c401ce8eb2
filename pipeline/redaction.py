"""What may not be shown: secrets known by their form, and those that were registered.

A mnemonic is known by its words, a password by where it stands in a URL, a key by what it is called. A private key by
itself is 64 hexadecimal digits, as are a TRON transaction's id and every block hash, so that its form says nothing:
whoever reads or derives a secret registers it (``register_secret``, ``register_key``), and from then on no line shows
it in any of the forms that programs print.
"""

import base64
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

REDACTED = "[redacted]"
FEWEST_WORDS = 12
"""Of a BIP39 mnemonic."""
TELLING_WORDS = 3
"""So many words in a row of a mnemonic that this process has read, or after the name of one, are no prose."""
WIDEST_GAP = 12
"""Characters between two words of one list: ``", "12": "``."""
SHORTEST_SECRET = 8
"""Characters. What is shorter stands in ordinary words, too."""
MOST_KEYS = 4096
"""Registered keys in memory; a signer keeps 256."""

_secrets: set[str] = set()
_keys: dict[str, None] = {}
"""Every form of each registered key, oldest first."""
_triples: set[tuple[str, ...]] = set()
"""Every three neighbours of a registered mnemonic."""

_KEYWORD = re.compile(r"(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:\\.|[^\s\\])+))")
"""Of a libpq keyword string."""
_ORDINARY = frozenset({"postgres", "postgresql", "flagpost", "password", "localhost"})
"""Passwords of rehearsals that stand in honest lines, too."""
_SHORTEST_SECRET_PATH = 16
"""Characters of a URL's path that may be a key. Shorter ones stand in other lines, too."""
_LETTERS = re.compile(r"[A-Za-z]+")
_NUMBER_OF_LABEL = re.compile(r"[ _#-]?\d{1,2}(?!\d)")
_NAMED_MNEMONIC = re.compile(
    r"(?i)\b(?:mnemonic|seed|(?:seed|recovery|secret)[ _-]?(?:phrase|words))\b[\"']?\s*[:=]\s*[\"'\[(]*$"
)
_NAMED_SECRET = re.compile(
    r"""(?ix)
    ( \b (?: private[_\s-]?key | secret(?:[_\s-]?key)? | passphrase | passw(?:or)?d | xprv
           | (?:tron-pro-|x-)?api[_-]?key | access[_-]?token | auth[_-]?token ) \b ["']? \s* [:=] \s* )
    (?: (?P<quote>["']) (?P<quoted> (?: \\. | (?!(?P=quote)). )+ ) (?P=quote)
      | (?P<plain> (?!\[redacted\]) [^\s"',;})\]]+ ) )
    """
)
_NAMED_SEED = re.compile(r"(?i)(\b(?:seed|mnemonic)\b[\"']?\s*[:=]\s*[\"']?)([A-Za-z0-9+/=_-]{32,})")
_AUTHORIZATION = re.compile(r"(?i)(\b(?:bearer|authorization[\"']?\s*[:=]\s*[\"']?basic)\s+)([A-Za-z0-9._~+/=-]{8,})")
_PASSWORD_IN_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@]*:)([^\s/]+)(?=@)")
_EXTENDED_PRIVATE_KEY = re.compile(r"\b[xyztuv]prv[1-9A-HJ-NP-Za-km-z]{50,}")
_SEED = re.compile(r"\b(?:0x)?[0-9a-fA-F]{128}\b")
"""64 bytes, as a BIP39 seed is."""
_LONG_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{40,}")


def register_secret(secret: str) -> None:
    """From now on no line contains ``secret``: a password, an API key, whatever has no form to be known by. As it
    stands in a URL, too."""
    if len(secret) >= SHORTEST_SECRET:
        _secrets.update({secret, quote(secret, safe="")})


def register_dsn(dsn: str) -> None:
    """From now on no line contains the passwords of ``dsn``, a URL or a libpq keyword string."""
    for password in _passwords(dsn):
        register_secret(password)


def register_secret_address(address: str) -> None:
    """From now on no line contains ``address``, which is a secret as a whole, nor what stands in errors by itself where
    it is a URL: its password, path and query."""
    if "://" not in address:
        if address not in _ORDINARY:
            register_secret(address)
        return
    parts = urlsplit(address)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    register_secret(address)
    if len(path) >= _SHORTEST_SECRET_PATH:
        register_secret(path)
    register_dsn(address)


def register_key(key: bytes) -> None:
    """From now on no line contains a private key, in hexadecimal, decimal or base64. The oldest are forgotten."""
    forms = (key.hex(), str(int.from_bytes(key, "big")), *_base64(key))
    _keys.update(dict.fromkeys(forms))
    while len(_keys) > MOST_KEYS:
        del _keys[next(iter(_keys))]


def register_mnemonic(mnemonic: str) -> None:
    """From now on no line contains three neighbouring words of ``mnemonic``, however they are written."""
    words = mnemonic.lower().split()
    register_secret(mnemonic)
    _triples.update(zip(words, words[1:], words[2:], strict=False))


def redact(text: str) -> str:
    """``text`` without anything that could be a mnemonic, a private key, a seed or a password."""
    for secret in _secrets:
        if secret in text:
            text = text.replace(secret, REDACTED)
    text = _without_words(text)
    text = _EXTENDED_PRIVATE_KEY.sub(REDACTED, text)
    text = _SEED.sub(REDACTED, text)
    if _keys:
        text = _LONG_TOKEN.sub(lambda match: _without_keys(match[0]), text)
    text = _PASSWORD_IN_URL.sub(rf"\1{REDACTED}", text)
    text = _AUTHORIZATION.sub(rf"\1{REDACTED}", text)
    text = _NAMED_SEED.sub(rf"\1{REDACTED}", text)
    return _NAMED_SECRET.sub(_without_value, text)


def forget() -> None:
    """Forget every registered secret: for tests."""
    _secrets.clear()
    _keys.clear()
    _triples.clear()


def _passwords(dsn: str) -> set[str]:
    """The passwords of a DSN, as they are written and as they are meant; none that is a name of the same DSN."""
    if "://" in dsn:
        try:
            parts = urlsplit(dsn)
            written, names = parts.password or "", {parts.username, parts.path.lstrip("/"), parts.hostname}
            given = {written, unquote(written)}
        except ValueError:
            return set()
        given |= {value for name, value in parse_qsl(parts.query) if name in ("password", "sslpassword")}
    else:
        fields = [(name, re.sub(r"\\(.)", r"\1", quoted or plain)) for name, quoted, plain in _KEYWORD.findall(dsn)]
        given = {value for name, value in fields if name in ("password", "sslpassword")}
        names = {value for name, value in fields if name in ("user", "dbname", "host")}
    return {password for password in given if password and password not in names} - _ORDINARY


def _base64(key: bytes) -> tuple[str, str]:
    return base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()


def _without_keys(token: str) -> str:
    bare = token.lower().removeprefix("0x")
    return REDACTED if bare in _keys or token in _keys or f"{token}=" in _keys else token


def _without_value(match: re.Match[str]) -> str:
    if (mark := match["quote"]) is not None:
        return f"{match[1]}{mark}{REDACTED}{mark}"
    return f"{match[1]}{REDACTED}"


def _without_words(text: str) -> str:
    """Without runs of words of the BIP39 list that are long enough for a mnemonic, or part of a known one. In any
    case, numbered, and however they are parted; other prose stays."""
    known = _bip39_words()
    if "\\" not in text and sum(word in known for word in _LETTERS.findall(text.lower())) < TELLING_WORDS:
        return text  # as most lines are
    kept: list[str] = []
    done = 0
    for run in _runs(text):
        for first, last in _telling(text, run):
            kept += [text[done : run[first][1]], REDACTED]
            done = run[last][2]
    return "".join([*kept, text[done:]]) if kept else text


_Word = tuple[str, int, int]
"""In lower case, and where it begins and ends."""


def _runs(text: str) -> Iterator[list[_Word]]:
    """Words of the BIP39 list that stand together, as long as they could be told from prose."""
    known = _bip39_words()
    run: list[_Word] = []
    reached = 0
    for match in _LETTERS.finditer(text):
        begin, end = match.span()
        if begin and text[begin - 1] == "\\" and match[0][0] in "nrt":  # a line's end inside of JSON
            begin += 1
        word = text[begin:end].lower()
        if run and begin - reached > WIDEST_GAP:
            yield from _long(run)
            run = []
        if word in known:
            run.append((word, begin, end))
        elif not (run and _NUMBER_OF_LABEL.match(text, end)):  # "word7: ", "w 7=" stand between the words of a list
            yield from _long(run)
            run = []
        reached = end
    yield from _long(run)


def _long(run: list[_Word]) -> Iterator[list[_Word]]:
    if len(run) >= TELLING_WORDS:
        yield run


def _telling(text: str, run: list[_Word]) -> Iterator[tuple[int, int]]:
    """The first and the last word of each part of a run that may not be shown, by their places in it."""
    # "Seed phrase" are words of the list themselves.
    named = next((place for place in range(TELLING_WORDS) if _NAMED_MNEMONIC.search(text, 0, run[place][1])), None)
    if named is not None and len(run) - named >= TELLING_WORDS:
        yield named, len(run) - 1
    elif len(run) >= FEWEST_WORDS:
        yield _without_prose(text, run)
    else:
        yield from _known_parts([word for word, _, _ in run])


def _without_prose(text: str, run: list[_Word]) -> tuple[int, int]:
    """The words of a sentence around a mnemonic may be of the list as well: those at its ends that are written in
    another case stay, as long as enough are left."""
    upper = [text[begin].isupper() for _, begin, _ in run]
    usual = sum(upper) * 2 > len(run)
    first, last = 0, len(run) - 1
    while last - first >= FEWEST_WORDS and upper[first] is not usual:
        first += 1
    while last - first >= FEWEST_WORDS and upper[last] is not usual:
        last -= 1
    return first, last


def _known_parts(words: list[str]) -> Iterator[tuple[int, int]]:
    """The parts of a run that stand in a registered mnemonic."""
    part: tuple[int, int] | None = None
    for place in range(len(words) - TELLING_WORDS + 1):
        if tuple(words[place : place + TELLING_WORDS]) not in _triples:
            continue
        if part is not None and place > part[1] + 1:
            yield part
            part = None
        part = (place if part is None else part[0], place + TELLING_WORDS - 1)
    if part is not None:
        yield part


@cache
def _bip39_words() -> frozenset[str]:
    """The English list: the file of ``keys``, read without importing that room."""
    path = Path(__file__).parent / "keys" / "english.txt"
    return frozenset(path.read_text(encoding="ascii").split())
