"""Faults that a test asks a node for: what, on which calls, how often.

The first rule that matches a call is the one that acts; a rule with a count is gone when it is used up.
"""

import itertools
import time
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class FaultKind(StrEnum):
    LOST_REQUEST = "lost_request"
    """The connection closes before the node did anything."""
    LOST_REPLY = "lost_reply"
    """The node does what it was asked; the connection closes without an answer."""
    LATE_REPLY = "late_reply"
    """Processed at once, answered ``seconds`` later."""
    LATE_REQUEST = "late_request"
    """Processed ``seconds`` later, then answered. Processed even if the client has gone."""
    DUPLICATED = "duplicated"
    """Processed twice; the second answer is sent."""
    FALSE_TXID = "false_txid"
    """Processed; every txid in the answer is another one."""
    FALSE_REPLY = "false_reply"
    """``body`` is the answer. Processed only if ``process``."""
    FALSE_CODE = "false_code"
    """A broadcast answered with ``code`` (and ``message``) whatever happened to it. Processed if ``process``."""
    SWALLOWED = "swallowed"
    """A broadcast answered with SUCCESS and thrown away."""
    SERVER_BUSY = "server_busy"
    """A broadcast answered SERVER_BUSY without being looked at; other calls answer an Error."""
    TOO_MANY = "too_many"
    """HTTP 429."""
    BANNED = "banned"
    """HTTP 403, and for ``seconds`` (30) after it to everything."""
    SUSPENDED = "suspended"
    """HTTP 503 "exceeded the allowed_rps", and for ``seconds`` (5) after it to everything."""
    HTML = "html"
    """A web page with ``status`` (200)."""


BROADCAST_ONLY = {FaultKind.FALSE_CODE, FaultKind.SWALLOWED}


@dataclass
class Fault:
    """One rule. ``path`` is a pattern over ``wallet/broadcasthex`` and the like."""

    kind: FaultKind
    path: str = "*"
    count: int | None = None
    """How many calls it still spoils; None: until cleared."""
    seconds: float = 0.0
    status: int = 200
    body: Any = None
    code: str = "OTHER_ERROR"
    message: str = ""
    process: bool = False
    id: int = 0
    hits: int = 0

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "Fault":
        """Raises ValueError naming what is wrong."""
        values = {name: value for name, value in body.items() if name not in ("id", "hits", "node")}
        unknown = values.keys() - cls.__dataclass_fields__.keys()
        if unknown:
            raise ValueError(f"unknown fault field {', '.join(sorted(unknown))}")
        try:
            values["kind"] = FaultKind(values.get("kind", ""))
        except ValueError as error:
            raise ValueError(f"unknown fault kind {values.get('kind')!r}: one of {', '.join(FaultKind)}") from error
        return cls(**values)


@dataclass
class Faults:
    """The rules of one node, and the ban or suspension it is in."""

    rules: list[Fault] = field(default_factory=list)
    _ids: Any = field(default_factory=lambda: itertools.count(1))
    _refusing: tuple[float, Fault] | None = None

    def add(self, fault: Fault) -> Fault:
        fault.id = next(self._ids)
        self.rules.append(fault)
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """Remove one rule, or all and lift a ban. Returns how many rules went."""
        before = len(self.rules)
        self.rules = [rule for rule in self.rules if fault_id is not None and rule.id != fault_id]
        if fault_id is None:
            self._refusing = None
        return before - len(self.rules)

    def take(self, path: str) -> Fault | None:
        """The fault that acts on this call, counted down."""
        if self._refusing:
            until, fault = self._refusing
            if time.monotonic() < until:
                return fault
            self._refusing = None
        for rule in self.rules:
            if not fnmatchcase(path, rule.path):
                continue
            if rule.kind in BROADCAST_ONLY and "broadcast" not in path:
                continue
            rule.hits += 1
            if rule.count is not None:
                rule.count -= 1
                if rule.count <= 0:
                    self.rules.remove(rule)
            self._start_refusing(rule)
            return rule
        return None

    def _start_refusing(self, rule: Fault) -> None:
        default = {FaultKind.BANNED: 30.0, FaultKind.SUSPENDED: 5.0}.get(rule.kind)
        if default is not None:
            self._refusing = (time.monotonic() + (rule.seconds or default), rule)
