"""Log lines: one line an event, for people or as JSON, never with a secret in it.

Everybody logs through ``loguru.logger`` with ``{}`` placeholders. What a line is about is bound, not written into the
text: ``logger.bind(job=…, wallet=…, txid=…)``, or ``with logger.contextualize(job=…):`` for all that happens inside.

Lines go to stderr; stdout belongs to the results of commands.
"""

import json
import logging
import sys
import time
import traceback
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from pipeline.printable import printable
from pipeline.redaction import REDACTED as REDACTED
from pipeline.redaction import redact as redact
from pipeline.redaction import register_secret as register_secret
from pipeline.settings import LogColour, Settings

if TYPE_CHECKING:
    from loguru import Message, Record

SAY_AGAIN_AFTER = 10.0
"""Seconds. An outage is said at once and then so often: attempts come every second, from every process."""


def configure_logging(settings: Settings, process: str = "flagpost", stream: TextIO | None = None) -> None:
    """Send the log to ``stream`` (stderr) in the form that ``settings`` ask for. ``process`` names us in JSON."""
    stream = stream or sys.stderr
    coloured = _coloured(settings.log_colour, stream) and not settings.log_json

    def write(message: "Message") -> None:
        if settings.log_json:
            line = _as_json(message.record, process)
        else:
            line = redact(f"{message}{_traceback(message.record)}")
        stream.write(line)
        stream.flush()

    logger.remove()
    # JSON escapes by itself.
    logger.configure(patcher=_as_it_is if settings.log_json else _on_one_line)
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


class LogThrottle:
    """Keeps a loop from logging the same line at each turn: ``due()`` the first time, and again every ``seconds``."""

    def __init__(self, seconds: float = SAY_AGAIN_AFTER) -> None:
        self._seconds = seconds
        self._next = 0.0

    def due(self) -> bool:
        """Whether the line is to be logged now."""
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


def _as_it_is(record: "Record") -> None:
    """Change nothing."""


def _on_one_line(record: "Record") -> None:
    """What others wrote, a node or a user, moves no cursor and begins no line of its own."""
    # The lines of libpq's messages go on with a tab.
    record["message"] = printable(record["message"].replace("\n\t", " "), None)
    for name, value in record["extra"].items():
        record["extra"][name] = printable(str(value), None)


def _traceback(record: "Record") -> str:
    """The lines of a traceback, set in: an error's text may contain lines in our log's format."""
    error = record["exception"]
    if error is None or error.value is None:
        return ""
    text = "".join(traceback.format_exception(error.value))
    return "".join(f"  {printable(line, None)}\n" for line in text.rstrip("\n").split("\n"))


def _coloured(choice: LogColour, stream: TextIO) -> bool:
    return choice is LogColour.ALWAYS or (choice is LogColour.AUTO and stream.isatty())


def _line(record: "Record") -> str:
    """loguru's format string for one record; a trailing list of what is bound."""
    bound = "".join(f" <dim>{name}=</dim>{{extra[{name}]}}" for name in record["extra"])
    return f"<dim>{{time:HH:mm:ss.SSS}}</dim> <level>{{level: <7}}</level> {{message}}{bound}\n"


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
    # Each before it is escaped, which would hide where a secret ends; and all together, as a field's name may tell it.
    shown = {name: redact(str(value).replace("\n\t", " ")) for name, value in fields.items()}
    line = json.dumps(shown, ensure_ascii=False)
    # Half a surrogate pair cannot be written, and beyond ASCII there are control characters, too.
    return redact(line if line.isprintable() else json.dumps(shown)) + "\n"


class _FromStandardLibrary(logging.Handler):
    """What libraries log joins our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass ``record`` on at its level."""
        level = record.levelname if record.levelname in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"
        logger.opt(exception=record.exc_info).log(level, "{}: {}", record.name, record.getMessage())
