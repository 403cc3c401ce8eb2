"""Whether the settlement of a chain makes progress while payments are out.

Nodes that are cut off from their peers, that lack receipts, or that solidify nothing answer without an error, or with
the same one for ever: all that shows is that no further final block is settled.
"""

import asyncio
from datetime import timedelta

from loguru import logger

from pipeline.chains.values import BlockRef

SHORTEST_SECONDS = 600.0
"""More than a final block takes to follow another: seconds on TRON; on Ethereum 6 minutes, for which 100 of its blocks
leave room."""
_BLOCKS = 100
_LONGEST_UNFINAL = timedelta(hours=1)
"""Between the newest block and the newest final one, by their own times: 20 minutes are usual at the most."""


class Progress:
    """Of one chain."""

    def __init__(self, chain_id: int, block_seconds: float, longest_lag: int) -> None:
        """``longest_lag``: blocks by which a node may be behind."""
        self._chain_id = chain_id
        self._longest = max(SHORTEST_SECONDS, _BLOCKS * block_seconds)
        self._longest_lag = longest_lag
        self._since: float | None = None
        """When the last block was settled, or was missed first, by the loop's clock; None: nothing is waited for."""
        self._last: BlockRef | None = None
        self._checked = 0.0
        """When a round was made last: a process that stands by, or is paused, sees nothing and knows of no stall."""
        self._trouble = ""
        self._behind: str | None = None
        """Why final blocks are not read any more."""
        self._unfinal: str | None = None
        """Why there are no new ones."""

    def compare_heights(self, cursor: BlockRef | None, final: BlockRef) -> None:
        """Alert when every node is far behind the stored cursor."""
        if cursor is None or cursor.number - final.number <= self._longest_lag:
            self._behind = None
        elif self._behind is None:
            self._behind = (
                f"final blocks were read up to {cursor.number}, and the nodes have {final.number}: a node once gave a "
                "wrong height, or all are far behind. Nothing is settled nor proved expired meanwhile. If the nodes "
                f"are right, delete the row of chain_cursors (chain_id {self._chain_id}, confirmations)"
            )

    def compare_finality(self, final: BlockRef, head: BlockRef) -> None:
        """Alert when no block becomes final: nothing is settled then, and no node fails."""
        if head.timestamp - final.timestamp <= _LONGEST_UNFINAL:
            self._unfinal = None
        elif self._unfinal is None:
            self._unfinal = (
                f"no block after {final.number} ({final.timestamp:%Y-%m-%d %H:%M:%S} UTC) has become final, and the "
                f"newest is {head.number}: nothing is settled nor proved expired meanwhile. Compare with a block "
                "explorer: if the network goes on, give the chain another node (FLAGPOST_NODES_…); if it does not, wait"
            )
            logger.error("{}", self._unfinal)

    def nothing_out(self) -> None:
        """No payment waits for a block."""
        self._since, self._trouble = None, ""

    def settled(self, block: BlockRef) -> None:
        """All final blocks up to here are settled."""
        if not self._is_checking() or self._last is None or block.number > self._last.number:
            self._since, self._last, self._trouble = _now(), block, ""
        self._checked = _now()

    def failed(self, trouble: Exception) -> None:
        """A round ended with it."""
        if not self._is_checking():
            self._since = _now()
        self._checked, self._trouble = _now(), str(trouble)

    def alarms(self) -> list[str]:
        return [why for why in (self._stalled(), self._behind, self._unfinal) if why is not None]

    def _stalled(self) -> str | None:
        if not self._is_checking() or self._since is None or (seconds := _now() - self._since) <= self._longest:
            return None
        last = self._last
        after = "" if last is None else f" after {last.number} ({last.timestamp:%Y-%m-%d %H:%M:%S} UTC)"
        why = f" The last error was: {self._trouble}." if self._trouble else ""
        return (
            f"for {seconds / 60:.0f} minutes no final block{after} of chain {self._chain_id} could be settled: "
            f"payments that are out meanwhile are neither settled nor made again.{why} Compare with a block explorer: "
            "if the network goes on, give the chain another node (FLAGPOST_NODES_…, or chains.nodes); if not, "
            "wait"
        )

    def _is_checking(self) -> bool:
        """Whether rounds follow each other; each may take as long as nodes are patiently asked."""
        return self._since is not None and _now() - self._checked <= self._longest


def _now() -> float:
    return asyncio.get_running_loop().time()
