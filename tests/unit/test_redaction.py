"""No form in which a secret is written gets through, and what only looks like one stays readable."""

import base64
import json
from collections.abc import Iterator

import pytest

from pipeline.chains.values import Family
from pipeline.keys.private import PrivateBranch
from pipeline.redaction import (
    MOST_KEYS,
    REDACTED,
    forget,
    redact,
    register_key,
    register_mnemonic,
    register_secret,
)
from pipeline.settings import Settings
from pipeline.signing.keyring import Keyring

MNEMONIC = "legal winner thank year wave sausage worth useful legal winner thank yellow"
LONG = "void come effort suffer camp survey warrior heavy shoot primary clutch crush " * 2
WORDS = MNEMONIC.split()
KEY = bytes.fromhex("c1" * 32)
TXID = "d2" * 32


@pytest.fixture(autouse=True)
def nothing_registered() -> Iterator[None]:
    forget()
    yield
    forget()


def numbered(form: str) -> str:
    return form[-1].join(form[:-1].format(n, word) for n, word in enumerate(WORDS, start=1))


@pytest.mark.parametrize(
    "written",
    [
        MNEMONIC,
        MNEMONIC.upper(),
        MNEMONIC.title(),
        "Legal " + " ".join(WORDS[1:]),
        LONG,
        "-".join(WORDS),
        ", ".join(WORDS),
        "_".join(WORDS),
        "|".join(WORDS),
        "\n".join(WORDS),
        "\\n".join(WORDS),
        "\t".join(WORDS),
        numbered("{0}. {1} "),
        numbered("{0}) {1}\n"),
        numbered("#{0} {1} "),
        numbered("{1} ({0}) "),
        numbered("word{0}: {1}\n"),
        numbered("w{0}={1} "),
        numbered("Word {0}: {1}, "),
        str(WORDS),
        json.dumps(WORDS),
        json.dumps(dict(enumerate(WORDS))),
        json.dumps({f"word {n}": word for n, word in enumerate(WORDS)}),
    ],
)
def test_a_mnemonic_is_known_by_its_words(written: str) -> None:
    shown = redact(f"the node said: {written} and ended")
    assert REDACTED in shown
    assert not {"winner", "sausage", "useful", "survey", "clutch"} & set(shown.lower().replace("\\n", " ").split())
    assert "sausage" not in shown.lower()
    assert shown.startswith("the node said: ")
    assert shown.endswith(" and ended")


@pytest.mark.parametrize("written", ["mnemonic: wave sausage worth", "seed phrase = 'wave sausage worth'"])
def test_a_piece_of_a_mnemonic_is_known_by_its_name(written: str) -> None:
    assert "sausage" not in redact(written)


def test_a_piece_of_a_mnemonic_that_was_read_is_known_by_itself() -> None:
    piece = "it stopped after WAVE-SAUSAGE-WORTH, and winner"
    assert redact(piece) == piece
    register_mnemonic(MNEMONIC)
    assert redact(piece) == f"it stopped after {REDACTED}, and winner"
    assert redact("year winner wave legal thank") == "year winner wave legal thank", "not as they stand in it"


def test_the_mnemonic_of_the_environment_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGPOST_MNEMONIC", MNEMONIC)
    Settings.load().mnemonic()
    assert redact("wave sausage worth") == REDACTED


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:hunt%40r22@h/d",
        "postgresql://h/d?user=u&password=hunt%40r22",
        "host=h password=hunt@r22 dbname=d",
        "host=h password = 'hunt@r22'",
    ],
)
def test_the_password_of_a_database_is_registered(monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    monkeypatch.setenv("FLAGPOST_LISTEN_URL", dsn)
    Settings.load()
    assert redact("hunt@r22 and hunt%40r22") == f"{REDACTED} and {REDACTED}"


def test_a_password_that_is_an_ordinary_word_hides_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres:postgres@h/d")
    Settings.load()
    assert redact("postgres is ready") == "postgres is ready"


async def test_a_key_that_was_used_is_known_in_every_form_and_a_txid_stays() -> None:
    """Both are 64 digits: what tells them apart is that the signer has derived the key."""
    key = PrivateBranch.from_mnemonic(MNEMONIC, Family.TRON).key(12).secret
    text = f"key {key.hex()} of tx {TXID}"
    assert redact(text) == text
    signer = Keyring(MNEMONIC)
    signer.sign(Family.TRON, 12, bytes(32))
    forms = [
        key.hex(),
        key.hex().upper(),
        f"0x{key.hex()}",
        str(int.from_bytes(key, "big")),
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode().rstrip("="),
    ]
    for form in forms:
        assert redact(f"key {form} of tx {TXID}") == f"key {REDACTED} of tx {TXID}"


def test_so_many_keys_are_kept_and_no_more() -> None:
    for number in range(1, MOST_KEYS):
        register_key(number.to_bytes(32, "big"))
    register_key(KEY)
    assert redact(KEY.hex()) == REDACTED
    assert redact(f"{1:064x}") == f"{1:064x}", "the oldest is forgotten"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ('{"password": "two words"}', "two words"),
        ("password='it\\'s long'", "long"),
        ("passphrase: 'correct horse'", "horse"),
        ("x-api-key: hunter22", "hunter22"),
        ("access_token=hunter22", "hunter22"),
        ("Authorization: Bearer hunter22hunter22", "hunter22"),
        ("Authorization: Basic aHVudGVyMjI6aHVudGVyMjI=", "aHVudGVy"),
        ("postgresql://u:hunt@r22@h/d", "r22"),
        (f"seed: {'ab' * 32}", "abab"),
    ],
)
def test_secrets_are_known_by_what_they_are_called(text: str, hidden: str) -> None:
    shown = redact(text)
    assert REDACTED in shown
    assert hidden not in shown


def test_what_is_too_short_to_be_told_from_prose_is_not_registered() -> None:
    register_secret("seven77")
    assert redact("seven77") == "seven77"


@pytest.mark.parametrize(
    "text",
    [
        "mnemonic: index 10",
        "tron.mnemonic: valid; gas wallet TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH",
        "the mnemonic: word 7 is not in the list",
        "demo: seed=42, wallets=20",
        f"txid={TXID}, block 0000000000000000{'e' * 48}, 0x{TXID}",
        "the node can only give what it has about the block that is there: try again",
        "basic transfer functionality, bearer of news",
        "https://node:8090/wallet/getnowblock",
    ],
)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert redact(text) == text
