"""Which senders are blocked (EVM), as ``senders.stuck`` says it to everybody who asks."""

from collections.abc import Mapping

from pipeline.payments.blocked import Blocked
from pipeline.payments.settle.store import SettlementStore

_ROUNDS_TO_KNOW_ALL = 10
"""After which a process knows which senders are blocked: it writes all of them, and clears all others. An operator's
release, or another process, may have changed what it wrote before."""


class BlockedSenders:
    """Writes a sender when it is blocked, when the reason changes, and when it is blocked no more."""

    def __init__(self, chain_id: int, store: SettlementStore) -> None:
        self._chain_id = chain_id
        self._store = store
        self._written: dict[str, Blocked] = {}
        """What this process wrote last."""
        self._rounds = 0

    def reset(self) -> None:
        """Another process may have followed the chain meanwhile, and written otherwise."""
        self._written, self._rounds = {}, 0

    async def write(self, blocked: Mapping[str, Blocked]) -> None:
        """Once a round, by sender all that are blocked. Raises psycopg.Error."""
        self._rounds += 1
        knows_all = self._rounds % _ROUNDS_TO_KNOW_ALL == 0
        new = {sender: one for sender, one in blocked.items() if knows_all or self._written.get(sender) != one}
        if new:
            await self._store.mark_blocked(self._chain_id, new)
        cleared = self._written.keys() - blocked.keys()
        self._written = dict(blocked)
        if cleared or knows_all:
            await self._store.clear_blocked(self._chain_id, list(cleared), list(blocked), knows_all=knows_all)
