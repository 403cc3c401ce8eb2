"""Which senders stand still (EVM), as ``senders.stuck`` says it for everybody who asks."""

from collections.abc import Mapping

from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.settle.stuck import Stuck

_ROUNDS_TO_KNOW = 10
"""After which a process knows which senders stand still: it writes down all of them, and takes back of all others that
they do. A person's release, or another process, may have changed what it wrote before."""


class StuckMarks:
    """Writes a sender down when it comes to stand still, says it with other words, or moves on."""

    def __init__(self, chain_id: int, store: SettlementStore) -> None:
        self._chain_id = chain_id
        self._store = store
        self._said: dict[str, Stuck] = {}
        """What this process wrote down last."""
        self._rounds = 0

    def begin_anew(self) -> None:
        """Another process may have followed the chain meanwhile, and written otherwise."""
        self._said, self._rounds = {}, 0

    async def write(self, stuck: Mapping[str, Stuck]) -> None:
        """Once a round, by sender all that stand still. Raises psycopg.Error."""
        self._rounds += 1
        knows_all = self._rounds % _ROUNDS_TO_KNOW == 0
        new = {sender: one for sender, one in stuck.items() if knows_all or self._said.get(sender) != one}
        if new:
            await self._store.mark_stuck(self._chain_id, new)
        moved = self._said.keys() - stuck.keys()
        self._said = dict(stuck)
        if moved or knows_all:
            await self._store.clear_stuck(self._chain_id, list(moved), list(stuck), knows_all=knows_all)
