"""Log lines: one line an event, for people or as JSON, never with a secret in it.

Everybody logs through ``loguru.logger`` with ``{}`` placeholders. What a line is about is bound, not written into the
text: ``logger.bind(job=…, wallet=…, txid=…)``, or ``with logger.contextualize(job=…):`` for all that happens inside.

Lines go to stderr; stdout belongs to the results of commands.
"""

import json
import logging
import re
import sys
import time
import traceback
from datetime import UTC, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from pipeline.settings import LogColour, Settings

if TYPE_CHECKING:
    from loguru import Message, Record

REDACTED = "[redacted]"
SAY_AGAIN_AFTER = 10.0
"""Seconds. An outage is said at once and then so often: attempts come every second, from every process."""
MNEMONIC_LENGTHS = (24, 21, 18, 15, 12)

_registered: set[str] = set()

_WORDS = re.compile(r"\b[a-z]{3,8}(?:[ ,\t]+[a-z]{3,8}){11,}\b")
_NAMED_SECRET = re.compile(
    r"""(?ix)
    ( \b (?: private[_\s-]?key | secret(?:[_\s-]?key)? | seed | mnemonic | passphrase | password | xprv
           | (?:tron-pro-)?api[_-]?key ) \b ["']? \s* [:=] \s* ["']? )
    ( (?!\[redacted\]) [^\s"',;})\]]+ )
    """
)
_PASSWORD_IN_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@]*:)([^\s@/]+)(?=@)")
_EXTENDED_PRIVATE_KEY = re.compile(r"\b[xyztuv]prv[1-9A-HJ-NP-Za-km-z]{50,}")
_SEED = re.compile(r"\b(?:0x)?[0-9a-fA-F]{128}\b")
"""64 bytes, as a BIP39 seed is. 32 bytes alone cannot be told from a txid: keys are registered instead."""


def configure_logging(settings: Settings, process: str = "flagpost", stream: TextIO | None = None) -> None:
    """Send the log to ``stream`` (stderr) in the form that ``settings`` ask for. ``process`` names us in JSON."""
    stream = stream or sys.stderr
    coloured = _coloured(settings.log_colour, stream) and not settings.log_json

    def write(message: "Message") -> None:
        line = _as_json(message.record, process) if settings.log_json else str(message)
        # The lines of libpq's messages go on with a tab.
        stream.write(redact(line.replace("\n\t", " ")))
        stream.flush()

    logger.remove()
    logger.add(
        write,
        level=settings.log_level,
        format=_line,
        colorize=coloured,
        # Variables in tracebacks would show keys.
        diagnose=False,
        backtrace=False,
    )
    logging.basicConfig(handlers=[_FromStandardLibrary()], level=logging.WARNING, force=True)
    # The pool reports each failed attempt to connect; the listener and the worker say it once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


class Seldom:
    """For a line that a loop would say at each turn: ``due()`` the first time, and again every ``seconds``."""

    def __init__(self, seconds: float = SAY_AGAIN_AFTER) -> None:
        self._seconds = seconds
        self._next = 0.0

    def due(self) -> bool:
        """Whether it is to be said now."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


def span(length: timedelta) -> str:
    """A length of time in its largest whole unit: ``8 s``, ``12 min``, ``3 h``, ``5 d``."""
    seconds = max(0, int(length.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def register_secret(secret: str) -> None:
    """From now on no line contains ``secret``: for what has no form to be known by, as a private key or an API key."""
    if len(secret) >= 8:
        _registered.add(secret)


def redact(text: str) -> str:
    """``text`` without anything that could be a mnemonic, a private key, a seed or a password."""
    for secret in _registered:
        text = text.replace(secret, REDACTED)
    text = _WORDS.sub(lambda match: _without_mnemonics(match[0]), text)
    text = _EXTENDED_PRIVATE_KEY.sub(REDACTED, text)
    text = _SEED.sub(REDACTED, text)
    text = _PASSWORD_IN_URL.sub(rf"\1{REDACTED}", text)
    return _NAMED_SECRET.sub(rf"\1{REDACTED}", text)


def _without_mnemonics(sentence: str) -> str:
    """Runs of twelve and more words of the BIP39 list go; other prose stays."""
    known = _bip39_words()
    kept: list[str] = []
    run: list[str] = []
    for part in [*re.split(r"([ ,\t]+)", sentence), ""]:
        if part in known or (run and part and not part.isalpha()):
            run.append(part)
            continue
        words = sum(1 for word in run if word.isalpha())
        kept += [REDACTED, " "] if words >= min(MNEMONIC_LENGTHS) else run
        run = []
        kept.append(part)
    return "".join(kept).rstrip(" ")


@cache
def _bip39_words() -> frozenset[str]:
    """The English list: the file of ``keys``, read without importing that room."""
    path = Path(__file__).parent / "keys" / "english.txt"
    return frozenset(path.read_text(encoding="ascii").split())


def _coloured(choice: LogColour, stream: TextIO) -> bool:
    return choice is LogColour.ALWAYS or (choice is LogColour.AUTO and stream.isatty())


def _line(record: "Record") -> str:
    """loguru's format string for one record; a trailing list of what is bound."""
    bound = "".join(f" <dim>{name}=</dim>{{extra[{name}]}}" for name in record["extra"])
    exception = "\n{exception}" if record["exception"] else ""
    return f"<dim>{{time:HH:mm:ss.SSS}}</dim> <level>{{level: <7}}</level> {{message}}{bound}{exception}\n"


def _as_json(record: "Record", process: str) -> str:
    fields: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(),
        "level": record["level"].name.lower(),
        "process": process,
        "message": record["message"],
        **{name: str(value) for name, value in record["extra"].items()},
    }
    exception = record["exception"]
    if exception is not None:
        fields["error"] = f"{exception.type.__name__ if exception.type else 'error'}: {exception.value}"
        fields["traceback"] = "".join(traceback.format_exception(exception.value))
    return json.dumps(fields, ensure_ascii=False) + "\n"


class _FromStandardLibrary(logging.Handler):
    """What libraries log joins our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass ``record`` on at its level."""
        level = record.levelname if record.levelname in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"
        logger.opt(exception=record.exc_info).log(level, "{}: {}", record.name, record.getMessage())
