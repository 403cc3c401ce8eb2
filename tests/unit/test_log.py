"""Log lines carry what they are about, and never a secret."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from pipeline.log import REDACTED, LogThrottle, configure_logging, redact, register_secret
from pipeline.settings import LogColour, Settings
from tests.logs import logging_restored

MNEMONIC = "legal winner thank year wave sausage worth useful legal winner thank yellow"
KEY = "c1" * 32
TXID = "d2" * 32


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    with logging_restored():
        yield


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_shows_what_is_bound() -> None:
    stream = io.StringIO()
    configure_logging(Settings(), stream=stream)
    with logger.contextualize(job="gas-topup-7"):
        logger.bind(wallet="T{x}<red>", txid=TXID).info("sent {}", "5 TRX")
    assert stream.getvalue().endswith(f"INFO    sent 5 TRX job=gas-topup-7 wallet=T{{x}}<red> txid={TXID}\n")


def test_json_lines() -> None:
    stream = Terminal()
    configure_logging(Settings(log_json=True, log_colour=LogColour.ALWAYS), "sync", stream)
    logger.bind(wallet="T1").warning("slow\nnode")
    try:
        raise ValueError(f"bad {MNEMONIC}")
    except ValueError:
        logger.exception("failed")
    first, second = lines(stream)
    assert (first["level"], first["process"], first["message"], first["wallet"]) == (
        "warning",
        "sync",
        "slow\nnode",
        "T1",
    )
    assert first["time"].endswith("+00:00")
    assert second["error"] == f"ValueError: bad {REDACTED}"
    assert "winner" not in stream.getvalue()


@pytest.mark.parametrize(
    ("colour", "stream", "coloured"),
    [
        (LogColour.AUTO, io.StringIO(), False),
        (LogColour.AUTO, Terminal(), True),
        (LogColour.NEVER, Terminal(), False),
        (LogColour.ALWAYS, io.StringIO(), True),
    ],
)
def test_colours_only_on_a_terminal(colour: LogColour, stream: io.StringIO, coloured: bool) -> None:
    configure_logging(Settings(log_colour=colour), stream=stream)
    logger.info("hello")
    assert ("\x1b[" in stream.getvalue()) is coloured


def test_what_libpq_says_is_one_line() -> None:
    stream = io.StringIO()
    configure_logging(Settings(), stream=stream)
    logger.warning("the database: {}", "server closed the connection\n\tThis means\n\tsomething.")
    assert stream.getvalue().endswith("the database: server closed the connection This means something.\n")


FORGED = "a\x1b[2J\n12:00:00.000 SUCCESS settled gas T…"


@pytest.mark.parametrize("colour", [LogColour.ALWAYS, LogColour.NEVER])
def test_what_others_wrote_forges_no_line(colour: LogColour) -> None:
    stream = io.StringIO()
    configure_logging(Settings(log_colour=colour), stream=stream)
    logger.bind(node=FORGED).error("{}", FORGED)
    try:
        raise ValueError(FORGED)
    except ValueError:
        logger.exception("failed: {}", FORGED)
    lines = stream.getvalue().splitlines()
    assert "\x1b[2J" not in stream.getvalue()
    assert r"a\x1b[2J\n12:00:00.000 SUCCESS settled" in lines[0]
    assert not any(line.startswith("12:00:00.000") for line in lines)
    assert "  12:00:00.000 SUCCESS settled gas T…" in lines, "within its traceback"


def test_what_others_wrote_is_one_line_of_json() -> None:
    stream = io.StringIO()
    configure_logging(Settings(log_json=True), stream=stream)
    logger.error("{}", FORGED + "\x00\ud800")
    (line,) = lines(stream)
    assert line["message"] == FORGED + "\x00\ud800"
    assert stream.getvalue().rstrip("\n").isprintable()


def test_what_is_said_at_each_turn_is_said_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("pipeline.log.time.monotonic", lambda: now)
    outage = LogThrottle(10)
    assert [outage.due(), outage.due()] == [True, False]
    now += 10
    assert [outage.due(), outage.due()] == [True, False]


def test_the_level_is_obeyed() -> None:
    stream = io.StringIO()
    configure_logging(Settings(log_level="WARNING"), stream=stream)
    logger.info("not this")
    logger.warning("this")
    assert "not this" not in stream.getvalue()
    assert "this" in stream.getvalue()


def test_what_libraries_log_joins_and_is_redacted() -> None:
    stream = io.StringIO()
    configure_logging(Settings(), stream=stream)
    logging.getLogger("some.library").error("cannot connect to %s", "postgresql://u:hunter22@h/d")
    assert f"some.library: cannot connect to postgresql://u:{REDACTED}@h/d" in stream.getvalue()


def test_tracebacks_show_no_variables() -> None:
    stream = io.StringIO()
    configure_logging(Settings(), stream=stream)
    secret = "hunter" + "22hunter22"

    def sign(key: str) -> None:
        raise RuntimeError("cannot sign")

    try:
        sign(secret)
    except RuntimeError:
        logger.exception("failed")
    assert "cannot sign" in stream.getvalue()
    assert secret not in stream.getvalue()


@pytest.mark.parametrize(
    "secret",
    [
        MNEMONIC,
        f"{MNEMONIC} {MNEMONIC}",
        "abandon " * 23 + "art",
        f"private_key={KEY}",
        f"'private key': '{KEY}'",
        f'{{"secret": "{KEY}"}}',
        f"seed: {KEY}{KEY}",
        f"0x{KEY}{KEY}",
        "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi",
        "password=hunter22hunter22",
        "TRON-PRO-API-KEY: hunter22hunter22",
    ],
)
def test_secrets_that_can_be_known_by_their_form(secret: str) -> None:
    shown = redact(f"Before: {secret} Then.")
    assert REDACTED in shown
    assert not any(part in shown for part in ("winner", "abandon", KEY, "xprv9", "hunter22"))
    assert shown.startswith("Before: ")
    assert shown.endswith(" Then.")


def test_secrets_that_were_registered() -> None:
    register_secret(KEY)
    assert redact(f"signing with {KEY} for {TXID}") == f"signing with {REDACTED} for {TXID}"


@pytest.mark.parametrize(
    "text",
    [
        f"tx {TXID} in block {'0' * 56}01a2b3c4",
        "the sweep found wallets that no event had brought here and gives them back again right now",
        "one two three four five six seven eight nine ten eleven twelve thirteen",
        f"signature {KEY}{KEY}1b",
        "GET https://node:8090/wallet/getnowblock",
        "seed the chain with wallets",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text
