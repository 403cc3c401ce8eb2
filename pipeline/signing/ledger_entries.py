"""The lines of the ledger of signed amounts, and what they add up to. Touches no file.

One line a request, JSON: ``{"id": "…", "at": 1764444444.1, "of": "evm 56 gas wallet", "spent": "1234", "content":
"…"}``, or ``{"refused": "…", "at": …, "content": "…", "why": "forbidden", "said": "…"}``. ``spent`` is in native raw
units, ``at`` in seconds since 1970, ``content`` a hash of what was asked for. A request that was counted is not counted
again; one id has one content, and is signed or refused, not both.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

WINDOW_SECONDS = 86_400.0
FUTURE_SECONDS = 300.0
"""A line from further ahead was written while this host's clock was wrong: it counts as of when it is read."""
KEPT_SECONDS = 2 * WINDOW_SECONDS
"""Lines stay in the file longer than they count: the clock may be set back."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is never signed."""

    why: str
    said: str


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that may be spent of something in 24 hours, native raw units."""

    of: str
    """What it bounds, e.g. ``evm 56 gas wallet``."""
    most: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be written of a request: that it is counted within a ceiling, or that it is refused."""

    request_id: str
    content: str
    ceiling: Ceiling | None = None
    amount: int = 0
    """Native raw units."""
    refusal: Refusal | None = None

    def line(self, at: float) -> dict[str, Any]:
        """As it stands in the file. Raises ValueError for one that is neither counted nor refused."""
        if self.refusal is not None:
            told = {"refused": self.request_id, "at": at, "why": self.refusal.why, "said": self.refusal.said}
        elif self.ceiling is not None:
            told = {"id": self.request_id, "at": at, "of": self.ceiling.of, "spent": str(self.amount)}
        else:
            raise ValueError(f"request {self.request_id} is neither counted nor refused")
        return told | {"content": self.content}


@dataclass(slots=True)
class Entries:
    """What the file says, as far as it was read."""

    inode: int = -1
    offset: int = 0
    lines: dict[str, tuple[float, str, int]] = field(default_factory=dict)
    """Time, ceiling and amount by id, in the order of the file."""
    over: dict[str, tuple[float, str, int]] = field(default_factory=dict)
    """Those that do not count any more and stay in the file."""
    spent: Counter[str] = field(default_factory=Counter)
    contents: dict[str, str] = field(default_factory=dict)
    """What was asked for, by id, of all that is kept."""
    refused: dict[str, tuple[float, Refusal]] = field(default_factory=dict)
    is_stale: bool = False
    """Whether lines of the file have times that are wrong."""

    def add(self, line_id: str, at: float, of: str, amount: int) -> None:
        self.drop(line_id)
        self.lines[line_id] = (at, of, amount)
        self.spent[of] += amount

    def drop(self, line_id: str) -> None:
        self.over.pop(line_id, None)
        at_of_amount = self.lines.pop(line_id, None)
        if at_of_amount is not None:
            self.spent[at_of_amount[1]] -= at_of_amount[2]

    def pass_time(self, now: float) -> int:
        """Count no longer what is a day old, and forget what is two; how many lines were from the future."""
        ahead = 0
        for line_id, (at, of, amount) in list(self.lines.items()):
            if at <= now - WINDOW_SECONDS:
                self.drop(line_id)
                self.over[line_id] = (at, of, amount)
            elif at > now + FUTURE_SECONDS:
                self.lines[line_id] = (now, of, amount)
                ahead += 1
        for line_id, (at, _, _) in list(self.over.items()):
            if at > now - KEPT_SECONDS:
                break
            del self.over[line_id]
            self.contents.pop(line_id, None)
        for line_id, (at, _) in list(self.refused.items()):
            if at > now - KEPT_SECONDS:
                break
            del self.refused[line_id]
            self.contents.pop(line_id, None)
        return ahead

    def is_signed(self, line_id: str) -> bool:
        """Whether it was counted, and so may have been signed."""
        return line_id in self.lines or line_id in self.over

    def take(self, line: dict[str, Any]) -> None:
        """Count what a line says."""
        if "refused" in line:
            refusal = Refusal(str(line["why"]), str(line.get("said", "")))
            self.refused[str(line["refused"])] = (float(line["at"]), refusal)
            self.contents[str(line["refused"])] = str(line["content"])
        else:
            self.add(str(line["id"]), float(line["at"]), str(line["of"]), int(line["spent"]))
            self.contents[str(line["id"])] = str(line["content"])

    def lines_to_keep(self) -> list[dict[str, Any]]:
        """What counts, or did yesterday."""
        kept: list[dict[str, Any]] = [
            {"id": line_id, "at": at, "of": of, "spent": str(amount), "content": self.contents[line_id]}
            for line_id, (at, of, amount) in (self.over | self.lines).items()
        ]
        kept += [
            {"refused": line_id, "at": at, "why": refusal.why, "said": refusal.said, "content": self.contents[line_id]}
            for line_id, (at, refusal) in self.refused.items()
        ]
        return kept


def parse_line(line: bytes) -> dict[str, Any]:
    """Raises ValueError, KeyError, TypeError for a line that nobody here wrote."""
    found = json.loads(line)
    is_complete = (
        found["refused"] and found["why"] and found["content"]
        if "refused" in found
        else found["id"] and found["of"] and found["content"] and int(found["spent"]) >= 0
    )
    if not (isfinite(float(found["at"])) and is_complete):
        raise ValueError("no time, name, content or amount")
    return dict(found)


def text_of(lines: Iterable[dict[str, Any]]) -> bytes:
    """The lines as they stand in the file."""
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()
