"""Every plan that a statement leads to, those of its functions, triggers and foreign keys as well (auto_explain)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.errors import Diagnostic

from pipeline.db.pool import Connection

SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "client_min_messages": "log",
}
"""Of the database, or the session, that is to tell."""


@dataclass(frozen=True)
class Read:
    """What one node of a plan read of a table."""

    table: str
    how: str
    rows: float
    """Looked at, whether they met the conditions or not."""
    query: str


class Plans:
    """What a session has planned since it was last asked."""

    def __init__(self, session: Connection) -> None:
        self._told: list[dict[str, Any]] = []
        session.add_notice_handler(self._hear)

    def _hear(self, said: Diagnostic) -> None:
        _, marked, plan = (said.message_primary or "").partition("plan:\n")
        if marked:
            self._told.append(json.loads(plan))

    def reads(self) -> Sequence[Read]:
        """Of every plan so far, which are then forgotten."""
        return [read for one in self._taken() for read in _reads(one["Plan"], one["Query Text"])]

    def steps(self, of: str) -> set[str]:
        """The kinds of nodes in plans of queries with ``of`` in them; all plans so far are then forgotten."""
        return {step for one in self._taken() if of in one["Query Text"] for step in _steps(one["Plan"])}

    def _taken(self) -> list[dict[str, Any]]:
        told, self._told = self._told, []
        return told


def _reads(node: dict[str, Any], query: str) -> Iterator[Read]:
    if "Relation Name" in node and node["Node Type"] != "ModifyTable":
        looked_at = sum(
            float(node.get(key, 0))
            for key in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        )
        how = " ".join(str(node[key]) for key in ("Node Type", "Index Name") if key in node)
        yield Read(node["Relation Name"], how, looked_at * float(node.get("Actual Loops", 1)), query)
    for child in node.get("Plans", ()):
        yield from _reads(child, query)


def _steps(node: dict[str, Any]) -> Iterator[str]:
    yield node["Node Type"]
    for child in node.get("Plans", ()):
        yield from _steps(child)
