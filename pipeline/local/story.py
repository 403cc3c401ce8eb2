"""The form of the local mode's log: each wallet has one colour, so that it can be followed, and amounts have one form.

Every process writes plain text (its output is a pipe); colours are added here, where the terminal is.
"""

import re
import sys
import zlib
from typing import Any, TextIO

from honcho.printer import Message, Printer

_ADDRESS = re.compile(r"\b(?:T[1-9A-HJ-NP-Za-km-z]{33}|0x[0-9a-fA-F]{40})\b")
_AMOUNT = re.compile(r"(?<![\w.])([+−-]?)(\d[\d,]*)(?:\.(\d+))? (USDT|TRX|BNB)\b")
_LONGEST_FRACTION = 8
"""Digits; of 18 nobody reads the rest."""
_LOG_HEAD = re.compile(r"\d\d:\d\d:\d\d\.\d{3} (?P<level>[A-Z]+) +")
"""What pipeline.log puts before a line; time and process stand on the left already."""
_ALARMS = {"WARNING": "\033[33m", "ERROR": "\033[1;31m", "CRITICAL": "\033[1;31m"}

_WALLET_COLOURS = (39, 45, 48, 79, 111, 141, 147, 156, 177, 183, 204, 208, 213, 215, 220, 229)
"""Of the 256-colour table: bright enough on black, dark enough on white, far enough from each other."""

_RESET = "\033[0m"
_BOLD = "\033[1m"
_DIM = "\033[2m"

TELLER = "customers"
"""The line that prints deposits, flags and the treasury's total (pipeline.local.customers)."""
_VOICES = {"deposit": "\033[1;32m", "flags": "\033[1;33m", "treasury": "\033[1;35m"}
"""Its lines by their first word; what is not a customer's doing gets a name of its own on the left."""


def shorten(address: str) -> str:
    """An address as people compare it: its first six and last four characters."""
    return f"{address[:6]}…{address[-4:]}"


class StoryPrinter(Printer):  # type: ignore[misc]  # honcho has no type hints
    """Honcho's printer with aligned names, short addresses and a colour per wallet."""

    def __init__(self, output: TextIO = sys.stdout, *, colour: bool | None = None) -> None:
        super().__init__(output)
        self._coloured = self._colours_supported if colour is None else colour

    def write(self, message: Any) -> None:
        """Print one message, which may hold several lines. Raises what the stream raises."""
        text = message.data.decode("utf-8", "replace") if isinstance(message.data, bytes) else message.data
        for line in text.splitlines():
            if line.strip():
                self._print(message, line.rstrip())

    def _print(self, message: Message, line: str) -> None:
        stamp = message.time.strftime(self.time_format)
        level, text = _without_head(line, message.name or "")
        name, colour, text = _voice(message, text)
        alarm = f"{level}: " if level in _ALARMS else ""
        if not self._coloured:
            # Addresses whole: somebody greps this.
            print(f"{stamp} {name:<{self.width}} │ {alarm}{text}", file=self.output, flush=True)
            return
        alarm = f"{_ALARMS[level]}{alarm}{_RESET}" if alarm else ""
        print(
            f"{_DIM}{stamp}{_RESET} {colour}{name:<{self.width}} │{_RESET} {alarm}{_paint(text)}",
            file=self.output,
            flush=True,
        )


def _voice(message: Message, text: str) -> tuple[str, str, str]:
    """Who speaks, in which colour, and the words."""
    name = message.name or ""
    first, _, rest = text.partition(" ")
    if name == TELLER and first in _VOICES:
        return (name, _VOICES[first], text) if first == "deposit" else (first, _VOICES[first], rest.lstrip())
    return name, f"\033[{message.colour}m" if message.colour else _DIM, text


def _without_head(line: str, name: str) -> tuple[str, str]:
    """Level and text of a line; lines without a head are INFO."""
    found = _LOG_HEAD.match(line)
    level, text = (found["level"], line[found.end() :]) if found else ("INFO", line)
    return level, text.removeprefix(f"{name}: ")


def _paint(line: str) -> str:
    line = _AMOUNT.sub(lambda found: f"{_BOLD}{_as_read(*found.groups())}{_RESET}", line)
    return _ADDRESS.sub(lambda found: _wallet_colour(found[0]), line)


def _as_read(sign: str, whole: str, fraction: str | None, symbol: str) -> str:
    """``1808.5 USDT``, as the workers log it, with thousands and cents; small change of a coin cut short."""
    kept = (fraction or "").ljust(2 if symbol == "USDT" else 0, "0")
    kept = f"{kept[:_LONGEST_FRACTION]}…" if len(kept) > _LONGEST_FRACTION else kept
    return f"{sign}{int(whole.replace(',', '')):,}{'.' if kept else ''}{kept} {symbol}"


def _wallet_colour(address: str) -> str:
    colour = _WALLET_COLOURS[zlib.crc32(address.encode()) % len(_WALLET_COLOURS)]
    return f"\033[38;5;{colour}m{shorten(address)}{_RESET}"
