"""Whether the settlement of a chain has come no further for too long while payments are out."""

import asyncio

from pipeline.chains.values import BlockRef

SHORTEST_SECONDS = 600.0
"""More than a final block takes to follow another: seconds on TRON; on Ethereum 6 minutes, for which 100 of its blocks
leave room."""
_BLOCKS = 100


class Standstill:
    """Nodes that are cut off from their peers, that lack receipts, or that solidify nothing answer without an error, or
    with the same one for ever: all that shows is that no further final block is booked."""

    def __init__(self, chain_id: int, block_seconds: float) -> None:
        self._chain_id = chain_id
        self._longest = max(SHORTEST_SECONDS, _BLOCKS * block_seconds)
        self._since: float | None = None
        """When the last block was booked, or was missed first, by the loop's clock; None: nothing is waited for."""
        self._last: BlockRef | None = None
        self._looked = 0.0
        """When a round was made last: a process that stands by, or is paused, sees nothing and knows of no
        standstill."""
        self._trouble = ""

    def nothing_out(self) -> None:
        """Nobody waits for a block."""
        self._since, self._trouble = None, ""

    def booked(self, block: BlockRef) -> None:
        """All final blocks up to here are booked."""
        if not self._is_looking() or self._last is None or block.number > self._last.number:
            self._since, self._last, self._trouble = _now(), block, ""
        self._looked = _now()

    def failed(self, trouble: Exception) -> None:
        """A round ended with it."""
        if not self._is_looking():
            self._since = _now()
        self._looked, self._trouble = _now(), str(trouble)

    def alarms(self) -> list[str]:
        if not self._is_looking() or self._since is None or (seconds := _now() - self._since) <= self._longest:
            return []
        last = self._last
        after = "" if last is None else f" after {last.number} ({last.timestamp:%Y-%m-%d %H:%M:%S} UTC)"
        why = f" The last trouble was: {self._trouble}." if self._trouble else ""
        return [
            f"for {seconds / 60:.0f} minutes no final block{after} of chain {self._chain_id} could be booked: payments "
            f"that are out meanwhile are neither settled nor made again.{why} Compare with a block explorer: if the "
            "network goes on, give the chain another node (FLAGPOST_NODES_…, or chains.nodes); if it stands, wait"
        ]

    def _is_looking(self) -> bool:
        """Whether rounds follow each other; each may take as long as nodes are patiently asked."""
        return self._since is not None and _now() - self._looked <= self._longest


def _now() -> float:
    return asyncio.get_running_loop().time()
