"""What the processes of a host say, line by line on one stream, with the slot on the left as Honcho has names.

Lines in JSON stay as they are: they name their process themselves.
"""

import sys
from typing import TextIO

from honcho.colour import get_colours

LONGEST_LINE = 1_000_000
"""Bytes; what is longer is passed on in parts."""
SEPARATOR = " | "


class Output:
    """The stream that all of them share. Nobody reads it any more: what is written is dropped, and the processes go
    on."""

    def __init__(self, stream: TextIO | None = None, *, as_json: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._as_json = as_json
        self.coloured = not as_json and self._stream.isatty()
        self._colours = get_colours()
        self._colour_of: dict[str, str] = {}
        self._width = 0
        self._closed = False

    def write(self, name: str, line: str) -> None:
        """One line of the process of that name."""
        if self._closed:
            return
        try:
            self._stream.write(f"{line}\n" if self._as_json else f"{self._head(name)}{line}\n")
            self._stream.flush()
        except OSError:
            self._closed = True

    def _head(self, name: str) -> str:
        self._width = max(self._width, len(name))
        head = f"{name:<{self._width}}{SEPARATOR}"
        if not self.coloured:
            return head
        colour = self._colour_of.get(name) or self._colour_of.setdefault(name, next(self._colours))
        return f"\033[{colour}m{head}\033[0m"


class Lines:
    """Bytes as they come, cut into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            complete, self._rest = [*complete, self._rest], b""
        return [_text(line) for line in complete]

    def rest(self) -> list[str]:
        """What came last, without an end of line."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
