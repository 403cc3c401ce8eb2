"""``flagpost consolidation``: moves tokens to the treasury."""

from collections.abc import Sequence

from pipeline.payments.send.consolidations import Consolidations
from pipeline.queue.jobs import JobType
from pipeline.settings import Settings
from pipeline.workers.paying import PayingExecutor
from pipeline.workers.runtime import Worker


def create(settings: Settings, *, chains: Sequence[str] | None = None) -> Worker:
    """The worker for ``runtime.serve``. ``chains`` by name; None: every active one."""
    return PayingExecutor(settings, JobType.CONSOLIDATION, Consolidations, chains=chains)
