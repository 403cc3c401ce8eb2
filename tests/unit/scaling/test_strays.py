"""Which processes an agent ends because they are in a slot that is not kept."""

from pipeline.scaling.slots import Slot, strays
from pipeline.workers.registry import Desired


def slot(name: str, worker_type: str, pid: int | None, *, kept: bool, blockchain: str = "") -> Slot:
    return Slot(name, worker_type, blockchain, Desired.RUNNING, 0, pid, kept, free=False)


def test_those_of_slots_that_are_not_kept() -> None:
    slots = [
        slot("all-sync-001", "sync", 7, kept=True),
        slot("all-sync-002", "sync", 8, kept=False),
        slot("all-sync-003", "sync", None, kept=False),
        slot("tron-sync-001", "sync", 9, kept=False, blockchain="tron"),
    ]
    assert strays(slots) == {("sync", "", 8), ("sync", "tron", 9)}
