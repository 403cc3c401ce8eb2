"""A gas-topup process for the tests of signals: ``python -m tests.db.child_worker <dsn> <seconds per job>``.

Prints ``ready`` once it listens and ``started <job id>`` for each job.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence

from pipeline.queue.jobs import Done, Job, JobType, Outcome
from pipeline.settings import Settings
from pipeline.workers.executor import Executor
from pipeline.workers.runtime import Runtime
from pipeline.workers.serve import serve


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Child(Executor):
    async def run(self, runtime: Runtime) -> None:
        say("ready")
        await super().run(runtime)


def main() -> int:
    dsn, seconds = sys.argv[1], float(sys.argv[2])

    async def handle(jobs: Sequence[Job]) -> AsyncIterator[tuple[Job, Outcome]]:
        for job in jobs:
            say(f"started {job.job_id}")
            await asyncio.sleep(seconds)  # stands for the work
            yield job, Done(clear_flag=True)

    return serve(Settings(database_url=dsn), Child(JobType.GAS_TOPUP, handle), grace_seconds=1.0)


if __name__ == "__main__":
    raise SystemExit(main())
